"""A folder is whole or absent, whoever is killed and when; what is not ours is never removed."""

import os
import signal
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from octshard.errors import UsageError
from octshard.storage import local, store, whole_folder
from octshard.storage.errors import StoreError

KNOWN = frozenset({"a", "b", "c"})
OLD, NEW = {"a": b"old", "c": b"gone"}, {"a": b"new", "b": b"x" * 1000}


def content(url: str) -> dict[str, bytes]:
    return {name: store.read(store.join(url, name)) for name in store.list_names(url)}


@pytest.mark.parametrize("scheme", ["", "memory://whole_folder"])
def test_a_folder_is_written_and_replaced(tmp_path: Path, scheme: str) -> None:
    url = store.join(scheme or str(tmp_path), "deep", "out")
    whole_folder.check(url, KNOWN, replace=False)
    whole_folder.write(url, OLD, "a", replace=False)
    assert content(url) == OLD
    with pytest.raises(UsageError, match=r"out: is there already \(a, c\); want another folder, or"):
        whole_folder.check(url, KNOWN, replace=False)
    whole_folder.check(url, KNOWN, replace=True)
    whole_folder.write(url, NEW, "a", replace=True)
    assert content(url) == NEW
    assert os.listdir(tmp_path / "deep") == ["out"] if not scheme else True


@pytest.mark.parametrize("name", ["notes.txt", ".git"])
def test_what_is_not_ours_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / name).write_bytes(b"mine")
    for replace in (False, True):
        with pytest.raises(UsageError, match=rf"holds '{name}', which octshard did not write"):
            whole_folder.check(str(tmp_path), KNOWN, replace=replace)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UsageError, match="file: a file, want a folder"):
        whole_folder.check(str(tmp_path / "file"), KNOWN, replace=True)
    below = str(tmp_path / "file" / "out")
    with pytest.raises(StoreError, match=f"^{below}: "):
        whole_folder.write(below, NEW, "a", replace=False)
    with pytest.raises(StoreError, match=r"out: .*\S"):
        whole_folder.check(below, KNOWN, replace=False)
    assert os.listdir(tmp_path) == ["file"]


def test_one_that_came_in_the_meantime_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole_folder.write(str(out), OLD, "a", replace=False)
    with pytest.raises(StoreError, match=r"out: .*not empty"):
        whole_folder.write(str(out), NEW, "a", replace=False)
    assert content(str(out)) == OLD
    assert os.listdir(tmp_path) == ["out"]


def test_an_empty_folder_and_a_link_are_places(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    whole_folder.write(str(tmp_path / "link"), NEW, "a", replace=False)
    assert content(str(tmp_path / "empty")) == NEW
    assert (tmp_path / "link").is_symlink()


CALLS = ("mkdir", "fsync", "replace", "rename", "rmdir")


def write_and_die(out: str, nth: int, replace: bool) -> int:
    """Writes NEW in another process, which is killed before the nth of CALLS or an exchange; how it ended."""
    child = os.fork()
    if not child:
        left = iter(range(nth - 1, -1, -1))

        def dying(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                if next(left) == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)

            return wrapper

        for name in CALLS:
            setattr(os, name, dying(getattr(os, name)))
        whole_folder._exchange = dying(whole_folder._exchange)
        try:
            whole_folder.write(out, NEW, "a", replace=replace)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system, or a system, that has no such call."""
    monkeypatch.setattr(whole_folder, "_exchange", lambda first, second: False)


@pytest.mark.parametrize("replace", [False, True])
def test_killed_before_any_of_its_calls_it_leaves_one_as_a_whole(tmp_path: Path, replace: bool) -> None:
    if replace and not exchanges(tmp_path):
        pytest.skip("two folders cannot change places here")
    kill_everywhere(tmp_path, replace, (OLD, NEW) if replace else (None, NEW))


def test_without_an_exchange_it_leaves_nothing_or_all(tmp_path: Path, no_exchange: None) -> None:
    kill_everywhere(tmp_path, True, (OLD, None, NEW))


def exchanges(folder: Path) -> bool:
    """True where the file system of `folder` can."""
    for name in ("first", "second"):
        (folder / name).mkdir()
    return whole_folder._exchange(folder / "first", folder / "second")


def test_two_folders_change_places_at_once(tmp_path: Path) -> None:
    if not exchanges(tmp_path):
        pytest.skip("two folders cannot change places here")
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "file").write_bytes(b"x")
    assert whole_folder._exchange(first, second)
    assert (os.listdir(first), os.listdir(second)) == ([], ["file"])
    assert not whole_folder._exchange(first, tmp_path / "none")
    assert os.listdir(second) == ["file"]


def test_without_an_exchange_one_is_replaced_too(tmp_path: Path, no_exchange: None) -> None:
    out = str(tmp_path / "out")
    for files in (OLD, NEW):
        whole_folder.write(out, files, "a", replace=True)
        assert content(out) == files
    assert os.listdir(tmp_path) == ["out"]


def kill_everywhere(tmp_path: Path, replace: bool, allowed: Collection[dict[str, bytes] | None]) -> None:
    """Kills a write before each of its calls in turn: what it leaves is in `allowed`, and is swept."""
    outcomes = []
    for nth in range(1, 40):
        out = tmp_path / f"kill {nth}" / "out"
        out.parent.mkdir()
        if replace:
            whole_folder.write(str(out), OLD, "a", replace=False)
        status = write_and_die(str(out), nth, replace)
        outcomes.append(content(str(out)) if out.exists() else None)
        assert outcomes[-1] in allowed, nth
        whole_folder.write(str(out), NEW, "a", replace=True)  # the next one sweeps
        assert content(str(out)) == NEW
        assert os.listdir(out.parent) == ["out"]
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert status == 0
    assert len(outcomes) > 5
    assert outcomes[0] == (OLD if replace else None)


def test_remote_the_last_file_makes_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "memory://whole_folder_killed/out"
    whole_folder.write(url, OLD, "a", replace=False)
    names: list[str] = []

    def write(target: str, data: bytes) -> None:
        names.append(target.rsplit("/", 1)[-1])
        assert "a" not in store.list_names(url)

    monkeypatch.setattr(store, "write", write)
    whole_folder.write(url, NEW, "a", replace=True)
    assert names == ["b", "a"]
    assert store.list_names(url) == []


def test_a_sweep_leaves_what_a_living_process_writes(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with whole_folder._staging(target) as staging:
        other = tmp_path / f".other.1.01234567{local.PARTIAL_SUFFIX}"
        other.mkdir()
        whole_folder.write(str(target), NEW, "a", replace=False)
        assert staging.exists()
        assert other.exists()
    assert not staging.exists()
