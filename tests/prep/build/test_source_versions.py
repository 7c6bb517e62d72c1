"""Files that were fetched again: what was refused is looked at again, what was stored is made again."""

import dataclasses
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from octshard.config.prep import PrepConfig
from octshard.dataset import tables
from octshard.dataset.tables import SampleRow
from octshard.prep.build import run
from octshard.prep.release import unzip
from octshard.storage import store
from tests.support.array_files import npy, simple_itk
from tests.support.image_files import b_scans, below, encoded
from tests.support.log_lines import log_lines
from tests.support.made_release import changed, scan, sound, unpacked, zipped
from tests.support.scan_folder import write

DEVICE = "topcon_triton"
SPLITS = {"1001": "train", "4001": "val"}


def config(root: Path, dst: Path, **values: object) -> PrepConfig:
    made = PrepConfig(src=str(root), dst=str(dst), target_spacing=[0.08, 0.04, 0.04], workers=1)
    return dataclasses.replace(made, **{"shard_bytes": 1, **values})  # type: ignore[arg-type]


def build(cfg: PrepConfig) -> tuple[dict[str, SampleRow], int]:
    """The rows by path, and how many shards were kept."""
    (summary,) = run.shard(cfg, [DEVICE])
    rows = tables.open_dataset(store.join(cfg.dst, DEVICE)).rows
    return {row.source: row for row in rows}, summary.kept


def tree(dst: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (dst / DEVICE).iterdir() if p.name != tables.RUN_INFO}


DAMAGE: dict[str, Callable[[bytes], bytes]] = {  # by the reason; all but one keep the size
    "not_dicom": lambda data: b"\0" * 256 + data[256:],
    "unreadable": lambda data: data[:800] + b"\1" * 200 + data[1000:],
    "truncated": lambda data: data[:2000],
    "empty": lambda data: b"",
    "frame_count": lambda data: data.replace(b"\x28\0\x08\0IS\x02\x006 ", b"\x28\0\x08\0IS\x02\x005 "),
    "not_oct": lambda data: data.replace(b"77.1.5.4", b"77.1.5.1"),
}


@pytest.mark.parametrize("reason", DAMAGE)
def test_a_file_that_is_fetched_again_is_looked_at_again(tmp_path: Path, reason: str) -> None:
    files = [changed(1, DAMAGE[reason]), sound(2, "4001")]
    root, whole = unpacked(tmp_path / "release", files, SPLITS), sound(1)
    cfg = config(root, tmp_path / "dst")
    assert build(cfg)[0][whole.path].reason == reason
    assert build(cfg)[1] == 1
    (root / whole.path).write_bytes(whole.data or b"")
    rows, kept = build(cfg)
    assert (rows[whole.path].status, kept) == ("ok", 1)
    build(config(root, tmp_path / "anew"))
    assert tree(tmp_path / "dst") == tree(tmp_path / "anew")


def test_a_stored_file_that_changes_is_made_again_and_that_is_said(tmp_path: Path) -> None:
    files = [sound(1), sound(2, "4001")]
    root = unpacked(tmp_path / "release", files, SPLITS)
    path = root / files[0].path
    cfg = config(root, tmp_path / "dst")
    build(cfg)
    data = bytearray(files[0].data or b"")
    data[-1] ^= 1  # one voxel; the size stays
    path.write_bytes(bytes(data))
    with log_lines() as lines:
        assert build(cfg)[1] == 1
    assert lines == [
        f"{tmp_path}/dst/{DEVICE}: 1 stored files have changed, the first is {files[0].path}; "
        "their shards are made again"
    ]
    build(config(root, tmp_path / "anew"))
    assert tree(tmp_path / "dst") == tree(tmp_path / "anew")


def test_a_stored_file_with_another_time_or_none_at_all_is_kept(tmp_path: Path) -> None:
    files = [sound(1), sound(2, "4001"), changed(3, DAMAGE["truncated"])]
    root = unpacked(tmp_path / "release", files, SPLITS)
    cfg = config(root, tmp_path / "dst")
    build(cfg)
    before = tree(tmp_path / "dst")
    for file in files:
        os.utime(root / file.path, (10**9, 10**9))
    assert build(cfg)[1] == 2
    (root / files[0].path).unlink()
    with log_lines() as lines:
        assert build(cfg)[1] == 2
    assert (tree(tmp_path / "dst"), lines) == (before, [])


