"""Folders of images in an index: one row for each that is one scan, only where that was asked for."""

import dataclasses
import zipfile
from pathlib import Path

import pytest

from octshard.errors import UsageError
from octshard.prep.index import image_folders, path_pattern, run
from octshard.prep.index.image_folders import SeriesFolders
from octshard.prep.index.options import IndexOptions
from octshard.prep.index.person import PersonRule
from octshard.prep.index.summary import text
from octshard.prep.release import aireadi
from octshard.prep.release.entry import Entry
from octshard.storage import store
from tests.support.array_files import WRITERS
from tests.support.image_files import b_scans, below, encoded
from tests.support.made_release import scan
from tests.support.scan_folder import dicom, write

VOXELS = scan().voxels_DHW
STACK = WRITERS["tiff by OME"](VOXELS, (1, 1, 1)).popitem()[1]
OLIVES = {f"TREXW_{i:06d}.tif": data for i, data in enumerate(b_scans(VOXELS, "TIFF").values())}
FILES = {
    **below("OCT/10001/", b_scans(VOXELS, "BMP")),
    "OCT/10001/Thumbs.db": b"\xd0\xcf",
    **below("Prime/01-001/W0/OD/", {**OLIVES, "fundus_W0.png": encoded(VOXELS[0])}),
    **below("photos/", {f"{i}.jpg": encoded(VOXELS[i], "JPEG") for i in range(2)}),
    **below("stacks/", dict.fromkeys(("1.tif", "2.tif", "3.tif"), STACK)),
    **below("kermany/", {f"CNV-{i}-{i}.png": encoded(VOXELS[i]) for i in range(6)}),
    **below("", {f"{i}.png": encoded(VOXELS[i]) for i in range(4)}),
    "P7/a.dcm": dicom(),
}  # fmt: skip
PEOPLE = PersonRule("folder", None, b"")
ASKED = IndexOptions(PEOPLE, workers=1, folders=True)


def entries(out: Path) -> list[Entry]:
    return aireadi.parse_manifest(out.read_text(), str(out))


@pytest.mark.parametrize("remote", [False, True])
def test_a_folder_of_numbered_images_is_one_row(tmp_path: Path, remote: bool) -> None:
    root = "memory://image-folders" if remote else str(write(tmp_path / "in", FILES))
    for path, data in FILES.items() if remote else ():
        store.write(store.join(root, path), data)
    result = run.index(root, str(tmp_path / "m.tsv"), ASKED)
    assert [(e.path, e.participant) for e in entries(tmp_path / "m.tsv")] == [
        ("OCT/10001/", "OCT"),
        ("P7/a.dcm", "P7"),
        ("Prime/01-001/W0/OD/", "W0"),
        ("stacks/1.tif", "stacks"),
        ("stacks/2.tif", "stacks"),
        ("stacks/3.tif", "stacks"),
    ]
    assert (result.files, result.formats) == (len(FILES), {"images": 2, "dicom": 1, "tiff": 3})
    assert result.others == {"text": 1}
    assert {problem: files.first for problem, files in result.problems.items()} == {
        image_folders.HOME: ["0.png"],
        image_folders.PROBLEMS["frame_order"]: ["kermany/"],
        image_folders.FEW: ["photos/"],
    }
    assert (result.folder_images, result.image_folders) == (13, 0)
    assert "folders of B-scans: 2, of 13 images" in text(result)


def test_folders_in_a_zip_are_found_as_those_on_a_disk(tmp_path: Path) -> None:
    write(tmp_path / "in", FILES)
    (tmp_path / "zipped").mkdir()
    with zipfile.ZipFile(tmp_path / "zipped/a.zip", "w") as archive:
        for path, data in FILES.items():
            archive.writestr(path, data)
    plain = run.index(str(tmp_path / "in"), str(tmp_path / "m.tsv"), ASKED)
    packed = run.index(str(tmp_path / "zipped"), str(tmp_path / "z.tsv"), ASKED)
    paths = [e.path for e in entries(tmp_path / "z.tsv")]
    assert [path for path in paths if path.endswith("/")] == ["a.zip/OCT/10001/", "a.zip/Prime/01-001/W0/OD/"]
    assert packed.formats == plain.formats


def test_without_being_asked_for_images_are_counted_and_folders_are_named(tmp_path: Path) -> None:
    root = write(tmp_path / "in", FILES)
    result = run.index(str(root), str(tmp_path / "m.tsv"), dataclasses.replace(ASKED, folders=False))
    assert not [e.path for e in entries(tmp_path / "m.tsv") if e.path.endswith("/")]
    # a TIFF of one page is a scan of one B-scan
    assert (result.formats, result.image_folders) == ({"dicom": 1, "tiff": 9}, 1)
    assert "folders: 1 of numbered images, not listed; --b-scan-folders" in text(result)
    photos = write(tmp_path / "photos", below("a/", b_scans(VOXELS, "JPEG")))
    with pytest.raises(
        UsageError, match=r"6 files of other kinds; folders: 1 of numbered images, not listed"
    ):
        run.index(str(photos), str(tmp_path / "n.tsv"), dataclasses.replace(ASKED, folders=False))


