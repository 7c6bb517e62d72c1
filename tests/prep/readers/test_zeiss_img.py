"""Cirrus .img: voxels alone, whose size stands in the name."""

import dataclasses

import numpy as np
import pytest

from octshard.dataset.tables import SampleRow
from octshard.prep.dicom import writer
from octshard.prep.readers import cube_text, recognise, side_text
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.rng import rng_for
from tests.support.device_files import conversion
from tests.support.device_files.zeiss_img import name, text, write
from tests.support.made_release import scan

FRAMES, COLS = 10, 12
PLANE, STEP = (0.002, 0.05), 0.06


@pytest.fixture(scope="module")
def cube() -> writer.Scan:
    voxels = rng_for("cube").integers(1, 256, (FRAMES, 1024, COLS), dtype=np.uint8)
    lines = tuple(np.array([[60.0 * i, 0.5], [60.0 * i, 600.5]]) for i in range(FRAMES))
    return dataclasses.replace(
        scan(), voxels_DHW=voxels, pixel_spacing_mm=PLANE, slice_thickness_mm=STEP, locations=lines
    )


@pytest.mark.parametrize(("eye", "kind"), [("L", "z"), ("R", "raw")])
def test_a_cube_is_stored_as_from_dicom(cube: writer.Scan, eye: str, kind: str) -> None:
    row = conversion.row_of(
        f"a/b/{name(COLS, FRAMES, eye, kind)}", write(cube.voxels_DHW), pixel_mm=PLANE, slice_mm=STEP
    )
    assert conversion.facts_of(row) == conversion.dicom_facts(dataclasses.replace(cube, eye=eye))
    assert (row.format, row.manufacturer, row.model, row.bits) == ("img", "Zeiss", "Cirrus", 8)


def test_no_spacing_is_made_up(cube: writer.Scan) -> None:
    row = conversion.row_of(name(COLS, FRAMES), write(cube.voxels_DHW))
    assert (row.status, row.assumed_spacing, row.spacing_source) == ("ok", 1, "none")


def test_frames_come_in_any_order(cube: writer.Scan) -> None:
    opened = recognise.open_scan(ScanBytes(write(cube.voxels_DHW), name(COLS, FRAMES)))
    np.testing.assert_array_equal(list(opened.frames(order=(9, 0))), cube.voxels_DHW[[9, 0]])


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (FRAMES * 1024 * COLS - 1, "truncated"),
        (FRAMES * 1000 * COLS, "truncated"),  # not a cube of 1000 rows
        (100, "truncated"),
        (FRAMES * 1024 * COLS + 1, "unreadable"),
    ],
)
def test_another_size_than_that_of_the_name_is_refused(size: int, reason: str) -> None:
    row = conversion.row_of(name(COLS, FRAMES), b"\x9c" * size)
    assert (row.reason, row.format) == (reason, "img")
    assert f"want {FRAMES * 1024 * COLS} of 10 x 1024 x 12 voxels" in row.detail


def test_a_download_that_ends_in_zeros_is_truncated(cube: writer.Scan) -> None:
    data = write(cube.voxels_DHW)
    short = data[: -1024 * COLS] + bytes(1024 * COLS)
    assert conversion.row_of(name(COLS, FRAMES), short).reason == "truncated"
    assert conversion.row_of(name(COLS, FRAMES), bytes(len(data))).reason == "truncated"


@pytest.mark.parametrize(
    ("called", "data"),
    [
        ("cube_z.img", b"\x9c" * 1024),
        (name(COLS, FRAMES).replace("_cube_", "_hidef_"), b"\x9c" * 1024),
        (name(COLS, FRAMES).replace("12x10", ""), b"\x9c" * 1024),
        (name(COLS, FRAMES), b"<html>error</html>"),
        (name(COLS, FRAMES), b"version https://git-lfs.github.com/spec/v1\n"),
    ],
)
def test_what_is_no_cube_is_not_taken_for_one(called: str, data: bytes) -> None:
    with pytest.raises(Refused, match=r"^not_dicom"):
        recognise.open_scan(ScanBytes(data, called))


def test_content_counts_before_the_name() -> None:
    assert recognise.format_of(ScanBytes(writer.write(scan()), name(COLS, FRAMES))) == "dicom"


TOLD = {
    "Number of A-scans": "12",
    "Number of B-scans": "10",
    "A-scan length": "1024",
    "Scan Size": "0.6 x 0.6 x 2.048 mm",
    "Eye": "OS",
    "Patient Name": "DOE, JANE",
}


def told(mark: str = ": ", **values: str | None) -> bytes:
    """The text, with other values of keys that have _ for a blank; None leaves one out."""
    merged = {**TOLD, **{key.replace("_", " "): value for key, value in values.items()}}
    return "\r\n".join(f"{key}{mark}{value}" for key, value in merged.items() if value is not None).encode()


