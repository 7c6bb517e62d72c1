"""Heidelberg .e2e against a writer that follows the structures published by uocte and eyepy."""

import dataclasses
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import octshard
from octshard.cli.main import cli
from octshard.dataset import shard, tables
from octshard.imaging.volume import SampleKey
from octshard.prep import crosscheck, duplicates
from octshard.prep.plan import Member
from octshard.prep.readers import e2e_directory, heidelberg_e2e, recognise
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.release import zip_source
from octshard.prep.release.aireadi import Release
from octshard.prep.release.source import open_folder
from tests.support.device_files import conversion
from tests.support.device_files.heidelberg_e2e import NOBODY, Series, to_float16u, write
from tests.support.device_files.heidelberg_vol import reflectance
from tests.support.made_release import scan
from tests.support.memory_source import entry

DEGREE_MM = 0.2896
STEP, WIDTH = 0.04 / DEGREE_MM, 24 * 0.02 / DEGREE_MM
LINES = [(-1.0, -1.0 + i * STEP, -1.0 + WIDTH, -1.0 + i * STEP) for i in range(6)]
STAR = [(-np.cos(a), -np.sin(a), np.cos(a), np.sin(a)) for a in np.arange(6) * np.pi / 6]


def series(number: int = 3, **values: object) -> Series:
    return dataclasses.replace(Series(number, reflectance(scan().voxels_DHW), LINES), **values)


@pytest.mark.parametrize("eye", ["L", "R"])
@pytest.mark.parametrize(
    ("prefix", "directories"), [(b"", 1), (b"E2EMultipleVolumeFile".ljust(64, b"\0"), 3)]
)
def test_a_volume_is_stored_as_from_dicom(eye: str, prefix: bytes, directories: int) -> None:
    data = write([series(eye=eye)], prefix=prefix, directories=directories)
    row, expected = (
        conversion.row_of("scan", data),
        conversion.dicom_facts(dataclasses.replace(scan(), eye=eye)),
    )
    for name in ("spacing_in", "spacing_out"):  # numbers here are float32
        assert getattr(row, name) == pytest.approx(expected.pop(name), rel=1e-6)
    assert {name: getattr(row, name) for name in expected} == expected
    assert (row.format, row.model, row.spacing_source) == ("e2e", "Spectralis", "angle")
    assert {"spacing_from_angle", "slice_step_from_locations", "levels_rescaled"} <= set(row.flags)


def test_the_manifest_knows_the_width_better_than_an_angle() -> None:
    row = conversion.row_of("a.e2e", write([series()]), pixel_mm=(0.011, 0.022))
    assert (row.spacing_source, row.spacing_in[2]) == ("manifest", 0.022)
    assert row.spacing_in[1] == pytest.approx(0.01)  # depth is told in mm
    assert row.spacing_in[0] == pytest.approx(0.044)  # the lines lie as far apart as they are wide
    assert "pixel_spacings_differ" in row.flags
    assert "spacing_from_angle" not in row.flags
    assert "in-plane 0.01 x 0.022 mm (manifest), 0.011 x 0.022 mm (manifest)" in row.detail
    told = conversion.row_of("a.e2e", write([series()]))
    assert conversion.row_of("a.e2e", write([series()]), default_mm=(0.1, 0.02, 0.03)) == told


def test_kept_bits_tell_apart_what_eight_round_together() -> None:
    """16 bits of the file, no two of which are one level: the reflectance comes back within its own step."""
    values = np.random.default_rng(3).uniform(0.01, 0.4, scan().voxels_DHW.shape).astype(np.float32)
    keep = dataclasses.replace(conversion.CFG, bits="keep", target_spacing=[0.04, 0.01, 0.02])
    kept = conversion.converted("a.e2e", write([series(values_DHW=values)]), cfg=keep, pixel_mm=(0.01, 0.02))
    stored = shard.unpack(kept.data, kept.row.key, kept.row.xxh3, "test")
    assert (kept.row.dtype, stored.meta["source_levels"]) == ("uint16", [0.0, 65535.0])
    np.testing.assert_allclose((stored.voxels_DHW / 65535) ** 4, values, rtol=2**-10)
    assert list(crosscheck.sample(kept.row, stored)) == []


