"""What lies in a folder, local and remote."""

import os
from pathlib import Path

import pytest

from octshard.storage import listing, store
from octshard.storage.listing import Listed


def test_a_local_folder_tells_files_folders_and_what_is_neither(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a.dcm").write_bytes(b"1234")
    (tmp_path / ".a.dcm.12.ab.partial").write_bytes(b"half-written")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to("nothing")
    (tmp_path / "to_b").symlink_to("b")
    (tmp_path / "to_a").symlink_to("a.dcm")
    entries = {entry.name: entry for entry in listing.entries(str(tmp_path))}
    assert list(entries) == ["a.dcm", "b", "gone", "pipe", "to_a", "to_b"]
    assert entries["b"] == Listed("b", True, 0, "")
    assert (entries["a.dcm"].size, entries["to_a"].size) == (4, 4)
    assert {name: entry.problem for name, entry in entries.items() if entry.problem} == {
        "gone": "a link that leads nowhere",
        "pipe": "a pipe, a socket or a device",
        "to_b": "a link to a folder, which is not followed",
    }
    before = entries["a.dcm"].version
    os.utime(tmp_path / "a.dcm", ns=(1, 1))
    assert listing.entries(str(tmp_path))[0].version != before


def test_a_remote_folder_is_listed_alike(tmp_path: Path) -> None:
    for name, data in {"a": b"1234", "c/d": b"1"}.items():
        store.write(f"memory://listed/{name}", data)
    a, c = listing.entries("memory://listed")
    assert (a.name, a.is_folder, a.size, c.name, c.is_folder) == ("a", False, 4, "c", True)
    store.write("memory://listed/a", b"5678")
    assert listing.entries("memory://listed")[0].version != a.version


@pytest.mark.parametrize("root", ["memory://none", "/nowhere/at/all"])
def test_no_folder_is_file_not_found(root: str) -> None:
    with pytest.raises(FileNotFoundError):
        listing.entries(root)