@pytest.mark.parametrize("kind", ["moved", "of an earlier version", "damaged", "deep"])
def test_without_versions_to_compare_sizes_tell_and_refused_files_are_read(tmp_path: Path, kind: str) -> None:
    files = [sound(1), sound(2, "4001"), changed(3, DAMAGE["not_dicom"])]
    root = unpacked(tmp_path / "release", files, SPLITS)
    cfg = config(root, tmp_path / "dst")
    build(cfg)
    versions = tmp_path / "dst" / f".{DEVICE}.sources.json"
    if kind == "moved":
        shutil.copytree(root, tmp_path / "elsewhere", copy_function=shutil.copyfile)
        root = tmp_path / "elsewhere"
        cfg = dataclasses.replace(cfg, src=str(root))
    elif kind == "damaged":
        versions.write_text('{"versions": 7')
    elif kind == "deep":
        versions.write_text('{"versions":' + '{"a":' * 100_000)
    else:
        versions.unlink()
    (root / files[0].path).write_bytes(bytes(len(files[0].data or b"")))  # nobody can see that
    (root / files[2].path).write_bytes(sound(3).data or b"")
    rows, kept = build(cfg)
    assert (rows[files[0].path].status, rows[files[2].path].status, kept) == ("ok", "ok", 2)
    assert build(cfg)[1] == 3


