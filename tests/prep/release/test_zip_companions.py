"""Formats of two files in ZIPs: what lies beside a listed file there is found, and nothing else."""

import dataclasses
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from octshard.config.prep import PrepConfig
from octshard.dataset import tables
from octshard.dataset.tables import SampleRow
from octshard.prep.build import run
from octshard.prep.convert.source_file import Companions
from octshard.prep.readers import recognise
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.release import unzip, zip_source
from octshard.prep.release.aireadi import read_release
from octshard.prep.release.zip_companions import find
from octshard.prep.release.zip_directory import RefusedMember
from tests.support import array_files, every_format
from tests.support.made_release import Part, scan, zip_bytes
from tests.support.scan_folder import dicom, write

SPACING = 0.04, 0.01, 0.02
TWO = {
    kind: made(scan().voxels_DHW, SPACING)
    for kind, made in array_files.WRITERS.items()
    if "two files" in kind
} | {
    "optovue": every_format.scans()["optovue"]["optovue"],
    "img and text": every_format.scans()["img"]["img and text"],
}
DEVICE = "topcon_triton"


def release(root: Path, files: Mapping[str, Mapping[str, bytes]]) -> Path:
    """A manifest of the first file of each folder, each of a person of its own."""
    rows = [
        "person_id\tfilepath\tdevice",
        *(f"{folder[-1]}\t{folder}/{next(iter(files[folder]))}\t{DEVICE}" for folder in files),
    ]
    return write(root, {"manifest.tsv": "\n".join(rows).encode()})


