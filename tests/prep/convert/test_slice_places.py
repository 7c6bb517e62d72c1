"""Lines through a centre and circles are stored as what they are: slice by slice, each with its place."""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from octshard.config.prep import PrepConfig
from octshard.dataset import shard
from octshard.dataset.tables import SampleRow
from octshard.imaging.volume import GEOMETRIES
from octshard.prep.convert import slice_places
from octshard.prep.convert.slice_places import SlicePlaces
from octshard.prep.dicom import writer
from tests.support.device_files import conversion, heidelberg_e2e, heidelberg_vol
from tests.support.made_release import RASTER, scan

CFG = PrepConfig(target_spacing=[0.5, 0.01, 0.02], image_size=[4, 8, 8], include_geometry=list(GEOMETRIES))
TURN = np.linspace(0, 2 * np.pi, 96)


def line(degrees: float) -> np.ndarray:
    """Through (500, 500); A-scans run at this angle, anticlockwise from the right."""
    along_2 = 240 * np.array([-math.sin(math.radians(degrees)), math.cos(math.radians(degrees))])
    return np.stack([500 - along_2, 500 + along_2])


def circle(radius: float) -> np.ndarray:
    return 500 + radius * np.stack([np.sin(TURN), np.cos(TURN)], axis=1)


def stored(
    name: str, data: bytes, cfg: PrepConfig = CFG, **row: object
) -> tuple[SampleRow, np.ndarray, dict[str, Any]]:
    converted = conversion.converted(name, data, cfg=cfg, **row)
    assert converted.row.status == "ok", converted.row.detail
    sample = shard.unpack(converted.data, converted.row.key, converted.row.xxh3, name)
    return converted.row, sample.voxels_DHW, dict(sample.meta)


def dicom(locations: Sequence[np.ndarray], **values: object) -> bytes:
    voxels = np.resize(scan().voxels_DHW, (len(locations), 20, 24))
    made = dataclasses.replace(scan(), voxels_DHW=voxels, locations=tuple(locations), **values)
    return writer.write(made)


@pytest.mark.parametrize(
    "filed", [(0, 30, 60, 90, 120, 150), (90, 60, 30, 0, 150, 120), (10, 40, 250, 280, 130, 160)]
)
def test_radial_lines_in_order_stay_and_have_their_angles(filed: Sequence[float]) -> None:
    row, voxels_DHW, _ = stored("a.dcm", dicom([line(a) for a in filed]))
    assert (row.geometry, row.slice_axis, row.shape_out) == ("radial", "degrees", (6, 20, 24))
    assert [float(angle) for angle in row.slice_places.split()] == pytest.approx(filed, abs=1e-3)
    assert np.array_equal(voxels_DHW, scan().voxels_DHW)
    assert row.flags == ("slices_are_no_stack",)
    assert row.spacing_out == (1.0, 0.01, 0.02)  # of B-scans alone


def test_radial_lines_out_of_order_are_sorted_by_their_angles() -> None:
    filed = (0, 60, 120, 30, 90, 150)
    row, voxels_DHW, _ = stored("a.dcm", dicom([line(a) for a in filed]))
    assert row.flags == ("frames_sorted", "slices_are_no_stack")
    assert [float(angle) for angle in row.slice_places.split()] == pytest.approx(sorted(filed), abs=1e-3)
    assert np.array_equal(voxels_DHW, scan().voxels_DHW[[0, 3, 1, 4, 2, 5]])


def test_circles_have_their_radii_in_mm_along_whose_arc_a_scans_are_counted() -> None:
    """The circle in the middle is 24 x 0.02 mm long."""
    row, voxels_DHW, meta = stored("a.dcm", dicom([circle(r) for r in (50, 60, 75)]))
    middle_mm = 24 * 0.02 / (2 * math.pi)
    assert (row.geometry, row.slice_axis, row.shape_out) == ("circle", "radius_mm", (3, 20, 24))
    radii = [float(radius) for radius in row.slice_places.split()]
    assert radii == pytest.approx([middle_mm * r / 60 for r in (50, 60, 75)], abs=1e-4)
    assert np.array_equal(voxels_DHW, scan().voxels_DHW[:3])
    assert (meta["slice_axis"], meta["slice_places"]) == (row.slice_axis, row.slice_places)


