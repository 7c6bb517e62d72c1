"""Bioptigen .OCT against a writer that follows the vendor's MATLAB reader."""

import io
from collections.abc import Callable

import numpy as np
import pytest

from octshard.prep.readers import recognise
from octshard.prep.readers.scan_bytes import ScanBytes
from tests.support.device_files import conversion
from tests.support.device_files.bioptigen_oct import Oct, number, write
from tests.support.made_release import scan

WIDE = scan().voxels_DHW.astype(np.uint16) * 100
SIZE = (6 * 0.04, 20 * 0.01, 24 * 0.02)


def made(**header: bytes | None) -> Oct:
    return Oct(WIDE, SIZE, header)


def test_frames_keep_their_16_bits_and_the_file_tells_the_spacing() -> None:
    opened = recognise.open_scan(ScanBytes(write(made())))
    np.testing.assert_array_equal(list(opened.frames(order=(4, 1))), WIDE[[4, 1]])
    row = conversion.row_of("a.OCT", write(made()), eye="L")
    assert (row.status, row.format, row.bits, row.manufacturer) == ("ok", "oct", 16, "Bioptigen")
    facts, expected = conversion.facts_of(row), conversion.dicom_facts(scan())
    for name in ("eye", "frames", "rows", "cols", "geometry", "shape_out"):
        assert facts[name] == expected[name]
    assert row.spacing_in == pytest.approx((0.04, 0.01, 0.02))


def test_a_volume_is_stored_as_the_same_array_is() -> None:
    array = io.BytesIO()
    np.save(array, WIDE)
    told = conversion.row_of("a.npy", array.getvalue(), eye="L", pixel_mm=(0.01, 0.02), slice_mm=0.04)
    row = conversion.row_of("a.OCT", write(made()), eye="L")
    assert (row.sha256, row.mean, row.detail) == (told.sha256, told.mean, told.detail)


@pytest.mark.parametrize(
    ("header", "reason", "detail"),
    [
        ({"SCANTYPE": number(0)}, "geometry_line", "the file says so"),
        ({"SCANTYPE": number(2)}, "geometry_circle", "the file says so"),
        ({"SCANTYPE": number(3)}, "geometry_radial", "the file says so"),
        ({"SCANTYPE": number(6)}, "geometry_mixed", "the file says so"),
        ({"SCANS": number(3), "FRAMES": number(2)}, "several_volumes", "2 FRAMES of 3 SCANS"),
        ({"FRAMESPERVOLUME": number(3)}, "several_volumes", "3 of them in a volume"),
        ({"FRAMECOUNT": number(7)}, "frame_count", "7 frames declared, 6 stored"),
        ({"FRAMECOUNT": number(0)}, "empty", "(0, 20, 24)"),
        ({"FRAMECOUNT": number(2**32 - 1)}, "frame_count", "4294967295 frames declared, 6 stored"),
        ({"LINELENGTH": None}, "unreadable", "LINELENGTH is missing"),
        ({"LINELENGTH": b"\x14"}, "unreadable", "LINELENGTH: 1 bytes, want 4"),
        ({"LINELENGTH": number(21)}, "unreadable", "24 lines of 21 samples"),
        ({"LINECOUNT": number(25)}, "unreadable", "24 lines and 960 bytes, want 25 lines"),
    ],
)
def test_what_is_no_volume_is_refused_as_what_it_is(
    header: dict[str, bytes | None], reason: str, detail: str
) -> None:
    row = conversion.row_of("a.OCT", write(made(**header)))
    assert (row.reason, row.format) == (reason, "oct")
    assert detail in row.detail


def test_a_file_of_an_early_version_says_less() -> None:
    less = dict.fromkeys(("SCANS", "FRAMES", "DOPPLERFLAG", "SCANTYPE", "SCANDEPTH"))
    row = conversion.row_of("a.OCT", write(made(**less)))
    assert (row.status, row.geometry, row.assumed_spacing) == ("ok", "unknown", 1)


def cut_before_frame(data: bytes, index: int) -> bytes:
    at = -1
    for _ in range(index):
        at = data.index(b"FRAMEDATA", at + 9 if at < 0 else data.index(b"FRAMESAMPLES", at))
    return data[: at - 4]


@pytest.mark.parametrize(
    ("damage", "reason", "detail"),
    [
        (lambda d: d[:40], "truncated", "the header"),
        (lambda d: d[:-1], "truncated", "frame 6 of 6"),
        (lambda d: d[:-600], "truncated", "frame 6 of 6: FRAMESAMPLES"),
        (lambda d: cut_before_frame(d, 3), "frame_count", "6 frames declared, 2 stored"),
        (lambda d: cut_before_frame(d, 3) + bytes(3000), "unreadable", "frame 3 of 6 has no FRAMESAMPLES"),
        (lambda d: d.replace(b"FRAMESAMPLES", b"FRAMESOMPLES", 1), "unreadable", "no FRAMESAMPLES"),
        (lambda d: d.replace(number(14) + b"FRAMET", number(99) + b"FRAMET", 1), "unreadable", "99 letters"),
    ],
)
def test_damage_is_refused_with_its_reason(
    damage: Callable[[bytes], bytes], reason: str, detail: str
) -> None:
    row = conversion.row_of("a.OCT", damage(write(made())))
    assert row.reason == reason
    assert detail in row.detail


def test_no_patient_data_reaches_a_row() -> None:
    found = conversion.converted("a.OCT", write(made()))
    assert "JANE" not in repr(found.row)
    assert b"JANE" not in found.data