def test_small_floats_become_levels_and_the_greatest_ones_are_none() -> None:
    assert to_float16u(np.array([0, 0.5, 1, 2.0**-16])).tolist() == [0, 62 << 10, 63 << 10, 47 << 10]
    values = reflectance(scan().voxels_DHW)
    values[0, 0, :6] = [0, 0.5, 1, 2.0**-16, 2047 / 1024, 1.5]
    data = write([series(values_DHW=values)])
    levels = next(recognise.open_scan(ScanBytes(data)).frames())[0, :6]
    # 255 * 0.5^(1/4) = 214.43, 255 / 16 = 15.94
    assert levels.tolist() == [0, 214, 255, 16, 0, 255]
    assert "1 pixels without a value became 0" in conversion.row_of("a.e2e", data).detail


@pytest.mark.parametrize(
    ("made", "reason", "detail"),
    [
        ([], "no_pixel_data", "no images"),
        (
            [series(values_DHW=np.zeros((0, 20, 24)), lines=[])],
            "not_oct",
            "1 pictures, none of them a B-scan",
        ),
        ([series(lines=STAR)], "geometry_radial", "as radial"),
        ([series(lines=STAR, pattern=2)], "geometry_circle", "as circle"),
        ([series(declared=5)], "frame_count", "5 B-scans declared, 6 stored"),
        ([series(values_DHW=np.zeros((6, 0, 24)))], "empty", "(6, 0, 24)"),
        (
            [series(), series(8, eye="R"), series(9, eye="?")],
            "several_volumes",
            "3 scans: series 3 (L, 6 B-scans of 20 x 24), series 8 (R, 6 B-scans of 20 x 24), "
            "series 9 (eye not told, 6 B-scans of 20 x 24); want a row for each, its filepath ending in #3",
        ),
    ],
)
def test_what_is_no_volume_is_refused_as_what_it_is(made: list[Series], reason: str, detail: str) -> None:
    row = conversion.row_of("a.e2e", write(made))
    assert row.reason == reason
    assert detail in row.detail


@pytest.fixture(scope="module")
def exam() -> bytes:
    """Both eyes, and a line."""
    other = series(8, eye="R", values_DHW=reflectance(scan().voxels_DHW[:, ::-1]))
    line = series(9, values_DHW=reflectance(scan().voxels_DHW[:1]), lines=LINES[:1])
    return write([series(3), other, line])


def test_a_path_may_name_one_scan_of_several(exam: bytes) -> None:
    alone = conversion.row_of("a.e2e", write([series(3)]))
    for number, eye in ((3, "L"), (8, "R")):
        row = conversion.row_of(f"a.e2e#{number}", exam)
        assert (row.status, row.eye, row.source, row.frames) == ("ok", eye, f"a.e2e#{number}", 6)
        assert (row.sha256 == alone.sha256) == (number == 3)
    assert conversion.row_of("a.e2e#9", exam).reason == "geometry_line"
    row = conversion.row_of("a.e2e#5", exam)
    assert (row.reason, row.detail) == (
        "unreadable",
        "no images of series 5 in the file; there are those of 3, 8, 9",
    )


def test_scans_that_share_a_number_are_one_series_and_refused_with_what_helps() -> None:
    data = write([series(3), series(3, study=8, eye="R"), series(9, eye="R")])
    assert heidelberg_e2e.series_in(data) == [("3", ""), ("9", "R")]
    assert conversion.row_of("a.e2e#9", data).status == "ok"
    row = conversion.row_of("a.e2e#3", data)
    assert row.reason == "several_volumes"
    assert row.detail.startswith("2 scans: series 3 (L, 6 B-scans of 20 x 24), series 3 (R, ")
    assert row.detail.endswith("; want a file for each, as they share their number")


def test_damage_to_one_scan_is_not_that_of_another(exam: bytes) -> None:
    damaged = changed(image_at(exam, 4) + 12, 99, exam)  # of the first series
    assert conversion.row_of("a.e2e#3", damaged).reason == "unreadable"
    assert conversion.row_of("a.e2e#8", damaged).status == "ok"


@pytest.mark.parametrize("kind", [11, 13])
def test_a_scan_does_without_what_stands_beside_it(kind: int) -> None:
    data = write([series()], directories=1)
    number = NOBODY
    start = struct.unpack_from("<I", data, entry_at(data, kind, number) + 4)[0]
    row = conversion.row_of("a.e2e", data[:start] + bytes(61) + data[start + 61 :])
    assert (row.status, row.eye, row.model) == (
        "ok",
        "L" if kind == 13 else "",
        "Spectralis" if kind == 11 else "",
    )