def spoil(path: Path, how: str) -> None:
    """Damages the first member of a ZIP, or all of it."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = archive.infolist()[0]
    at = member.header_offset + 30 + len(member.filename)
    central = data.index(b"PK\1\2")
    if how == "CRC":
        data[at + member.compress_size // 2] ^= 255
    elif how == "encrypted":
        data[central + 8] |= 1
    elif how == "method":
        data[central + 10 : central + 12] = (93).to_bytes(2, "little")
    elif how == "local header":
        data[member.header_offset] = 0
    elif how == "cut off":
        del data[len(data) * 2 // 3 :]
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("CRC", "its CRC-32 is|becomes|deflated data"),
        ("encrypted", "encrypted"),
        ("method", "compression method 93, want stored or deflated"),
        ("local header", "no local header at byte 0"),
        ("cut off", "not a whole ZIP: no end record"),
    ],
)
def test_a_damaged_member_is_no_missing_file_and_is_read_again_when_its_zip_is_fetched(
    tmp_path: Path, how: str, text: str
) -> None:
    absent = changed(3, lambda data: None)
    files = [sound(1), sound(2, "4001"), absent]
    root = zipped(tmp_path / "release", files, SPLITS)
    path = root / DEVICE / f"{DEVICE}.zip"
    second = root / "heidelberg_spectralis"
    second.mkdir()
    shutil.copy(path, second / "more.zip")  # of another device: it plays no part
    whole = path.read_bytes()
    spoil(path, how)
    if how == "cut off":  # every file may be in it, so one ZIP must be left
        with zipfile.ZipFile(root / DEVICE / "rest.zip", "w") as archive:
            archive.writestr("/".join(files[1].path.split("/")[-2:]), files[1].data or b"")
    report = unzip.unzip(str(root), str(tmp_path / "unzipped"), unzip.Limits(1, 2**26))
    cfg = config(root, tmp_path / "dst", from_zip=True)
    rows, _ = build(cfg)
    first = rows[files[0].path]
    assert first.reason == "unreadable_member"
    assert any(word in first.detail for word in text.split("|"))
    assert any(member.reason.removeprefix("damaged: ") in first.detail for member in report.refused)
    assert str(tmp_path) not in first.detail
    assert rows[absent.path].reason == ("unreadable_member" if how == "cut off" else "missing_file")
    assert rows[files[1].path].status == "ok"
    assert build(cfg)[0] == rows
    path.write_bytes(whole)
    rows, kept = build(cfg)
    assert (rows[files[0].path].status, kept) == ("ok", 1)
    assert rows[absent.path].reason == "missing_file"
    build(config(root, tmp_path / "anew", from_zip=True))
    assert tree(tmp_path / "dst") == tree(tmp_path / "anew")


@pytest.mark.parametrize("values", ["a.raw", "pixels.bin"])
@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr"])
def test_a_file_of_values_that_comes_or_changes_is_read(name: str, values: str, tmp_path: Path) -> None:
    """The header that names it stays as it is."""
    root = tmp_path / "release"
    root.mkdir()
    lines = ["person_id\tfilepath\tdevice", f"1001\t{name}\t{DEVICE}", f"4001\tb.npy\t{DEVICE}"]
    (root / "manifest.tsv").write_text("\n".join(lines))
    header, other = (
        made(scan(9).voxels_DHW, (0.04, 0.01, 0.02)) for made in (simple_itk(name, packed=False), npy)
    )
    (root / name).write_bytes(header[name].replace(b"a.raw", values.encode()))
    (root / "b.npy").write_bytes(other["a.npy"])
    cfg = config(root, tmp_path / "dst")
    assert build(cfg)[0][name].reason == "no_pixel_data"
    digests = set()
    for number in (1, 2):
        (root / values).write_bytes(scan(number).voxels_DHW.tobytes())
        rows, kept = build(cfg)
        assert (rows[name].status, kept) == ("ok", 1)
        digests.add(rows[name].sha256)
        assert build(cfg)[1] == 2
    assert len(digests) == 2
    for file in (name, values):
        os.utime(root / file, (10**9, 10**9))
        with log_lines() as log:
            assert build(cfg)[1] == 2
        assert not [line for line in log if "changed" in line]


def folder_release(root: Path) -> PrepConfig:
    """Two scans in folders of images, and one file."""
    for person in ("1001", "4001"):
        write(root, below(f"{person}/OCT/", b_scans(scan(int(person)).voxels_DHW)))
    write(root, {"4001/a.dcm": sound(2, "4001").data or b""})
    rows = [
        f"{p}\t{path}\t{DEVICE}\t[0.01, 0.02]\t0.04"
        for p, path in (("1001", "1001/OCT/"), ("4001", "4001/OCT/"))
    ]
    rows.append(f"4001\t4001/a.dcm\t{DEVICE}\t[0.01, 0.02]\t0.04")
    head = "person_id\tfilepath\tdevice\tpixel_spacing\tslice_thickness"
    (root / "manifest.tsv").write_text("\n".join([head, *rows]) + "\n")
    split = "person_id\trecommended_split\n1001\ttrain\n4001\tval\n"
    (root / "participants.tsv").write_text(split)
    return config(root, root.parent / "dst")


def test_folders_of_images_are_resumed_as_files_are(tmp_path: Path) -> None:
    root = tmp_path / "release"
    cfg = folder_release(root)
    rows, _ = build(cfg)
    assert {path: row.status for path, row in rows.items()} == dict.fromkeys(rows, "ok")
    assert (len(rows), rows["1001/OCT/"].format) == (3, "images")
    for image in root.rglob("*.png"):
        os.utime(image, (10**9, 10**9))
    with log_lines() as lines:
        build(cfg)
    assert lines == []
    path = root / "1001/OCT/3.png"
    changed_HW = np.asarray(Image.open(path)) ^ 1
    path.write_bytes(encoded(changed_HW))
    with log_lines() as lines:
        assert build(cfg)[0]["1001/OCT/"].sha256 != rows["1001/OCT/"].sha256
    assert "1 stored files have changed, the first is 1001/OCT/" in lines[0]
    path.unlink()
    assert build(cfg)[0]["1001/OCT/"].reason == "geometry_uneven"


def test_folders_of_images_in_zips_give_the_same_bytes(tmp_path: Path) -> None:
    root = tmp_path / "release"
    cfg = folder_release(root)
    rows, _ = build(cfg)
    zips = tmp_path / "zips"
    write(zips, {name: (root / name).read_bytes() for name in ("manifest.tsv", "participants.tsv")})
    with zipfile.ZipFile(zips / "all.zip", "w") as archive:
        for path in sorted(root.rglob("*.*")):
            if path.suffix in (".png", ".dcm"):
                archive.write(path, f"some/where/{path.relative_to(root)}")
    zipped_cfg = dataclasses.replace(cfg, src=str(zips), dst=str(tmp_path / "from_zip"), from_zip=True)
    assert build(zipped_cfg)[0] == rows
    assert tree(tmp_path / "from_zip") == tree(tmp_path / "dst")
    with log_lines() as lines:
        build(zipped_cfg)
    assert lines == []
    result = unzip.unzip(str(zips), str(tmp_path / "unpacked"), unzip.Limits(1, 64_000_000))
    assert (len(result.written), result.missing) == (13, ())
    build(dataclasses.replace(cfg, src=str(tmp_path / "unpacked"), dst=str(tmp_path / "again")))
    assert tree(tmp_path / "again") == tree(tmp_path / "dst")
