"""Geometry and spacing of a scan from header and manifest, and which scans are volumes."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from octshard.imaging.volume import GEOMETRIES
from octshard.prep.convert.geometry import Geometry
from octshard.prep.convert.layout import ScanLayout, check_is_volume, layout_of
from octshard.prep.dicom import header as dicom
from octshard.prep.dicom import writer
from octshard.prep.refusals import Refused
from tests.support.made_release import scan
from tests.support.memory_source import entry


def layout(scan_values: dict[str, Any], **entry_values: Any) -> ScanLayout:
    data = writer.write(dataclasses.replace(scan(), **scan_values))
    return layout_of(dicom.read_header(data, 10**9), dataclasses.replace(entry("a.dcm"), **entry_values))


def test_a_file_that_says_all() -> None:
    geometry, spacing = layout({}, pixel_mm=(0.0101, 0.0202), slice_mm=0.0404)
    assert geometry == Geometry("raster", pytest.approx(40.0), 480.0)
    assert (spacing.spacing_mm, spacing.source, spacing.flags) == ((0.04, 0.01, 0.02), "shared", ())


def test_the_manifest_comes_after_the_header_and_before_the_locations() -> None:
    _, spacing = layout({"measures": "none"}, pixel_mm=(0.01, 0.02), slice_mm=0.0401)
    assert (spacing.spacing_mm, spacing.source) == ((0.0401, 0.01, 0.02), "manifest")
    _, spacing = layout({"slice_thickness_mm": None}, slice_mm=0.0401)
    assert (spacing.spacing_mm, spacing.flags) == ((0.0401, 0.01, 0.02), ("slice_step_from_manifest",))


@pytest.mark.parametrize("from_manifest", [False, True])
def test_the_step_by_locations_where_no_number_says_it(from_manifest: bool) -> None:
    """Frames of 480 px are 24 x 0.02 mm wide and lie 40 px apart."""
    values: dict[str, Any] = {"measures": "none"} if from_manifest else {"slice_thickness_mm": None}
    _, spacing = layout(values, pixel_mm=(0.01, 0.02))
    assert spacing.spacing_mm == (pytest.approx(24 * 0.02 * 40 / 480), 0.01, 0.02)
    assert spacing.flags == ("slice_step_from_locations",)


def test_a_step_that_is_no_length_is_unknown() -> None:
    paths = tuple(np.array([[1e-9 * i, 0.0], [1e-9 * i, 1e-2]]) for i in range(6))
    _, spacing = layout({"slice_thickness_mm": None, "locations": paths})
    assert (spacing.assumed, spacing.flags) == (True, ("slice_step_unknown", "assumed_spacing"))


@pytest.mark.parametrize("kind", GEOMETRIES)
def test_what_is_no_raster_becomes_a_volume_only_if_the_config_includes_it(kind: str) -> None:
    check_is_volume(Geometry(kind), [kind])
    if kind in ("raster", "unknown"):
        check_is_volume(Geometry(kind), [])
        return
    with pytest.raises(Refused) as caught:
        check_is_volume(Geometry(kind), [other for other in GEOMETRIES if other != kind])
    place = "in more than one pattern, such as lines and circles" if kind == "mixed" else f"as {kind}"
    assert caught.value.reason == f"geometry_{kind}"
    assert caught.value.detail == f"frames lie {place}, want an evenly spaced raster"
