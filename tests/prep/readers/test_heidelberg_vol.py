"""Heidelberg .vol against a writer that follows the vendor's table of offsets."""

import dataclasses
import struct
from collections.abc import Callable

import numpy as np
import pytest

from octshard.dataset import shard, stored_scale
from octshard.prep import crosscheck
from octshard.prep.dicom import writer
from octshard.prep.readers import heidelberg_vol, recognise
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from tests.support.device_files import conversion
from tests.support.device_files.heidelberg_vol import INVALID, Vol, lines_of, reflectance, write
from tests.support.made_release import RASTER, scan

STAR = [
    (1.0 - np.cos(a), 1.0 - np.sin(a), 1.0 + np.cos(a), 1.0 + np.sin(a)) for a in np.arange(6) * np.pi / 6
]
CENTRE = (2.0, 1.5)


def made(**values: object) -> Vol:
    own = dataclasses.replace(scan(), **values)
    return Vol(own, lines_of(own))


def one_frame(**values: object) -> Vol:
    own = dataclasses.replace(scan(), voxels_DHW=scan().voxels_DHW[:1], locations=RASTER[:1])
    return dataclasses.replace(Vol(own, lines_of(own)), **values)


@pytest.mark.parametrize("eye", ["L", "R"])
@pytest.mark.parametrize("locations", [RASTER, RASTER[::-1]])
def test_a_volume_is_stored_as_from_dicom(eye: str, locations: tuple[np.ndarray, ...]) -> None:
    vol = made(eye=eye, locations=locations)
    row = conversion.row_of("scan", write(vol))
    assert conversion.facts_of(row) == conversion.dicom_facts(vol.scan)
    assert (row.format, row.manufacturer, row.model) == ("vol", "Heidelberg Engineering", "Spectralis")
    assert ("slow_axis_flipped" in row.flags) == (locations is not RASTER)
    assert (row.bits, row.spacing_source, row.assumed_spacing) == (32, "file", 0)


def test_frames_have_the_levels_of_the_file_in_its_order() -> None:
    opened = recognise.open_scan(ScanBytes(write(made())))
    frames = list(opened.frames(order=(3, 0)))
    np.testing.assert_array_equal(frames, scan().voxels_DHW[[3, 0]])
    assert frames[0].dtype == np.uint8


def test_kept_bits_have_the_grey_of_eight_and_more_of_it() -> None:
    """The fourth root decides what is black and white, not the percentiles of this volume."""
    values = np.random.default_rng(3).uniform(0.01, 0.4, scan().voxels_DHW.shape).astype("<f4")
    keep = dataclasses.replace(conversion.CFG, bits="keep", target_spacing=[0.04, 0.01, 0.02])
    data = write(made(), values)
    kept, eight = (
        conversion.converted("a.vol", data, cfg=cfg) for cfg in (keep, dataclasses.replace(keep, bits="8"))
    )
    stored = shard.unpack(kept.data, kept.row.key, kept.row.xxh3, "test")
    assert (kept.row.status, kept.row.dtype) == ("ok", "uint16")
    assert stored.meta["source_levels"] == [0.0, 65535.0]
    exact = values.astype(np.float64) ** 0.25
    assert np.abs(stored.voxels_DHW / 65535 - exact).max() < 1e-5
    rounded = shard.unpack(eight.data, eight.row.key, eight.row.xxh3, "test").voxels_DHW
    assert np.abs(stored_scale.grey(stored) - rounded).max() <= 0.51
    np.testing.assert_allclose(
        [kept.row.mean, kept.row.std], [255 * exact.mean(), 255 * exact.std()], rtol=1e-4
    )
    assert list(crosscheck.sample(kept.row, stored)) == []
    stored.meta["source_levels"] = [1.0, 65535.0]  # type: ignore[index]
    assert any("source_levels is [1.0, 65535.0]" in line for line in crosscheck.sample(kept.row, stored))


def test_reflectance_becomes_levels_by_its_fourth_root_and_what_is_none_is_black() -> None:
    values = reflectance(scan().voxels_DHW)
    values[0, 0, :8] = [0, 1 / 16, 1 / 81, 1, 1.7, INVALID, np.nan, -0.5]
    values[2, 5, :3] = [np.inf, INVALID, INVALID]
    opened = recognise.open_scan(ScanBytes(write(made(), values)))
    levels = next(opened.frames())[0, :8]
    assert levels.tolist() == [0, 128, 85, 255, 255, 0, 0, 0]  # 255/2 rounds to the even one
    row = conversion.row_of("a.vol", write(made(), values))
    assert row.detail.startswith("reflectance 0 to 1 became levels 0 to 255 by its fourth root; 6 pixels")
    assert "levels_rescaled" in row.flags


def test_the_step_comes_from_the_lines_where_distance_is_silent() -> None:
    row = conversion.row_of("a.vol", write(made(slice_thickness_mm=None)))
    assert row.spacing_in == pytest.approx((0.04, 0.01, 0.02))
    assert "slice_step_from_locations" in row.flags


