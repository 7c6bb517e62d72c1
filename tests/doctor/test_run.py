"""All groups together: one that breaks leaves the others as they are."""

from typing import Any

import pytest

from octshard.doctor import run
from octshard.doctor.checks import UNEXPECTED, Check


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """No child processes: each child group passes; the calls are kept."""
    calls: list[tuple[Any, ...]] = []

    def checks_in_child(
        name: str, seconds: float, advice: str, function: Any, *arguments: Any
    ) -> list[Check]:
        calls.append((name, *arguments))
        return [Check(name, "pass", "")]

    monkeypatch.setattr(run, "checks_in_child", checks_in_child)
    return calls


def test_groups_come_in_order_and_each_url_once(quick: list[tuple[Any, ...]]) -> None:
    report = run.examine(["memory://b", "memory://a", "memory://b"], "", write=True)
    assert list(report.groups) == [
        "versions",
        "codecs",
        "accelerators",
        "machine",
        "memory://b",
        "memory://a",
    ]
    assert [check.name for check in report.groups["accelerators"]] == ["torch", "XLA"]
    assert report.groups["versions"][-1].name == "numba cache"
    assert sorted(call for call in quick if call[0] == "list") == [
        ("list", "memory://a", True),
        ("list", "memory://b", True),
    ]


@pytest.mark.usefixtures("quick")
def test_a_group_that_raises_is_a_line_and_the_others_stand(monkeypatch: Any) -> None:
    def broken() -> list[Check]:
        raise OSError("no usable temporary directory")

    monkeypatch.setattr(run.versions, "checks", broken)
    report = run.examine([], "", write=False)
    found = "OSError: no usable temporary directory"
    assert report.groups["versions"][0] == Check("versions", "fail", found, UNEXPECTED)
    assert len(report.groups["machine"]) == 5
