"""Processes begin alike or not at all: here threads that share a store."""

import socket
import threading
from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch.distributed as dist

from octshard.devices import start_agreement
from octshard.devices.backend import Backend
from octshard.errors import OctshardError, UsageError
from octshard.storage.store import StoreError

HOST = socket.gethostname()


@dataclass(frozen=True)
class Process:
    """One of `process_count`."""

    process_index: int
    process_count: int
    store: Any


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_agreement, "LOOK_S", 0.001)


def begin(*starts: Any, timeout_s: float = 30.0) -> list[BaseException | None]:
    """How each process ended: a start is its facts, the error that it meets, or None if it never comes."""
    store, ends = dist.HashStore(), cast(list[BaseException | None], [None] * len(starts))

    def process(index: int) -> None:
        backend = cast(Backend, Process(index, len(starts), store))
        try:
            with start_agreement.open_start(backend, timeout_s) as agreement:
                if isinstance(starts[index], Exception):
                    raise starts[index]
                agreement.check(starts[index])
        except Exception as error:
            ends[index] = error

    threads = [
        threading.Thread(target=process, args=(i,)) for i, start in enumerate(starts) if start is not None
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def test_alike_they_begin() -> None:
    assert begin({"code": "a", "lr": 0.1}, {"lr": 0.1, "code": "a"}, {"code": "a", "lr": 0.1}) == [None] * 3


def test_a_single_process_asks_nobody() -> None:
    with start_agreement.open_start(cast(Backend, Process(0, 1, None)), 0.0) as agreement:
        agreement.check({"code": "a"})


def test_the_odd_one_of_three_is_named_by_all() -> None:
    ends = begin({"code": "new", "lr": 1}, {"code": "new", "lr": 1}, {"code": "old", "lr": 1})
    for end in ends:
        assert isinstance(end, UsageError)
        assert str(end).startswith(
            f"3 processes do not begin alike: process 2 ({HOST}) has code old, the others have new; want"
        )


def test_of_two_both_are_named() -> None:
    for end in begin({"data": "1"}, {"data": "2"}):
        assert f"process 1 ({HOST}) has data 2, process 0 ({HOST}) has 1" in str(end)


def test_many_differences_are_a_few_in_the_line() -> None:
    one, other = ({str(i): i + plus for i in range(9)} for plus in (0, 1))
    (_, end) = begin(one, other)
    assert "and 5 more differences" in str(end)
    assert "\n" not in str(end)


@pytest.mark.parametrize("failed", [0, 1, 2])
def test_the_failure_of_one_ends_all_at_once_with_its_line(failed: int) -> None:
    starts: list[Any] = [{"a": 1}] * 3
    starts[failed] = StoreError("gs://bucket: permission\ndenied")
    ends = begin(*starts)
    for index, end in enumerate(ends):
        expected = f"process {failed} of 3 failed at its start, on {HOST}: gs://bucket: permission denied"
        assert str(end) == (str(starts[failed]) if index == failed else expected)


def test_who_never_comes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_agreement, "LINGER_S", 0.01)
    first, never, third = begin({"a": 1}, None, {"a": 1}, timeout_s=0.05)
    assert never is None
    for end in (first, third):
        assert isinstance(end, OctshardError)
        assert "process 1 of 3 has not come within run.start_timeout_s=0.05" in str(end)