def test_a_folder_that_is_no_single_series_is_named_once_with_what_to_do(tmp_path: Path) -> None:
    one, other = (b_scans(VOXELS, "PNG").items() for _ in range(2))
    files = {
        **{f"P1/OD_{name}": data for name, data in one},
        **{f"P1/OS_{name}": data for name, data in other},
        **below("P2/", {f"2023010{i}_{i:03d}.png": encoded(VOXELS[i]) for i in range(6)}),
        **below("P3/", {name: encoded(VOXELS[0]) for name in ("fundus_a.png", "b.png")}),
        **below("P4/oct/", b_scans(VOXELS)),
        **below("P5/", {f"1_{i}.tif": data for i, data in enumerate(OLIVES.values())}),
        **below("P5/", {f"2_{i}.tif": data for i, data in enumerate(OLIVES.values())}),
    }
    root = write(tmp_path / "in", files)
    result = run.index(str(root), str(tmp_path / "m.tsv"), ASKED)
    assert result.formats == {"images": 1, "tiff": 12}  # single pages are rows
    assert {problem: files.first for problem, files in result.problems.items()} == {
        image_folders.PROBLEMS["several_volumes"]: ["P1/"],
        image_folders.PROBLEMS["frame_order"]: ["P2/"],
    }
    assert result.others == {"a PNG image": 2}
    lines = text(result)
    assert "not listed, 1: images of several series in one folder, want a folder for each: P1/" in lines
    photos = run.index(str(root), str(tmp_path / "s.tsv"), dataclasses.replace(ASKED, singles=True))
    assert (photos.formats["image"], photos.problems) == (20, {})


@pytest.mark.parametrize("pattern", ["OCT/{person}", "OCT/{person}/", "/**/{person}/"])
def test_a_pattern_is_of_the_folder(tmp_path: Path, pattern: str) -> None:
    write(tmp_path / "in", below("OCT/10001/", b_scans(VOXELS)))
    write(tmp_path / "in", below("OCT/10002/", b_scans(VOXELS)))
    people = PersonRule("pattern", path_pattern.parse(pattern), b"")
    run.index(str(tmp_path / "in"), str(tmp_path / "m.tsv"), dataclasses.replace(ASKED, people=people))
    assert [(e.participant, e.path) for e in entries(tmp_path / "m.tsv")] == [
        ("10001", "OCT/10001/"),
        ("10002", "OCT/10002/"),
    ]


def test_images_of_a_folder_that_cannot_be_listed_are_not_said_to_be(tmp_path: Path) -> None:
    write(tmp_path / "in", {**below("oct/", b_scans(VOXELS)), **below("P1/x/", b_scans(VOXELS))})
    by_default = dataclasses.replace(ASKED, people=PersonRule("", None, b""))
    result = run.index(str(tmp_path / "in"), str(tmp_path / "m.tsv"), by_default)
    assert [e.path for e in entries(tmp_path / "m.tsv")] == ["P1/x/"]
    assert (result.files, result.folder_images, result.image_folders) == (12, 6, 0)
    ((problem, files),) = result.problems.items()
    assert problem.startswith("no folder above it names a person")
    assert (files.count, files.first) == (1, ["oct/"])


def test_days_count_from_the_first_folder_of_a_person(tmp_path: Path) -> None:
    for day in ("2020-01-02", "2021-01-02"):
        write(tmp_path / "in", below(f"P1/{day}/", b_scans(VOXELS)))
    people = PersonRule("pattern", path_pattern.parse("{person}/{date}"), bytes(range(32)))
    run.index(str(tmp_path / "in"), str(tmp_path / "m.tsv"), dataclasses.replace(ASKED, people=people))
    assert [e.acquired for e in entries(tmp_path / "m.tsv")] == ["0", "366"]


def test_what_was_found_is_known_again_and_a_folder_that_grows_to_a_series_is_listed(tmp_path: Path) -> None:
    images = list(below("P1/OCT/", b_scans(VOXELS)).items())
    root, out = write(tmp_path / "in", {**dict(images[:2]), "P1/a.dcm": dicom()}), tmp_path / "m.tsv"
    assert run.index(str(root), str(out), ASKED).formats == {"dicom": 1}
    write(root, dict(images))
    again = run.index(str(root), str(out), ASKED)
    assert (again.formats, again.folder_images) == ({"dicom": 1, "images": 1}, 6)
    before = out.read_bytes()
    assert run.index(str(root), str(out), ASKED).reused == 7
    assert out.read_bytes() == before


def test_names_are_kept_of_open_folders_alone() -> None:
    folders = SeriesFolders()
    paths = [f"{a}/{name}" for a in "abc" for name in ("1.png", "10.png", "2.png", "in/1.png", "z.png")]
    for path in paths:
        folders.add(path)
        assert sum(len(names) for _, names in folders._open) <= 5
    assert folders.finish() == dict.fromkeys(["a/", "b/", "c/"], 4)


@pytest.mark.parametrize(
    ("names", "is_one"),
    [
        (["1.png", "2.png", "3.png"], True),
        (["1.png", "2.png"], False),
        (["1.png", "2.png", "3.jpg"], False),
        (["1.png", "2.png", "4.png", "fundus.png"], True),
        (["OD_1.png", "OD_2.png", "OD_3.png", "OS_1.png", "OS_2.png", "OS_3.png"], False),
        (["1", "2", "3"], False),
    ],
)
def test_which_names_are_those_of_one_scan(names: list[str], is_one: bool) -> None:
    assert image_folders.is_series(names) == is_one
