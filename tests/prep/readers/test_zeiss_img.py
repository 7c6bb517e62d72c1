"""Cirrus .img: voxels alone, whose size stands in the name."""

import dataclasses

import numpy as np
import pytest

from octshard.prep.dicom import writer
from octshard.prep.readers import recognise
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.rng import rng_for
from tests.support.device_files import conversion
from tests.support.device_files.zeiss_img import name, write
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
