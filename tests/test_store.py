"""One promise on every store: atomic, exact, one writer, one clear line when it fails."""

import errno
import os
import uuid
from pathlib import Path

import pytest

from octshard import store
from octshard.store import StoreError


def test_what_is_written_is_read(root: str) -> None:
    url = store.join(root, "a", "b.bin")
    store.write(url, b"0123456789")
    assert store.read(url) == b"0123456789"
    assert store.read_range(url, 2, 5) == b"234"
    assert store.size(url) == 10
    assert store.exists(url)
    with store.open_read(url) as file:
        file.seek(4)
        assert file.read(3) == b"456"


def test_a_short_object_is_an_error(root: str) -> None:
    url = store.join(root, "b.bin")
    store.write(url, b"0123")
    with pytest.raises(StoreError, match="bytes 2 to 8 asked for"):
        store.read_range(url, 2, 8)


def test_missing_objects_are_file_not_found(root: str) -> None:
    url = store.join(root, "absent")
    for act in (store.read, store.size, store.open_read, store.etag):
        with pytest.raises(FileNotFoundError):
            act(url).read() if act is store.open_read else act(url)
    assert not store.exists(url)
    assert store.list_names(url) == []
    store.remove(url)


def test_nothing_appears_before_the_block_ends(root: str) -> None:
    url = store.join(root, "new.bin")
    with store.create(url) as file:
        file.write(b"half")
        assert not store.exists(url)
    assert store.read(url) == b"half"
    with pytest.raises(ZeroDivisionError), store.create(url) as file:
        file.write(b"other" * (1 // 0))
    assert store.read(url) == b"half"
    assert store.list_names(root) == ["new.bin"]


def test_names_are_direct_children(root: str) -> None:
    for name in ("b", "a", "deep/c"):
        store.write(store.join(root, name), b"x")
    assert store.list_names(root) == ["a", "b", "deep"]
    store.remove(store.join(root, "a"))
    assert store.list_names(root) == ["b", "deep"]


def test_copy_and_etag(root: str) -> None:
    one, two = store.join(root, "one"), store.join(root, "two")
    store.write(one, b"abc")
    store.copy(one, two)
    assert store.read(two) == b"abc"
    before = store.etag(two)
    assert before == store.etag(two)
    store.write(two, b"abcd")
    assert store.etag(two) != before


def test_write_new_never_replaces() -> None:
    url = f"memory://{uuid.uuid4().hex}/new"
    assert store.write_new(url, b"first")
    assert not store.write_new(url, b"second")
    assert store.read(url) == b"first"


def test_sweep_removes_what_killed_writers_left(tmp_path: Path) -> None:
    (tmp_path / ".a.tar.123.abcdef.partial").write_bytes(b"x")
    (tmp_path / "a.tar").write_bytes(b"x")
    assert store.list_names(str(tmp_path)) == ["a.tar"]
    assert store.sweep(str(tmp_path)) == 1
    assert os.listdir(tmp_path) == ["a.tar"]


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="the disk is full"):
        store.write(str(tmp_path / "a"), b"x")
    assert os.listdir(tmp_path) == []


class Flaky:
    """A filesystem that fails `faults` times before it answers."""

    def __init__(self, faults: list[Exception]) -> None:
        self.faults = faults

    def cat_file(self, _: str) -> bytes:
        if self.faults:
            raise self.faults.pop(0)
        return b"data"


class HttpError(Exception):
    """What cloud clients raise: an exception with a status code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"status {code}")
        self.code = code


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.random, "uniform", lambda low, high: 0.0)


@pytest.mark.usefixtures("no_wait")
def test_transient_faults_are_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [HttpError(503), ConnectionResetError("reset"), TimeoutError(), HttpError(429)]
    monkeypatch.setattr(store, "_filesystem", lambda scheme: Flaky(faults))
    assert store.read("gs://bucket/object") == b"data"


@pytest.mark.usefixtures("no_wait")
def test_retries_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[Exception] = [HttpError(503) for _ in range(100)]
    monkeypatch.setattr(store, "_filesystem", lambda scheme: Flaky(faults))
    with pytest.raises(StoreError, match=r"gs://bucket/object: gave up after 6 attempts: status 503"):
        store.read("gs://bucket/object")
    assert len(faults) == 94


def test_a_refusal_is_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[Exception] = [HttpError(403), HttpError(403)]
    monkeypatch.setattr(store, "_filesystem", lambda scheme: Flaky(faults))
    with pytest.raises(StoreError, match="status 403"):
        store.read("gs://bucket/object")
    assert len(faults) == 1


def test_an_unknown_scheme_is_one_clear_line() -> None:
    with pytest.raises(StoreError, match="want a local path, gs://, s3:// or memory://"):
        store.read("nowhere://x")