def test_a_scale_that_is_no_length_is_left_out_and_the_manifest_asked() -> None:
    vol = made(pixel_spacing_mm=(-0.01, 0.02))
    row = conversion.row_of("a.vol", write(vol), pixel_mm=(0.01, 0.02))
    assert (row.spacing_source, row.spacing_in) == ("manifest", (0.04, 0.01, 0.02))
    assert "spacing_unreadable" in row.flags
    assert "file spacing -0.01" in row.detail
    assert conversion.row_of("a.vol", write(vol)).assumed_spacing == 1


@pytest.mark.parametrize(
    ("vol", "geometry"),
    [
        (Vol(scan(), STAR, pattern=5), "radial"),
        (Vol(scan(), STAR, pattern=0), "radial"),
        (Vol(scan(), [(2.0 + i / 5, 1.5, *CENTRE) for i in range(6, 12)], pattern=2), "circle"),
        (one_frame(pattern=2, lines=[(3.7, 1.5, *CENTRE)]), "circle"),
        (one_frame(pattern=1), "line"),
        (one_frame(pattern=3), "line"),
        (Vol(scan(), lines_of(scan())[:3] * 2), "uneven"),
    ],
)
def test_what_is_no_raster_is_refused_as_what_it_is(vol: Vol, geometry: str) -> None:
    row = conversion.row_of("a.vol", write(vol))
    assert (row.reason, row.geometry) == (f"geometry_{geometry}", geometry)


@pytest.mark.parametrize(
    ("pattern", "geometry"), [(3, "raster"), (4, "raster"), (0, "unknown"), (5, "radial")]
)
def test_the_pattern_counts_where_lines_do_not_tell(pattern: int, geometry: str) -> None:
    nowhere = Vol(scan(), [(0.0, 0.0, 0.0, 0.0)] * 6, pattern=pattern)
    row = conversion.row_of("a.vol", write(nowhere))
    assert row.geometry == geometry
    assert ("geometry_unknown" in row.flags) == (geometry == "unknown")
    assert "frame_locations_missing" not in row.flags


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", [np.nan, np.inf, 1e308, -1e307])
def test_ends_that_are_no_places_are_not_told(number: float) -> None:
    lines = lines_of(scan())
    lines[2] = (number, *lines[2][1:])
    row = conversion.row_of("a.vol", write(Vol(scan(), lines)))
    assert (row.status, row.geometry) == ("ok", "raster")
    assert "frame_locations_missing" in row.flags


def put(offset: int, form: str, value: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:offset] + struct.pack(form, value) + data[offset + struct.calcsize(form) :]


FRAME = 2048 + 30 * 20
FRAME_BYTES = 256 + 17 * 4 * 24 + 4 * 20 * 24


@pytest.mark.parametrize(
    ("damage", "reason", "detail"),
    [
        (lambda data: data[:2047], "truncated", "the header"),
        (lambda data: data[:-1], "truncated", "B-scan 6 of 6"),
        (lambda data: data[: FRAME + 100], "truncated", "B-scan 1 of 6"),
        (lambda data: data[: FRAME + FRAME_BYTES] + bytes(5 * FRAME_BYTES), "truncated", "only zeros"),
        (put(12, "<i", 0), "empty", "(6, 20, 0)"),
        (put(16, "<i", 0), "empty", "(0, 20, 24)"),
        (put(16, "<i", -1), "unreadable", "frames"),
        (put(16, "<i", 2**31 - 1), "truncated", "B-scan 7 of 2147483647"),
        (put(20, "<i", 2**31 - 1), "truncated", "B-scan 1 of 6"),
        (put(48, "<i", 2**31 - 1), "truncated", "B-scan 1 of 6"),
        (put(100, "<i", 0), "unreadable", "BScanHdrSize is 0"),
        (put(FRAME + FRAME_BYTES + 12, "<i", 300), "unreadable", "B-scan 2 of 6"),
    ],
)
def test_damage_is_refused_with_its_reason(
    damage: Callable[[bytes], bytes], reason: str, detail: str
) -> None:
    row = conversion.row_of("a.vol", damage(write(made())))
    assert (row.reason, row.format) == (reason, "vol")
    assert detail in row.detail


def test_too_many_voxels_are_refused_before_any_is_read() -> None:
    with pytest.raises(Refused, match="too_large"):
        heidelberg_vol.open_scan(ScanBytes(write(made()))).check(6 * 20 * 24 - 1)


def test_no_patient_data_reaches_a_row() -> None:
    found = conversion.converted("a.vol", write(made()))
    assert "PATIENT-ID" not in repr(found.row)
    assert b"PATIENT-ID" not in found.data


def test_the_phantom_is_the_one_of_dicom() -> None:
    """So that the comparison above means something."""
    assert conversion.row_of("a.dcm", writer.write(scan())).format == "dicom"