def beside(called: str, content: bytes) -> dict[str, bytes]:
    return {text(called): content}


@pytest.mark.parametrize("called", [name(COLS, FRAMES), "scan 1.img"])
@pytest.mark.parametrize("mark", [": ", "=", "\t=\t"])
def test_a_cube_with_its_text_needs_no_manifest(cube: writer.Scan, called: str, mark: str) -> None:
    row, tar_slice = conversion.converted(called, write(cube.voxels_DHW), beside(called, told(mark)))
    expected = conversion.converted("a.dcm", writer.write(cube))
    facts = {**conversion.facts_of(row), "spacing_in": cube_spacing(row), "spacing_out": cube_spacing(row)}
    wanted = conversion.facts_of(expected.row)
    assert facts == {**wanted, "spacing_in": (STEP, *PLANE), "spacing_out": (STEP, *PLANE)}
    assert (row.spacing_source, row.eye, row.format) == ("file", "L", "img")
    assert not {"shape_differs_from_name", "eye_differs_from_name"} & set(row.flags)
    assert b"JANE" not in tar_slice
    assert "JANE" not in repr(row)


def cube_spacing(row: SampleRow) -> tuple[float, ...]:
    assert row.spacing_in == pytest.approx((STEP, *PLANE), rel=1e-12)
    return (STEP, *PLANE)


@pytest.mark.parametrize(
    ("lines", "spacing"),
    [
        ({"Scan Size": "0.6 x 0.6 mm"}, None),
        ({"Scan Size": "0.6 x 0.6 mm", "Scan Depth (mm)": "2.048"}, (0.06, 0.002, 0.05)),
        ({"Scan_Width": "600 um", "scan height [um]": "600", "ScanDepth": "2.048"}, (0.06, 0.002, 0.05)),
        (
            {"A-scan spacing": "0,05 mm", "B-scan spacing": "0,06", "axial_spacing(um)": "2"},
            (0.06, 0.002, 0.05),
        ),
        ({"Lateral Spacing": "0.05", "Axial spacing": "0.002"}, None),
        ({"Scan Size": "six by six"}, None),
        ({"Scan Width": "0", "Scan Height": "0", "Scan Depth": "0"}, None),
    ],
)
def test_spacing_comes_from_lengths_or_steps(
    cube: writer.Scan, lines: dict[str, str], spacing: tuple[float, float, float] | None
) -> None:
    called, content = name(COLS, FRAMES), "\n".join(f"{key}: {value}" for key, value in lines.items())
    row = conversion.row_of(called, write(cube.voxels_DHW), beside(called, content.encode()))
    assert row.status == "ok"
    assert row.spacing_in == (pytest.approx(spacing) if spacing else (1, 1, 1))
    assert ("spacing_unreadable" in row.flags) == ("six by six" in lines.values())


SIDES = (
    ["Scan Length: 0.9", "Scan Width: 0.6"],
    ["Scan Length: 0.6"],
    ["Scan Length: 0.6", "Scan Height: 0.9"],
)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("lines", "spacing"),
    [
        (SIDES[0], (0.09, 0.002, 0.05)),
        (["Scan Length: 0.9", "Scan Size: 0.6 x 0.9"], (0.09, 0.002, 0.05)),
        (SIDES[1], None),  # how far apart B-scans are is not told
        (SIDES[2], (0.09, 0.002, 0.05)),
        ([*SIDES[0], "Scan Height: 0.901 mm", "scan width (um): 600"], (0.09, 0.002, 0.05)),
    ],
)
def test_the_order_of_lines_tells_nothing(
    cube: writer.Scan, lines: list[str], spacing: tuple[float, ...] | None, backwards: bool
) -> None:
    content = "\n".join([*(reversed(lines) if backwards else lines), "Scan Depth: 2.048"]).encode()
    called = name(COLS, FRAMES)
    row = conversion.row_of(called, write(cube.voxels_DHW), beside(called, content))
    assert row.spacing_in == (pytest.approx(spacing, rel=2e-3) if spacing else (1, 1, 1))
    assert "spacing_unreadable" not in row.flags


@pytest.mark.parametrize(
    ("lines", "detail"),
    [
        ([*SIDES[0], "Scan Height: 0.6"], "scan length 0."),
        (["Scan Width: 0.6", "ScanLengthX: 0.7", "Scan Height: 0.9"], "scan width 0."),
        (["Scan Size: 0.6 x 0.6 x 2", "Scan Area: 0.9 x 0.6 x 2"], "scan extent 0."),
        (["Scan Size: 0.6 x 0.6", "Scan Width: 0.9"], "scan width 0.9 and 0.6 mm"),
    ],
)
def test_two_lengths_for_one_thing_are_said_and_not_believed(
    cube: writer.Scan, lines: list[str], detail: str
) -> None:
    called = name(COLS, FRAMES)
    for texts in (lines, lines[::-1]):
        content = "\n".join([*texts, "Scan Depth: 2.048"]).encode()
        row = conversion.row_of(called, write(cube.voxels_DHW), beside(called, content))
        assert (row.assumed_spacing, "spacing_unreadable" in row.flags) == (1, True)
        assert detail in row.detail


