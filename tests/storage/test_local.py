"""A local file is whole or absent, and a disk that refuses says so in one line."""

import errno
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from octshard.storage import local, store
from octshard.storage.errors import StoreError


def test_sweep_removes_what_killed_writers_left(tmp_path: Path) -> None:
    whole = ["Triton-2.zip.partial", "a.tar"]  # a browser's download is none of ours
    for name in (".a.tar.123.0123abcd.partial", *whole):
        (tmp_path / name).write_bytes(b"x")
    assert store.list_names(str(tmp_path)) == whole
    assert store.remove_partials(str(tmp_path)) == 1
    assert sorted(os.listdir(tmp_path)) == whole
    assert store.remove_partials(str(tmp_path / "absent")) == 0


def test_a_sweep_leaves_what_a_living_process_writes(tmp_path: Path) -> None:
    url = str(tmp_path / "a.tar")
    (tmp_path / ".a.tar.123.0123abcd.partial").write_bytes(b"left by a kill")
    code = (
        "import sys; from octshard.storage import store\n"
        "with store.open_write(sys.argv[1]): print(1, flush=True); input()"
    )
    command = [sys.executable, "-c", code, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "1\n"
        with store.open_write(str(tmp_path / "b.tar")) as file:
            assert store.remove_partials(str(tmp_path)) == 1
            assert len(os.listdir(tmp_path)) == 2  # that of the other process, and ours
            file.write(b"b")
        other.kill()
        other.wait()
    assert store.remove_partials(str(tmp_path)) == 1
    assert os.listdir(tmp_path) == ["b.tar"]


def test_a_sweep_passes_over_what_it_may_not_remove(tmp_path: Path) -> None:
    (tmp_path / ".a.1.0123abcd.partial").mkdir()
    os.mkfifo(tmp_path / ".b.1.0123abcd.partial")
    (tmp_path / ".c.1.0123abcd.partial").symlink_to("nowhere")
    assert store.remove_partials(str(tmp_path)) <= 1
    assert (tmp_path / ".a.1.0123abcd.partial").is_dir()


def test_what_cannot_be_written_is_known_before(tmp_path: Path) -> None:
    store.check_writable(str(tmp_path / "new" / "a"))
    assert os.listdir(tmp_path / "new") == []
    (tmp_path / "file").touch()
    for url in (tmp_path, tmp_path / "file" / "a", "/proc/a", "/dev/null/a"):
        with pytest.raises(StoreError, match=re.escape(str(url))) as caught:
            store.check_writable(str(url))
        assert "\n" not in str(caught.value)
    store.check_writable("gs://bucket/a")


def test_sweep_knows_what_a_writer_leaves(tmp_path: Path) -> None:
    with store.open_write(str(tmp_path / "a.tar")):
        (name,) = os.listdir(tmp_path)
        assert local.is_partial(name)
    assert not local.is_partial("a.tar")


def test_what_is_no_file_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("file")
    assert local.file_size(str(tmp_path / "file")) == local.file_size(f"file://{tmp_path}/link") == 3
    for name in ("absent", "folder", "pipe", "loop", "file/below", "a" * 300):
        with pytest.raises(FileNotFoundError):
            local.file_size(str(tmp_path / name))


@pytest.mark.parametrize("name", ["loop", "file/below", "a" * 300])
def test_no_object_is_where_no_file_can_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    for act in (store.read, store.map, store.size, store.open_read):
        with pytest.raises(FileNotFoundError):
            act(str(tmp_path / name))  # type: ignore[operator]


def test_a_pipe_or_a_device_is_no_file_and_no_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    acts = (store.read, store.map, store.open_read, lambda url: store.read_range(url, 0, 4))
    for act in acts:
        for path in (str(tmp_path / "pipe"), "/dev/zero"):
            with pytest.raises(store.NotAFile, match=f"^{path}: a pipe or a device, want a file$"):
                act(path)  # type: ignore[no-untyped-call]


def full(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"/a: the disk is full; free some space") as caught:
        store.write(str(tmp_path / "a"), b"x")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_in_the_block_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the disk is full"), store.open_write(str(tmp_path / "a")):
        full(0)
    assert os.listdir(tmp_path) == []


def test_a_limit_on_the_size_of_a_file_is_one_clear_line(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        for act in (store.write, _write_in_pieces):
            with pytest.raises(StoreError, match=r"/a: larger than a file may be here; .*ulimit -f"):
                act(str(tmp_path / "a"), bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


def _write_in_pieces(url: str, data: bytes) -> None:
    with store.open_write(url) as file:
        for at in range(0, len(data), 100):
            file.write(data[at : at + 100])
            file.flush()


def test_free_space_is_that_of_the_nearest_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = []

    def usage(path: Path) -> object:
        paths.append(Path(path))
        return shutil._ntuple_diskusage(100, 60, 40)  # type: ignore[attr-defined]

    monkeypatch.setattr(local.shutil, "disk_usage", usage)
    assert store.free_bytes(str(tmp_path / "not" / "yet")) == 40
    assert store.free_bytes(f"file://{tmp_path}") == 40
    assert store.free_bytes("gs://bucket/folder") is None
    assert paths == [tmp_path, tmp_path]


def test_a_place_that_cannot_be_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"Not a directory|File exists"):
        store.write(str(tmp_path / "file" / "below"), b"x")