def test_two_scans_of_a_file_are_no_duplicates_of_each_other(exam: bytes) -> None:
    rows = [conversion.row_of(f"a.e2e#{number}", exam) for number in (3, 8)]
    assert len({row.source_xxh3 for row in rows}) == 2
    members = [Member(SampleKey("1", "d", "p", "", str(i)), entry(row.source)) for i, row in enumerate(rows)]
    assert set(duplicates.resolve(zip(members, rows, strict=True)).values()) == {""}


@pytest.mark.parametrize("zipped", [False, True])
def test_a_release_lists_the_scans_of_a_file(exam: bytes, zipped: bool, tmp_path: Path) -> None:
    """`Source` gives the file of each path, unpacked or out of its ZIP."""
    listed = [dataclasses.replace(entry(f"dev/exam.e2e#{number}"), device="dev") for number in (3, 8)]
    if zipped:
        with zipfile.ZipFile(tmp_path / "dev.zip", "w") as archive:
            archive.writestr("dev/exam.e2e", exam)
        source, refused, unlisted = zip_source.open_release(Release(str(tmp_path), tuple(listed), {}, ()))
        assert (list(source.entries), refused, unlisted) == (["dev/exam.e2e"], [], [])
    else:
        (tmp_path / "dev").mkdir()
        (tmp_path / "dev" / "exam.e2e").write_bytes(exam)
        source = open_folder(str(tmp_path), listed)
    for one in listed:
        assert bytes(source.read(one)) == exam
        assert source.has(one.path)
        assert source.fingerprint(one.path).size == len(exam)


def test_one_scan_of_several_opens_by_itself(exam: bytes, tmp_path: Path) -> None:
    (tmp_path / "exam.e2e").write_bytes(exam)
    volume = octshard.open_volume(tmp_path / "exam.e2e#8")
    np.testing.assert_array_equal(volume.voxels_DHW, scan().voxels_DHW[:, ::-1])
    with pytest.raises(octshard.OctshardError, match="several_volumes: 3 scans"):
        octshard.open_volume(tmp_path / "exam.e2e")


@pytest.mark.slow
def test_both_eyes_of_one_file_are_stored_verified_and_kept(exam: bytes, tmp_path: Path) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    (src / "dev").mkdir(parents=True)
    (src / "dev" / "exam.E2E").write_bytes(exam)
    paths = [f"dev/exam.E2E{suffix}" for suffix in ("#3", "#8", "#9", "")]
    lines = ["person_id\tfilepath\tdevice", *(f"1001\t{path}\tdev" for path in paths)]
    (src / "manifest.tsv").write_text("\n".join(lines) + "\n")
    words = ["prep", "shard", str(src), str(dst), "--device", "dev", "--workers", "2"]
    made = set()
    for _ in range(3):
        os.utime(src / "dev" / "exam.E2E")  # of another time, with the same bytes
        assert CliRunner().invoke(cli, words, catch_exceptions=False).exit_code == 0
        rows = {row.source: row for row in tables.open_dataset(str(dst / "dev")).rows}
        assert [rows[path].reason for path in paths] == ["", "", "geometry_line", "several_volumes"]
        assert [rows[path].eye for path in paths[:2]] == ["L", "R"]
        made |= {tar.stat().st_mtime_ns for tar in (dst / "dev").glob("*.tar")}
    assert len(made) == 1
    assert CliRunner().invoke(cli, ["prep", "verify", "--deep", str(dst / "dev")]).exit_code == 0


def test_frames_without_a_place_are_taken_for_a_raster_and_flagged() -> None:
    row = conversion.row_of("a.e2e", write([series(lines=[(0.0, 0.0, 0.0, 0.0)] * 6)]))
    assert (row.geometry, row.assumed_spacing) == ("unknown", 1)
    assert {"geometry_unknown", "assumed_spacing"} <= set(row.flags)


def entry_at(data: bytes, kind: int, number: int) -> int:
    """Where the directory's entry of a piece begins."""
    mark = struct.pack("<I", number)
    at = data.index(b"MDbDir") + 52
    while not (data[at + 28 : at + 32] == mark and data[at + 36 : at + 40] == struct.pack("<I", kind)):
        at += 44
    return at


