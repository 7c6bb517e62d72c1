"""Files of one scan in a folder are one row, whatever lies between them; folders are not mixed."""

import dataclasses
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from octshard.prep.index import run, scan_parts
from octshard.prep.index.look import SCAN, Finding
from octshard.prep.index.options import IndexOptions
from octshard.prep.index.person import PersonRule
from octshard.prep.index.row import ManifestRow
from octshard.prep.index.scan_parts import IndexedScan
from octshard.prep.release import aireadi
from octshard.storage import store
from tests.support.changed_dicom import changed, label
from tests.support.made_release import scan
from tests.support.scan_folder import dicom, write
from tests.support.scan_parts import UID, concatenation, single_frames

FOLDERS = IndexOptions(PersonRule("", None, b""), workers=1)


def indexed(
    tmp_path: Path, files: dict[str, bytes], options: IndexOptions = FOLDERS
) -> list[tuple[str, str]]:
    out = tmp_path / "m.tsv"
    run.index(str(write(tmp_path / "in", files)), str(out), options)
    return [(e.path, e.parts) for e in aireadi.parse_manifest(out.read_text(), str(out))]


def test_parts_of_a_concatenation_are_one_row_of_the_first(tmp_path: Path) -> None:
    parts, other = concatenation(scan(), 2, 1, 3), concatenation(scan(2), 3, 3, ConcatenationUID="2.25.3")
    files = {
        "P1/c.dcm": parts[0], "P1/a.dcm": parts[2], "P1/d.dcm": parts[1],
        "P1/b/x.dcm": dicom(),  # a folder between the files
        "P1/e.dcm": other[1], "P1/f.dcm": other[0],
        "P2/c.dcm": parts[0], "P2/d.dcm": parts[1],  # of a copy one part is lost
    }  # fmt: skip
    by_pattern = dataclasses.replace(FOLDERS, people=PersonRule("folder", None, b""))
    rows = indexed(tmp_path, files, by_pattern)
    assert rows == [
        ("P1/b/x.dcm", ""),
        ("P1/c.dcm", "d.dcm/a.dcm"),
        ("P1/f.dcm", "e.dcm"),
        ("P2/c.dcm", "d.dcm"),  # prep shard will say what is missing
    ]


def test_a_file_for_each_b_scan_is_one_row_of_each_series_and_eye(tmp_path: Path) -> None:
    left, right = single_frames(scan()), single_frames(dataclasses.replace(scan(2), eye="R"))
    other = single_frames(scan(3), SeriesInstanceUID="2.25.8")
    second = single_frames(scan(4), AcquisitionNumber=2)
    files = {
        f"P1/{name}{10 - i}": data
        for name, frames in (("l", left), ("r", right), ("o", other[:1]), ("s", second))
        for i, data in enumerate(frames)
    }
    assert sorted(indexed(tmp_path, files)) == [
        ("P1/l10", "l9/l8/l7/l6/l5"),
        ("P1/o10", ""),
        ("P1/r10", "r9/r8/r7/r6/r5"),
        ("P1/s10", "s9/s8/s7/s6/s5"),
    ]


def test_whole_scans_of_one_series_stay_apart(tmp_path: Path) -> None:
    files = {f"P1/{i}.dcm": concatenation(scan(i), 6, ConcatenationUID=None)[0] for i in range(1, 4)}
    assert indexed(tmp_path, files) == [(path, "") for path in files]


def test_files_of_two_patients_are_no_scan_and_no_uid_leaves_them(tmp_path: Path) -> None:
    mine, other = concatenation(scan(), 3, 3), concatenation(scan(1, "MRN 2"), 3, 3)
    files = {"a/1": mine[0], "a/2": other[1], "a/3": mine[1], "a/4": other[0]}
    salted = dataclasses.replace(FOLDERS, people=PersonRule("dicom", None, bytes(range(32))))
    assert sorted(indexed(tmp_path, files, salted)) == [("a/1", "3"), ("a/4", "2")]
    written = b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "in" not in path.parts
    )
    assert UID.encode() not in written


def test_no_more_than_the_parts_of_open_folders_are_held() -> None:
    """A hundred thousand parts in folders of two: each is let go when its folder is left."""
    held = most = 0

    def scans() -> Iterator[IndexedScan]:
        nonlocal held, most
        for i in range(50_000):
            for part in "12":
                held += 1
                most = max(most, held)
                path = f"P{i:05d}/{part}"
                found = Finding(SCAN, "dicom", group="g", place=part)
                yield IndexedScan(path, found, ManifestRow(f"{i}", path, "", "", "", "", "", "dicom"))

    for scan_of_two in scan_parts.joined(scans()):
        assert scan_of_two.row.parts == "2"
        held -= 2
    assert (held, most) == (0, 3)


@pytest.mark.parametrize("where", ["remote", "zipped"])
def test_parts_and_volumes_are_the_same_rows_elsewhere(where: str, tmp_path: Path) -> None:
    both = changed(scan(7), lambda item, i: label(item, eye="LR"[i % 2]))
    files = {f"P1/{i}.dcm": data for i, data in enumerate(concatenation(scan(), 2, 1, 3))}
    files |= {"P2/both": both, "P2/whole.dcm": dicom()}
    expected = indexed(tmp_path, files)
    assert expected == [
        ("P1/0.dcm", "1.dcm/2.dcm"),
        ("P2/both#volume-1", ""),
        ("P2/both#volume-2", ""),
        ("P2/whole.dcm", ""),
    ]
    folder, lead = "memory://scan-parts", ""
    if where == "remote":
        for path, data in files.items():
            store.write(f"{folder}/{path}", data)
    else:
        folder, lead = str(tmp_path / "zips"), "a.zip/"
        (tmp_path / "zips").mkdir()
        with zipfile.ZipFile(tmp_path / "zips" / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path, data in files.items():
                archive.writestr(path, data)
    run.index(folder, str(tmp_path / "o.tsv"), FOLDERS)
    rows = aireadi.parse_manifest((tmp_path / "o.tsv").read_text(), "o.tsv")
    assert [(entry.path.removeprefix(lead), entry.parts) for entry in rows] == expected