def test_two_sizes_or_two_eyes_are_none(cube: writer.Scan) -> None:
    called = name(COLS, FRAMES)
    for more, detail in (
        ("\nB-scans: 11", "frames 10 and 11 in the text beside it, want one number"),
        ("\nScan: Cube 512x128\nProtocol: Cube 200x200", "names cubes of 200 x 200 and 512 x 128 A-scans"),
    ):
        row = conversion.row_of(called, write(cube.voxels_DHW), beside(called, told() + more.encode()))
        assert (row.reason, detail in row.detail) == ("unreadable", True)
    eyes = told(Eye="OS") + b"\nLaterality: OD"
    assert not cube_text.parse(side_text.beside(ScanBytes(b"", "a.img", folder=lambda _: eyes))).eye
    same = told() + b"\nB-scans: 10\nLaterality: left"
    assert conversion.row_of(called, write(cube.voxels_DHW), beside(called, same)).eye == "L"


def test_what_the_text_says_wins_where_the_bytes_agree(cube: writer.Scan) -> None:
    """Of a cube of 1536 rows, and of one whose name has other numbers."""
    tall = np.concatenate([cube.voxels_DHW, cube.voxels_DHW[:, :512] // 2 + 1], axis=1)
    for called, flagged in ((name(COLS, FRAMES), False), (name(99, 98), True)):
        row = conversion.row_of(called, write(tall), beside(called, told(**{"A-scan_length": "1536"})))
        assert (row.status, row.frames, row.rows, row.cols) == ("ok", 10, 1536, 12)
        assert ("shape_differs_from_name" in row.flags) == flagged


def test_another_eye_is_flagged_and_believed(cube: writer.Scan) -> None:
    called = name(COLS, FRAMES, "L")
    row = conversion.row_of(
        called, write(cube.voxels_DHW), beside(called, told(Eye="right")), eye_in_name="L"
    )
    assert row.eye == "R"
    assert "eye_differs_from_name" in row.flags


def test_the_name_of_the_scan_tells_a_size_too() -> None:
    data = b"\x9c" * (128 * 1024 * 16)
    content = told(**{"Number_of_A-scans": None, "Scan Type": "Macular Cube 128x16 6x6mm"})
    assert conversion.row_of("a.img", data, {"a.txt": content}).reason == "not_dicom"  # 16 is no cube
    content = told(**{"Number_of_A-scans": None, "Number_of_B-scans": None, "Scan Type": "Cube 128x128"})
    assert "want 16777216 of 128 x 1024 x 128" in conversion.row_of("a.img", data, {"a.txt": content}).detail


@pytest.mark.parametrize(
    ("values", "reason", "detail"),
    [
        ({"Number_of_B-scans": "11"}, "unreadable", "of 11 x 1024 x 12 voxels by the text beside it; it has"),
        ({"Number_of_B-scans": "9"}, "unreadable", "it has as many as 10 x 1024 x 12 by its name"),
        ({"Number_of_B-scans": "12", "Number_of_A-scans": "10"}, "unreadable", "10 x 1024 x 12 by its name:"),
        ({"Number_of_B-scans": "ten"}, "unreadable", "number of b-scans in the text beside it is no whole"),
        ({"A-scan_length": "2048"}, "truncated", "want 245760 of 10 x 2048 x 12"),
        ({"A-scan_length": "0"}, "unreadable", "want 0 of 10 x 0 x 12 voxels by the text"),
    ],
)
def test_a_text_that_contradicts_the_bytes_or_the_name_is_refused(
    cube: writer.Scan, values: dict[str, str], reason: str, detail: str
) -> None:
    called = name(COLS, FRAMES)
    row = conversion.row_of(called, write(cube.voxels_DHW), beside(called, told(**values)))
    assert row.reason == reason
    assert detail in row.detail


@pytest.mark.parametrize(
    "content",
    [b"", b"a letter", b"Width: 6.0 mm\nHeight: 6.0 mm", b"\xff\xfe\xff", bytes(100), b"=\n:\n[]\n[a"],
)
def test_a_text_that_tells_nothing_changes_nothing(cube: writer.Scan, content: bytes) -> None:
    called = name(COLS, FRAMES)
    alone = conversion.row_of(called, write(cube.voxels_DHW))
    row = conversion.row_of(called, write(cube.voxels_DHW), beside(called, content))
    assert dataclasses.replace(row, source_xxh3=alone.source_xxh3) == alone
    assert conversion.row_of("a.img", write(cube.voxels_DHW), {"a.txt": content}).reason == "not_dicom"