def changed(at: int, value: int, data: bytes) -> bytes:
    return data[:at] + struct.pack("<I", value) + data[at + 4 :]


def image_at(data: bytes, number: int) -> int:
    """Where the pixels' header of a B-scan begins."""
    return struct.unpack_from("<I", data, entry_at(data, 0x40000000, number) + 4)[0] + 60


@pytest.mark.parametrize(
    ("damage", "reason", "detail"),
    [
        (lambda d: d[:50], "truncated", "main directory"),
        (lambda d: d[:200], "truncated", "entries of a directory"),
        (lambda d: d[:-20], "truncated", "of series 3"),
        (lambda d: d[:3000] + bytes(len(d) - 3000), "truncated", "only zeros"),
        (lambda d: changed(76, 4, d), "unreadable", "want MDbDir"),
        (lambda d: changed(88 + 44, 88, d), "unreadable", "comes before itself"),
        (lambda d: changed(88 + 36, 2**32 - 1, d), "truncated", "entries of a directory"),
        (lambda d: changed(entry_at(d, 0x40000000, 4) + 4, 10**9, d), "truncated", "image 4 of series 3"),
        (
            lambda d: changed(entry_at(d, 0x40000000, 4) + 28, 2, d),
            "unreadable",
            "image 2 of series 3 is there",
        ),
        (lambda d: changed(entry_at(d, 0x40000000, 4) + 8, 10, d), "unreadable", "10 bytes, want 20"),
        (lambda d: changed(entry_at(d, 10004, 4) + 8, 10, d), "unreadable", "the place of image 4"),
        (lambda d: changed(image_at(d, 4) + 12, 21, d), "unreadable", "21 x 24 pixels in 980 bytes"),
        (lambda d: changed(image_at(d, 4) + 12, 19, d), "unreadable", "B-scan 3 has 19 x 24 pixels"),
    ],
)
def test_damage_is_refused_with_its_reason(
    damage: Callable[[bytes], bytes], reason: str, detail: str
) -> None:
    row = conversion.row_of("a.e2e", damage(write([series()], directories=1)))
    assert (row.reason, row.format) == (reason, "e2e")
    assert detail in row.detail


def test_directories_that_share_their_entries_are_refused_before_they_are_read() -> None:
    """A chain of many directories over the same bytes would else take time by the square of the file."""
    head = b"MDbDir".ljust(12, b"\0") + struct.pack("<I", 100) + bytes(20)
    count = 2000
    entries = count * 52 // 44
    chain = [head + struct.pack("<4I", entries, 0, 88 + 52 * (i - 1) if i else 0, 0) for i in range(count)]
    main = bytes(36) + head + struct.pack("<4I", 0, 88 + 52 * (count - 1), 0, 0)
    data = b"CMDb" + main[4:] + b"".join(chain) + bytes(52 * count)
    row = conversion.row_of("a.e2e", data)
    assert row.reason == "unreadable"
    assert "more than the file has room for" in row.detail


def test_no_patient_data_reaches_a_row() -> None:
    found = conversion.converted("a.e2e", write([series()]))
    assert "DOE" not in repr(found.row)
    assert b"DOE" not in found.data


def test_ids_that_do_not_apply_are_negative() -> None:
    body = e2e_directory.body_of(write([series()]))
    assert NOBODY == 2**32 - 1
    assert [piece.scan[2] for piece in e2e_directory.pieces(body, frozenset({9}))[9]] == [-1]


def test_b_scans_that_are_declared_and_not_there_are_flagged_or_leave_a_gap() -> None:
    """Two more are declared than stored: those at the end, or, by the numbers, in the middle."""
    row = conversion.row_of("a.e2e", write([series(declared=8)]))
    assert (row.status, row.geometry, row.frames) == ("ok", "raster", 6)
    assert "frames_lost" in row.flags
    assert "8 B-scans declared, 6 stored" in row.detail
    lines = [(-5.0, float(i), 5.0, float(i)) for i in (0, 1, 2, 5, 6, 7)]
    row = conversion.row_of("a.e2e", write([series(declared=8, lines=lines)]))
    assert row.reason == "geometry_uneven"
