"""Files of an unpacked release: bytes, sizes, and what counts as no file."""

import dataclasses
import os
from pathlib import Path

import pytest

from octshard.prep.release import folder_listing
from octshard.prep.release.entry import Entry
from octshard.prep.release.source import FolderSource, map_file, open_folder
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


def listed(*paths: str) -> list[Entry]:
    return [dataclasses.replace(entry("a.dcm"), path=path) for path in paths]


@pytest.mark.parametrize("above", ["", "data/release", "old/disk/release", "release"])
def test_paths_may_begin_in_any_folder_above_the_root(tmp_path: Path, above: str) -> None:
    """As in a manifest with absolute paths, of a release that lies where it was or was moved."""
    below = ["triton/1/a.dcm", "triton/2/a.dcm", "cirrus/1/b.dcm"]
    for name in below:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    entries = listed(*(f"{above}/{name}".lstrip("/") for name in below))
    source = open_folder(str(tmp_path), entries)
    assert [bytes(source.read(e)).decode() for e in entries] == below


def test_a_file_of_another_folder_is_never_taken_for_a_missing_one(tmp_path: Path) -> None:
    """1/a.dcm is missing. a.dcm of the root is another file: only folders that all rows share are skipped."""
    (tmp_path / "2").mkdir()
    for name in ("a.dcm", "2/a.dcm"):
        (tmp_path / name).write_text(name)
    source = open_folder(str(tmp_path), listed("1/a.dcm", "2/a.dcm"))
    assert (source.has("1/a.dcm"), source.has("2/a.dcm")) == (False, True)
    assert open_folder(str(tmp_path), listed("x/1/b.dcm")) == FolderSource(str(tmp_path))
    assert open_folder(str(tmp_path), listed("")) == FolderSource(str(tmp_path))


def test_a_folder_is_listed_alike_wherever_it_lies_and_a_changed_image_changes_its_version(
    tmp_path: Path,
) -> None:
    files = {"10.png": b"ten", "2.png": b"two", "2.txt": b"no image", ".3.png": b"hidden", "deep/4.png": b"4"}
    seen = []
    for root in (str(tmp_path), "memory://folders"):
        for name, data in files.items():
            store.write(store.join(root, "OCT/7", name), data)
        source, listed_entry = FolderSource(root), dataclasses.replace(entry("a"), path="OCT/7/")
        seen.append(bytes(source.read(listed_entry)))
        before = source.fingerprint("OCT/7/")
        assert (before.size, before.crc32, source.has("OCT/7/")) == (6, None, True)
        store.write(store.join(root, "OCT/7/2.txt"), b"a note")
        assert source.fingerprint("OCT/7/") == before
        store.write(store.join(root, "OCT/7/2.png"), b"TWO")
        assert source.fingerprint("OCT/7/").size == 6
        assert source.fingerprint("OCT/7/") != before
        for path in ("OCT/8/", "OCT/7/2.png/"):
            assert not source.has(path)
            with pytest.raises(FileNotFoundError):
                source.read(dataclasses.replace(entry("a"), path=path))
    assert [image.name for image in folder_listing.read(seen[0])] == ["2.png", "10.png"]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("above", ["", "data/release", "release"])
def test_paths_of_folders_may_begin_in_any_folder_above_the_root(tmp_path: Path, above: str) -> None:
    store.write(str(tmp_path / "OCT/7/1.png"), b"1")
    for paths in (["OCT/7/"], ["OCT/7/", "OCT/8/"]):
        entries = listed(*(f"{above}/{path}".lstrip("/") for path in paths))
        assert open_folder(str(tmp_path), entries).has(entries[0].path)
