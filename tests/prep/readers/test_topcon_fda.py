"""Topcon .fda and .fds against a writer that follows the chunks published by uocte and OCT-Converter."""

import dataclasses
import struct
from collections.abc import Callable

import numpy as np
import pytest

from octshard.prep.readers import recognise
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from tests.support.device_files import conversion
from tests.support.device_files.topcon_fda import Fda, write
from tests.support.made_release import scan


def made(**values: object) -> Fda:
    return dataclasses.replace(Fda(scan()), **values)


@pytest.mark.parametrize(("pixels", "sizes"), [("j2k", "@PARAM_SCAN_04"), ("jp2", "@PARAM_SCAN_02")])
@pytest.mark.parametrize("eye", ["L", "R"])
def test_a_volume_is_stored_as_from_dicom(pixels: str, sizes: str, eye: str) -> None:
    own = dataclasses.replace(scan(), eye=eye)
    row = conversion.row_of("scan", write(Fda(own, pixels, sizes=sizes)))
    facts, expected = conversion.facts_of(row), conversion.dicom_facts(own)
    for name in ("spacing_in", "spacing_out"):  # the file tells the size of the whole scan
        assert facts.pop(name) == pytest.approx(expected.pop(name), rel=1e-12)
    assert facts == expected
    assert (row.format, row.manufacturer, row.model) == ("fda", "Topcon", "DRI OCT Triton")
    assert (row.bits, row.spacing_source, row.flags) == (8, "file", ())


@pytest.mark.parametrize("pixels", ["@IMG_SCAN_03", "@IMG_SCAN_02"])
def test_plain_numbers_keep_their_16_bits(pixels: str) -> None:
    wide = scan().voxels_DHW.astype(np.uint16) * 200
    opened = recognise.open_scan(ScanBytes(write(made(pixels=pixels, voxels_DHW=wide))))
    np.testing.assert_array_equal(list(opened.frames(order=(5, 0))), wide[[5, 0]])
    row = conversion.row_of("a.fds", write(made(pixels=pixels, voxels_DHW=wide)))
    assert (row.bits, row.status, row.spacing_in) == (16, "ok", pytest.approx((0.04, 0.01, 0.02)))
    assert "mapped_to_uint8" in row.flags


@pytest.mark.parametrize(
    ("mode", "outcome"),
    [
        (2, ""),
        (6, ""),
        (7, ""),
        (0, "geometry_line"),
        (1, "geometry_circle"),
        (3, "geometry_radial"),
        (4, "geometry_mixed"),
        (11, "geometry_mixed"),
    ],
)
def test_the_mode_says_what_is_a_volume(mode: int, outcome: str) -> None:
    row = conversion.row_of("a.fda", write(made(mode=mode)))
    assert row.reason == outcome
    assert row.geometry == (outcome.removeprefix("geometry_") or "raster")


def test_a_mode_that_is_not_known_leaves_the_geometry_unknown() -> None:
    row = conversion.row_of("a.fda", write(made(mode=77)))
    assert (row.status, row.geometry) == ("ok", "unknown")
    assert "geometry_unknown" in row.flags


def test_without_sizes_the_manifest_is_asked_and_without_an_eye_it_is_not_told() -> None:
    data = write(made(), without="@PARAM_SCAN_04")
    assert conversion.row_of("a.fda", data).assumed_spacing == 1
    row = conversion.row_of("a.fda", data, pixel_mm=(0.01, 0.02), slice_mm=0.04)
    assert (row.spacing_source, row.spacing_in) == ("manifest", (0.04, 0.01, 0.02))
    assert conversion.row_of("a.fda", write(made(), without="@CAPTURE_INFO_02")).eye == ""
    other = dataclasses.replace(scan(), eye="?")
    assert conversion.row_of("a.fda", write(Fda(other))).eye == ""


def test_bits_are_those_of_the_frames() -> None:
    deep = made(voxels_DHW=scan().voxels_DHW.astype(np.uint16) * 16)
    row = conversion.row_of("a.fda", write(deep))
    assert (row.bits, row.status) == (16, "ok")


def put(after: bytes, offset: int, value: int) -> Callable[[bytes], bytes]:
    """Writes a number so many bytes behind the name of a chunk."""

    def damage(data: bytes) -> bytes:
        at = data.index(after) + len(after) + offset
        return data[:at] + struct.pack("<I", value) + data[at + 4 :]

    return damage


@pytest.mark.parametrize(
    ("damage", "reason", "detail"),
    [
        (lambda d: d[:15], "no_pixel_data", "there are: none"),
        (lambda d: d[:20], "truncated", "name of a chunk"),
        (lambda d: d[:-40], "truncated", "@IMG_JPEG"),
        (lambda d: d[:15] + bytes(len(d) - 15), "truncated", "only zeros from byte 15"),
        (lambda d: d.replace(b"@IMG_JPEG", b"@IMG_ELSE"), "no_pixel_data", "@IMG_ELSE"),
        (put(b"@IMG_JPEG", 4 + 9, 25), "decoder_error", "declares 20 x 24 x 1, want 20 x 25 x 1"),
        (put(b"@IMG_JPEG", 4 + 13, 2**32 - 1), "too_large", "4294967295"),
        (put(b"@IMG_JPEG", 4 + 13, 0), "empty", "(6, 0, 24)"),
        (put(b"@IMG_JPEG", 4 + 17, 7), "frame_count", "7 B-scans declared, 6 stored"),
        (put(b"@IMG_JPEG", 4 + 17, 2**32 - 1), "frame_count", "4294967295 B-scans declared"),
        (put(b"@IMG_JPEG", 4 + 25, 10**6), "unreadable", "B-scan 1"),
        (put(b"@IMG_JPEG", 4 + 25 + 4, 0), "decoder_error", "frame 1"),
        (put(b"@PARAM_SCAN_04", 0, 2**32 - 1), "truncated", "@PARAM_SCAN_04"),
    ],
)
def test_damage_is_refused_with_its_reason(
    damage: Callable[[bytes], bytes], reason: str, detail: str
) -> None:
    row = conversion.row_of("a.fda", damage(write(made())))
    assert (row.reason, row.format) == (reason, "fda")
    assert detail in row.detail


@pytest.mark.parametrize(("offset", "value"), [(4 + 1, 25), (4 + 9, 12), (4 + 13, 7), (4 + 18, 9)])
def test_plain_numbers_of_another_size_than_they_say_are_refused(offset: int, value: int) -> None:
    data = put(b"@IMG_SCAN_03", offset, value)(write(made(pixels="@IMG_SCAN_03")))
    assert conversion.row_of("a.fds", data).reason == "unreadable"


def test_two_volumes_are_refused_and_what_stands_behind_the_end_is_not_read() -> None:
    twice = write(made(), [("@IMG_JPEG", bytes(30))])
    assert conversion.row_of("a.fda", twice).reason == "several_volumes"
    assert conversion.row_of("a.fda", write(made()) + b"anything").status == "ok"
    with pytest.raises(Refused, match="truncated"):
        recognise.open_scan(ScanBytes(write(made()) + bytes(500)))


def test_no_patient_data_reaches_a_row() -> None:
    found = conversion.converted("a.fda", write(made()))
    for text in ("PATIENT-ID", "SERIAL-NO"):
        assert text not in repr(found.row)
        assert text.encode() not in found.data