def test_one_circle_is_a_circle_in_every_format() -> None:
    one = dataclasses.replace(scan(), voxels_DHW=scan().voxels_DHW[:1], locations=(circle(60),))
    row, _, _ = stored("a.dcm", writer.write(one))
    vol = heidelberg_vol.Vol(one, [(3.7, 1.5, 2.0, 1.5)], pattern=2)
    in_vol, _, _ = stored("a.vol", heidelberg_vol.write(vol))
    for told in (row, in_vol):
        assert (told.geometry, told.slice_axis, told.shape_out) == ("circle", "radius_mm", (1, 20, 24))
        assert float(told.slice_places) == pytest.approx(24 * 0.02 / (2 * math.pi), abs=1e-4)
    # start and centre of a circle of 6 degrees across: 3 x 0.2896 mm
    values = heidelberg_vol.reflectance(one.voxels_DHW).astype(np.float64)
    series = heidelberg_e2e.Series(3, values, [(-3.0, 0.0, 3.0, 0.0)], pattern=2, declared=0)
    in_e2e, _, _ = stored("a.e2e", heidelberg_e2e.write([series]))
    assert (in_e2e.geometry, in_e2e.slice_axis, in_e2e.shape_out[0] if in_e2e.shape_out else 0) == (
        "circle",
        "radius_mm",
        1,
    )
    assert float(in_e2e.slice_places) == pytest.approx(3 * 0.2896, abs=1e-4)
    assert in_e2e.spacing_in is not None
    assert in_e2e.spacing_in[2] == pytest.approx(2 * math.pi * 3 * 0.2896 / 24)


def test_a_star_of_spectralis_has_its_angles_in_both_formats() -> None:
    """y grows downwards, as rows do."""
    angles = [0, 30, 60, 90, 120, 150]
    ends = [(math.cos(math.radians(a)), -math.sin(math.radians(a))) for a in angles]
    lines = [(3 - x, 3 - y, 3 + x, 3 + y) for x, y in ends]
    vol = heidelberg_vol.write(heidelberg_vol.Vol(scan(), lines, pattern=5))
    values = heidelberg_vol.reflectance(scan().voxels_DHW).astype(np.float64)
    e2e = heidelberg_e2e.write([heidelberg_e2e.Series(3, values, lines, pattern=5)])
    for name, data in (("a.vol", vol), ("a.e2e", e2e)):
        row, _, _ = stored(name, data)
        assert (row.geometry, row.slice_axis, row.frames) == ("radial", "degrees", 6)
        assert [float(angle) for angle in row.slice_places.split()] == pytest.approx(angles, abs=1e-3)


@pytest.mark.parametrize("values", [{"pixel_spacing_mm": None}, {}])
def test_slices_stay_single_when_a_scan_is_stretched(values: dict[str, object]) -> None:
    cfg = dataclasses.replace(CFG, fit="crop_pad" if values else "resize")
    row, voxels_DHW, _ = stored("a.dcm", dicom([line(a) for a in (0, 30, 60, 90, 120, 150)], **values), cfg)
    assert (voxels_DHW.shape, row.assumed_spacing) == ((6, 8, 8), int(bool(values)))
    assert row.slice_axis == "degrees"


def test_places_that_are_not_told_are_none() -> None:
    for locations in ([RASTER[0]] * 6, [line(0), line(90), line(45), line(135), circle(50), circle(60)]):
        row, voxels_DHW, _ = stored("a.dcm", dicom(locations))
        assert (row.slice_axis, row.slice_places, len(voxels_DHW)) == ("none", "", 6)


def test_stacks_have_their_step_whatever_is_included() -> None:
    uneven = [RASTER[0], RASTER[1], *(path + np.array([80.0, 0.0]) for path in RASTER[2:])]
    for locations in (RASTER, uneven, ()):
        row, _, meta = stored("a.dcm", writer.write(dataclasses.replace(scan(), locations=tuple(locations))))
        assert (row.slice_axis, row.slice_places) == ("", "")
        assert row.spacing_in is not None
        assert row.spacing_in[0] != 1.0
        assert "slice_axis" not in meta


def test_what_is_not_included_is_refused_as_before() -> None:
    row = conversion.row_of("a.dcm", dicom([line(a) for a in (0, 60, 120, 30, 90, 150)]))
    assert (row.reason, row.spacing_in, row.slice_axis) == ("geometry_radial", (0.04, 0.01, 0.02), "")
    assert row.flags == ()


def test_a_line_whose_place_is_missing_makes_all_angles_unknown() -> None:
    told = [line(a) for a in (0, 60, 30)]
    assert slice_places.turning_order([*told, np.empty((0, 2))], 4) == ()
    assert slice_places.places_of("radial", [*told, np.empty((0, 2))], 4, 1.0) == SlicePlaces("none")
    assert slice_places.places_of("circle", (), 3, 1.0) == SlicePlaces("none")
    assert slice_places.places_of("circle", (), 1, 1.0) == SlicePlaces("none")
    assert slice_places.places_of("circle", [circle(60)], 1, None) == SlicePlaces("none")
    assert slice_places.places_of("circle", [circle(60)], 1, 2 * math.pi) == SlicePlaces("radius_mm", (1.0,))


def test_the_json_of_a_sample_is_plain() -> None:
    _, _, meta = stored("a.dcm", dicom([line(a) for a in (0, 30, 60)]))
    assert json.loads(json.dumps(meta))["slice_places"] == "0 30 60"
