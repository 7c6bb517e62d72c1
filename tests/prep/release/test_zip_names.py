"""Names of ZIPs and of their members: any folder is looked in, and a device decides between equal names."""

import dataclasses
from pathlib import Path

import pytest

from octshard.prep.release.zip_names import find_zips, member_names
from octshard.storage import store
from tests.support.memory_source import entry

PLACES = (
    "a.zip", "nidek_rs3000/b.ZIP", "Topcon_Triton/c.zip", "any folder/d.zip", "v1.2/e.zip",
    "retinal_oct/f.zip", "retinal_oct/structural_oct/own_device/g.zip", "structural_oct/h.zip",
)  # fmt: skip


@pytest.mark.parametrize("remote", [False, True])
def test_zips_are_found_in_folders_of_any_name(tmp_path: Path, remote: bool) -> None:
    root = "memory://zips" if remote else str(tmp_path)
    others = (".hidden/x.zip", "too/deep/x.zip", "a.dcm", "manifest.tsv", "x.zip.txt")
    for name in (*PLACES, *others):
        store.write(f"{root}/{name}", b"PK") if remote else _write(tmp_path / name)
    assert find_zips(root) == sorted(f"{root}/{name}" for name in PLACES)


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PK")


def test_a_device_that_is_none_of_ours_decides_between_equal_names() -> None:
    rows = [
        dataclasses.replace(entry(f"{device}/1001/scan.dcm"), device=device)
        for device in ("nidek_rs3000", "Canon_A1", "topcon_triton")
    ]
    names = member_names(rows)
    assert names.path_of("r/nidek_rs3000/x.zip", "1001/scan.dcm") == rows[0].path
    assert names.path_of("r/x/CANON_A1.zip", "1001/scan.dcm") == rows[1].path
    assert names.path_of("r/x.zip", "a/canon_a1/1001/scan.dcm") == rows[1].path
    assert names.path_of("r/Topcon_Triton/x.zip", "1001/scan.dcm") == rows[2].path
    assert names.path_of("r/x.zip", "1001/scan.dcm") == ""


def test_a_device_of_ones_own_words_is_found_in_zips_called_after_its_path_too() -> None:
    row = dataclasses.replace(entry("topcon_triton/1001/scan.dcm"), device="clinic_a")
    other = dataclasses.replace(entry("zeiss_cirrus/1001/scan.dcm"), device="clinic_b")
    names = member_names([row, other])
    assert names.path_of("r/topcon_triton/x.zip", "1001/scan.dcm") == row.path
    assert names.path_of("r/clinic_b.zip", "1001/scan.dcm") == other.path
    assert names.path_of("r/x.zip", "1001/scan.dcm") == ""


@pytest.mark.parametrize(
    ("member", "path"),
    [
        ("OCTA_6mm/OCT/10001/1.bmp", "OCTA_6mm/OCT/10001/1.bmp"),
        ("any/where/OCTA_6mm/OCT/10001/1.bmp", "OCTA_6mm/OCT/10001/1.bmp"),
        ("OCTA_6mm\\OCT\\10001\\1.bmp", "OCTA_6mm/OCT/10001/1.bmp"),
        ("OCT/10001/1.bmp", "OCTA_6mm/OCT/10001/1.bmp"),
        ("10002/1.bmp", "OCTA_6mm/OCT/10002/1.bmp"),
        ("OCTA/10002/1.bmp", ""),  # the folder of that name is another one
        ("10001/1.bmp", ""),  # there are two
        ("OCT/10001/thumbs/1.bmp", ""),
        ("OCT/10001/notes.txt", ""),
        ("OCT/10001/.1.bmp", ""),
        ("1.bmp", ""),
    ],
)
def test_an_image_is_of_the_folder_whose_path_it_ends_with(member: str, path: str) -> None:
    rows = [entry(f"{place}/") for place in ("OCTA_6mm/OCT/10001", "OCTA_6mm/OCT/10002", "other/10001")]
    assert member_names(rows).path_of("r/x.zip", member) == path