def zipped(root: Path, files: Mapping[str, Mapping[str, bytes]]) -> Path:
    """All folders in one ZIP, below a folder that the manifest does not know; deflated, but for values."""
    release(root, files)
    with zipfile.ZipFile(root / "scans.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, members in files.items():
            for name, data in members.items():
                method = zipfile.ZIP_STORED if name.endswith("raw") else zipfile.ZIP_DEFLATED
                archive.writestr(f"download/{folder}/{name}", data, method)
    return root


def rows_of(root: Path, dst: Path, **values: object) -> dict[str, SampleRow]:
    run.shard(
        PrepConfig(src=str(root), dst=str(dst), target_spacing=[0.08, 0.04, 0.04], workers=1, **values),
        [DEVICE],
    )
    return {row.source: row for row in tables.open_dataset(str(dst / DEVICE)).rows}


def tars(dst: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (dst / DEVICE).glob("*.tar")}


@pytest.mark.slow
def test_they_become_the_same_shards_from_zips_as_from_folders(tmp_path: Path) -> None:
    files = {f"p/{number}": files for number, files in enumerate(TWO.values())}
    bare = write(
        release(tmp_path / "bare", files), {f"{f}/{n}": d for f, m in files.items() for n, d in m.items()}
    )
    root = zipped(tmp_path / "zipped", files)
    rows = rows_of(root, tmp_path / "a", from_zip=True)
    assert {row.status for row in rows.values()} == {"ok"}
    assert rows == rows_of(bare, tmp_path / "b")
    assert tars(tmp_path / "a") == tars(tmp_path / "b")
    report = unzip.unzip(str(root), str(tmp_path / "unzipped"), unzip.Limits(1, 2**26))
    assert len(report.written) == 2 * len(TWO)
    assert (report.refused, report.missing, report.unlisted) == ((), (), ())
    for path in report.written:
        assert (tmp_path / "unzipped" / path).read_bytes() == (bare / path).read_bytes()


def test_what_is_read_and_unpacked_is_what_was_packed(tmp_path: Path) -> None:
    files = {f"p/{number}": files for number, files in enumerate(TWO.values())}
    root = zipped(tmp_path / "zipped", files)
    packed = {f"{folder}/{name}": data for folder, inside in files.items() for name, data in inside.items()}
    listed = read_release(str(root))
    source, *_ = zip_source.open_release(listed)
    read = {path: source.read(dataclasses.replace(listed.entries[0], path=path)) for path in packed}
    assert read == packed
    report = unzip.unzip(str(root), str(tmp_path / "unzipped"), unzip.Limits(1, 2**26))
    assert sorted(report.written) == sorted(packed)
    assert all((tmp_path / "unzipped" / path).read_bytes() == data for path, data in packed.items())


def test_a_changed_companion_is_seen_in_a_zip_too(tmp_path: Path) -> None:
    made = array_files.simple_itk("a.mhd", packed=False)
    first, second = (made(scan(number).voxels_DHW, SPACING) for number in (1, 2))
    assert first["a.mhd"] == second["a.mhd"]
    root = zipped(tmp_path / "r", {"p": first})
    before = rows_of(root, tmp_path / "dst", from_zip=True)
    zipped(tmp_path / "r", {"p": second})
    after = rows_of(root, tmp_path / "dst", from_zip=True)
    assert after["p/a.mhd"].sha256 != before["p/a.mhd"].sha256
    zipped(tmp_path / "r", {"p": second, "q": first})  # another ZIP with the same bytes in it
    release(tmp_path / "r", {"p": second})
    assert rows_of(root, tmp_path / "dst", from_zip=True) == after


@pytest.mark.parametrize(
    ("parts", "reason", "detail"),
    [
        ([], "no_pixel_data", "which is not there"),
        ([("other/a.raw", {})], "no_pixel_data", "which is not there"),
        ([("d/p/sub/a.raw", {})], "no_pixel_data", "which is not there"),
        ([("d/p/../p/a.raw", {})], "no_pixel_data", "which is not there"),
        ([("d/p/a.raw", {"flags": 1})], "unreadable_member", "a.zip:d/p/a.raw: encrypted"),
        ([("d/p/a.raw", {"attributes": 0o120777 << 16})], "unreadable_member", "a.raw: symbolic link"),
        ([("d/p/a.raw", {"method": 93})], "unreadable_member", "compression method 93"),
        ([("d\\p\\a.raw", {})], "", ""),
        ([("d/p/a.raw", {}), ("d/p/a.raw", {})], "", ""),
    ],
)
def test_only_sound_members_of_the_same_folder_are_found(
    parts: list[tuple[str, dict[str, int]]], reason: str, detail: str, tmp_path: Path
) -> None:
    files = array_files.simple_itk("a.mhd", packed=False)(scan().voxels_DHW, SPACING)
    root = release(tmp_path / "r", {"p": files})
    members = [Part("d/p/a.mhd", files["a.mhd"])]
    members += [Part(name, files["a.raw"], central=central) for name, central in parts]
    (root / "a.zip").write_bytes(zip_bytes(members))
    listed = read_release(str(root))
    source, *_ = zip_source.open_release(listed)
    (entry,) = listed.entries
    file = ScanBytes(source.read(entry), entry.path, folder=Companions(entry, source).read)
    if not reason:
        assert recognise.open_scan(file).facts.frames == 6
        return
    with pytest.raises(Refused, match=f"^{reason}: .*{detail}"):
        recognise.open_scan(file)


def test_two_zips_that_say_two_things_are_not_decided_by_chance(tmp_path: Path) -> None:
    files = array_files.simple_itk("a.mhd", packed=False)(scan().voxels_DHW, SPACING)
    root = release(tmp_path / "r", {"p": files})
    whole = [Part(f"p/{name}", data) for name, data in files.items()]
    (root / "a.zip").write_bytes(zip_bytes(whole))
    other = [*whole[:1], Part("p/a.raw", bytes(len(files["a.raw"])))]
    (root / "b.zip").write_bytes(zip_bytes(other))
    source, *_ = zip_source.open_release(read_release(str(root)))
    assert source.has("p/a.raw")  # of b.zip no member is listed: the first of two a.mhd counts
    assert zip_source.read(source.companions["p/a.raw"]) == files["a.raw"]


def test_two_members_of_a_name_are_told_without_the_folders_of_this_machine(tmp_path: Path) -> None:
    files = array_files.simple_itk("a.mhd", packed=False)(scan().voxels_DHW, SPACING)
    root = release(tmp_path / "r", {"p": files})
    parts = [Part(f"p/{name}", data) for name, data in files.items()]
    (root / "40817263.zip").write_bytes(zip_bytes([*parts, Part("p/a.raw", bytes(9))]))
    listed = read_release(str(root))
    source, *_ = zip_source.open_release(listed)
    (entry,) = listed.entries
    with pytest.raises(Refused) as refused:
        Companions(entry, source).read("a.raw")
    told = "two members of this name have other bytes, the first is in"
    assert refused.value.detail == f"40817263.zip:p/a.raw: {told} 40817263.zip"
    assert refused.value.public == f"...: {told} ..."


def test_the_texts_of_a_zip_are_missed_by_nobody(tmp_path: Path) -> None:
    """Beside a ZIP that cannot be read a cube without a text is what it is; a listed file is not."""
    files = {"p": every_format.scans()["img"]["img"]}
    root = zipped(tmp_path / "r", files)
    (root / "b.zip").write_bytes(b"PK")
    listed = read_release(str(root))
    source, *_ = zip_source.open_release(listed)
    (entry,) = listed.entries
    file = ScanBytes(source.read(entry), entry.path, folder=Companions(entry, source).read)
    assert recognise.open_scan(file).facts.frames == 10


def test_folders_of_dicom_files_have_no_companions(tmp_path: Path) -> None:
    root = zipped(tmp_path / "r", {"p": {"a.dcm": dicom(), "a.raw": b"1", "a.txt": b"2"}})
    source, refused, unlisted = zip_source.open_release(read_release(str(root)))
    assert not source.companions
    assert (refused, len(unlisted)) == ([], 2)


def test_names_of_our_own_files_are_no_companions(tmp_path: Path) -> None:
    files = {"p": {"a.mhd": b"x", "manifest.tsv": b"y", "lock": b"z", "a.raw": b"r", "b:c": b"d"}}
    root = zipped(tmp_path / "r", files)
    source, *_ = zip_source.open_release(read_release(str(root)))
    assert sorted(source.companions) == ["p/a.raw", "p/b:c"]
    bad = RefusedMember(str(root / "scans.zip"), "download/p/b.raw", "encrypted")
    assert find(source.entries, [], [bad]).refused == {"p/b.raw": bad}
