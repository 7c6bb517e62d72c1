"""Files of an unpacked release: bytes, sizes, and what counts as no file."""

import dataclasses
import os
from pathlib import Path

import pytest

from octshard.prep.release.source import FolderSource, map_file
from octshard.storage import store
from tests.support.memory_source import entry


@pytest.mark.parametrize("data", [b"", b"DICM" * 100])
def test_local_and_remote_files_have_the_same_bytes(tmp_path: Path, data: bytes) -> None:
    for root in (str(tmp_path), "memory://source"):
        url = store.join(root, "a.dcm")
        store.write(url, data)
        source = FolderSource(root)
        assert map_file(url) == source.read(entry("a.dcm")) == data
        assert (source.has("a.dcm"), source.fingerprint("a.dcm").size) == (True, len(data))


@pytest.mark.timeout(10)
def test_a_folder_a_pipe_and_a_path_without_object_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    source = FolderSource(str(tmp_path))
    for name in ("folder", "pipe", "nothing"):
        with pytest.raises(FileNotFoundError):
            map_file(str(tmp_path / name))
        with pytest.raises(FileNotFoundError):
            source.read(dataclasses.replace(entry("a.dcm"), path=name))
        assert not source.has(name)
    with pytest.raises(FileNotFoundError):
        map_file("memory://source/nothing")
