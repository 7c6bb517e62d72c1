"""Geometry and spacing of a scan from header and manifest, and which scans are volumes."""

import dataclasses
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pydicom
import pytest

from octshard.imaging.volume import GEOMETRIES
from octshard.prep.convert.geometry import Geometry
from octshard.prep.convert.layout import ScanLayout, check_is_volume, layout_of
from octshard.prep.convert.spacing import ResolvedSpacing
from octshard.prep.dicom import header as dicom
from octshard.prep.dicom import writer
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import ANGLE, PixelMeasures
from tests.support.made_release import RASTER, scan
from tests.support.memory_source import entry


def layout(scan_values: dict[str, Any], **entry_values: Any) -> ScanLayout:
    data = writer.write(dataclasses.replace(scan(), **scan_values))
    return layout_of(dicom.read_header(data, 10**9), dataclasses.replace(entry("a.dcm"), **entry_values))


def layout_spacing(scan_values: dict[str, Any], **entry_values: Any) -> ResolvedSpacing:
    return layout(scan_values, **entry_values).spacing


def test_a_file_that_says_all() -> None:
    geometry, spacing, order, _ = layout({}, pixel_mm=(0.0101, 0.0202), slice_mm=0.0404)
    assert geometry == Geometry("raster", pytest.approx(40.0), 480.0)
    assert (spacing.spacing_mm, spacing.source, spacing.flags) == ((0.04, 0.01, 0.02), "shared", ())
    assert order == ()


def test_the_manifest_comes_after_the_header_and_before_the_locations() -> None:
    spacing = layout_spacing({"measures": "none"}, pixel_mm=(0.01, 0.02), slice_mm=0.0401)
    assert (spacing.spacing_mm, spacing.source) == ((0.0401, 0.01, 0.02), "manifest")
    spacing = layout_spacing({"slice_thickness_mm": None}, slice_mm=0.0401)
    assert (spacing.spacing_mm, spacing.flags) == ((0.0401, 0.01, 0.02), ("slice_step_from_manifest",))


@pytest.mark.parametrize("from_manifest", [False, True])
def test_the_step_by_locations_where_no_number_says_it(from_manifest: bool) -> None:
    """Frames of 480 px are 24 x 0.02 mm wide and lie 40 px apart."""
    values: dict[str, Any] = {"measures": "none"} if from_manifest else {"slice_thickness_mm": None}
    spacing = layout_spacing(values, pixel_mm=(0.01, 0.02))
    assert spacing.spacing_mm == (pytest.approx(24 * 0.02 * 40 / 480), 0.01, 0.02)
    assert spacing.flags == ("slice_step_from_locations",)


def test_a_step_that_is_no_length_is_unknown() -> None:
    paths = tuple(np.array([[1e-9 * i, 0.0], [1e-9 * i, 1e-2]]) for i in range(6))
    spacing = layout_spacing({"slice_thickness_mm": None, "locations": paths})
    assert (spacing.assumed, spacing.flags) == (True, ("slice_step_unknown", "assumed_spacing"))


@pytest.mark.parametrize("kind", GEOMETRIES)
def test_what_is_no_raster_becomes_a_volume_only_if_the_config_includes_it(kind: str) -> None:
    check_is_volume(Geometry(kind), [kind])
    if kind in ("raster", "unknown"):
        check_is_volume(Geometry(kind), [])
        return
    with pytest.raises(Refused) as caught:
        check_is_volume(Geometry(kind), [other for other in GEOMETRIES if other != kind])
    places = {
        "mixed": "in more than one pattern, such as lines and circles",
        "line": "on one line, or there is only one",
    }
    place = places.get(kind, f"as {kind}")
    assert caught.value.reason == f"geometry_{kind}"
    assert caught.value.detail == f"frames lie {place}, want an evenly spaced raster"


def changed(change: Callable[[Any, int], None], **scan_values: Any) -> bytes:
    """The file of `scan` with every per-frame item changed by `change(item, index)`."""
    ds = pydicom.dcmread(io.BytesIO(writer.write(dataclasses.replace(scan(), **scan_values))))
    for i, item in enumerate(ds.PerFrameFunctionalGroupsSequence):
        change(item, i)
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=False)
    return out.getvalue()


def at(places_mm: Sequence[float], axis: int = 2) -> Callable[[Any, int], None]:
    """Positions of frames on an axis."""

    def change(item: Any, i: int) -> None:
        item.PlanePositionSequence[0].ImagePositionPatient = [
            f"{places_mm[i]:.6g}" if k == axis else "0" for k in range(3)
        ]

    return change


def of(data: bytes) -> ScanLayout:
    return layout_of(dicom.read_header(data, 10**9), entry("a.dcm"))


def test_the_step_by_positions_where_no_location_says_it() -> None:
    """Planes 0.05 mm apart; the file's thickness of 0.04 mm is none."""
    data = changed(at([0.05 * i for i in range(6)]), locations=())
    geometry, spacing, order, _ = of(data)
    assert (geometry.kind, order) == ("unknown", ())
    assert spacing.spacing_mm == (pytest.approx(0.05), 0.01, 0.02)
    assert spacing.flags == ("slice_step_from_positions", "slice_thickness_is_not_step")
    assert "ImagePositionPatient" in spacing.notes[0]
    assert "SliceThickness (shared) 0.04" in spacing.notes[0]


def test_locations_come_before_positions_and_both_are_told() -> None:
    spacing = of(changed(at([0.05 * i for i in range(6)]))).spacing
    assert (spacing.spacing_mm[0], spacing.flags) == (0.04, ("slice_steps_differ",))
    assert spacing.notes == (
        "step 0.04 mm by SliceThickness; frame locations 0.04, ImagePositionPatient 0.05",
    )
    assert of(changed(at([0.0] * 6))).spacing.flags == ()  # dummies are no source


def test_whole_pixels_that_are_too_coarse_do_not_overrule_a_number() -> None:
    """3 px are 0.003 mm here: five steps of 0.6 px are known to a third."""
    coarse = tuple(
        np.array([[640.0 + round(0.6 * i), 128.0], [640.0 + round(0.6 * i), 608.0]]) for i in range(6)
    )
    assert of(writer.write(dataclasses.replace(scan(), locations=coarse))).spacing.spacing_mm[0] == 0.04


def test_frames_out_of_order_are_sorted_and_their_geometry_is_that_of_the_sorted_ones() -> None:
    order = (0, 2, 4, 1, 3, 5)

    def shuffle(item: Any, i: int) -> None:
        item.FrameContentSequence[0].InStackPositionNumber = order[i] + 1
        item.FrameContentSequence[0].DimensionIndexValues = [1, order[i] + 1]
        at([0.04 * n for n in order])(item, i)

    data = changed(shuffle, locations=tuple(RASTER[n] for n in order))
    geometry, spacing, sorted_order, _ = of(data)
    assert sorted_order == (0, 3, 1, 4, 2, 5)
    assert geometry == Geometry("raster", pytest.approx(40.0), 480.0)
    assert (spacing.spacing_mm[0], spacing.flags) == (0.04, ())


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (at([0, 0.04, 0.08, 0.16, 0.20, 0.24]), "ImagePositionPatient moves on by unequal steps"),
        (lambda item, i: item.FrameContentSequence[0].__setattr__("InStackPositionNumber", i + 1 + (i > 2)),
         "InStackPositionNumber goes from 3 to 5"),
        (lambda item, i: item.FrameContentSequence[0].__setattr__("InStackPositionNumber", i // 2 + 1),
         "InStackPositionNumber goes from 1 to 1"),
    ],
)  # fmt: skip
def test_lost_and_repeated_frames_make_no_even_volume(change: Callable[[Any, int], None], note: str) -> None:
    geometry = of(changed(change, locations=())).geometry
    assert (geometry.kind, geometry.note) == ("uneven", note)
    with pytest.raises(Refused, match="geometry_uneven: frames lie as uneven"):
        check_is_volume(geometry, [])
    check_is_volume(geometry, ["uneven"])
    assert of(changed(change)).geometry.kind == "raster"  # the locations know better


@pytest.mark.parametrize(
    ("frames", "locations", "pattern", "kind"),
    [
        (6, False, "radial", "radial"),
        (6, False, "raster", "raster"),
        (6, False, "", "unknown"),
        (6, True, "radial", "raster"),  # locations are believed before a name
        (1, True, "circle", "circle"),
        (1, True, "raster", "line"),
        (1, False, "", "line"),
    ],
)
def test_a_pattern_that_the_file_names_counts_where_locations_tell_none(
    frames: int, locations: bool, pattern: str, kind: str
) -> None:
    header = dicom.read_header(writer.write(scan()), 10**9)
    told = dataclasses.replace(
        header, frames=frames, locations=header.locations[:frames] if locations else (), pattern=pattern
    )
    assert layout_of(told, entry("a")).geometry.kind == kind


def test_a_width_by_an_angle_comes_last() -> None:
    header = dicom.read_header(writer.write(dataclasses.replace(scan(), measures="none")), 10**9)
    told = dataclasses.replace(header, measures=(PixelMeasures(ANGLE, (0.01, 0.021)),))
    alone = layout_of(told, entry("a")).spacing
    assert (alone.source, alone.spacing_mm[1:]) == ("angle", (0.01, 0.021))
    assert alone.flags == ("spacing_from_angle", "slice_step_from_locations")
    listed = dataclasses.replace(entry("a"), pixel_mm=(0.01, 0.03))
    spacing = layout_of(told, listed).spacing
    assert (spacing.source, spacing.flags) == ("manifest", ("slice_step_from_locations",))


SAYS_ALL = (0.0401, 0.0101, 0.0202)
DEFAULT = (0.05, 0.03, 0.06)


@pytest.mark.parametrize(
    ("in_file", "listed", "device", "expected"),
    [
        ({}, {}, "", (0.04, 0.01, 0.02)),
        ({"measures": "none"}, {}, "", (24 * 0.06 * 40 / 480, 0.03, 0.06)),  # locations tell the step
        ({"measures": "none"}, {"pixel_mm": SAYS_ALL[1:]}, "", (24 * 0.0202 * 40 / 480, 0.0101, 0.0202)),
        ({"measures": "none", "locations": None}, {}, "", DEFAULT),
        ({"measures": "none", "locations": None}, {}, "zeiss_cirrus", DEFAULT),
        ({"measures": "none", "locations": None}, {"slice_mm": 0.0401}, "", (0.0401, 0.03, 0.06)),
        ({"measures": "none", "locations": None}, {"pixel_mm": (0.0101, 0.0202)}, "", (0.05, 0.0101, 0.0202)),
        ({"slice_thickness_mm": None, "locations": None}, {}, "", (0.05, 0.01, 0.02)),
        ({"slice_thickness_mm": None, "locations": None}, {}, "zeiss_cirrus", (0.05, 0.01, 0.02)),
    ],
)
def test_a_default_fills_what_nothing_tells_and_contradicts_nothing(
    in_file: dict[str, Any], listed: dict[str, Any], device: str, expected: tuple[float, ...]
) -> None:
    values = {"device": device or "topcon_triton", **listed}
    spacing = layout_spacing(in_file, default_mm=DEFAULT, **values)
    assert spacing.spacing_mm == pytest.approx(expected)
    assert not {"assumed_spacing", "pixel_spacings_differ", "slice_steps_differ"} & set(spacing.flags)
    assert "slice_thickness_is_not_step" not in spacing.flags
    if "locations" in in_file and not listed and "measures" in in_file:
        assert layout_spacing(in_file, device=values["device"]).assumed


@pytest.mark.parametrize(
    ("measures", "manifest", "default"),
    [
        (PixelMeasures(ANGLE, (0.0039, 0.011), alone_mm=(0.0039, None)), (0.0039, 0.02), (0.0039, 0.011)),
        (PixelMeasures("file", alone_mm=(0.0039, None)), (0.0039, 0.02), (0.0039, 0.06)),
        (PixelMeasures("file", alone_mm=(None, 0.011)), (0.03, 0.011), (0.03, 0.011)),
        (PixelMeasures("file", alone_mm=(1.0, None)), (0.03, 0.02), (0.03, 0.06)),  # nobody measured it
    ],
)
def test_a_depth_or_a_width_that_the_file_tells_alone_is_kept(
    measures: PixelMeasures, manifest: tuple[float, float], default: tuple[float, float]
) -> None:
    header = dicom.read_header(writer.write(dataclasses.replace(scan(), measures="none")), 10**9)
    told = dataclasses.replace(header, measures=(measures,))
    spacing = layout_of(told, dataclasses.replace(entry("a"), pixel_mm=(0.03, 0.02))).spacing
    assert (spacing.source, spacing.spacing_mm[1:]) == ("manifest", manifest)
    assert ("pixel_spacings_differ" in spacing.flags) == (manifest != (0.03, 0.02))
    spacing = layout_of(told, dataclasses.replace(entry("a"), default_mm=DEFAULT)).spacing
    assert spacing.spacing_mm[1:] == default
    assert "pixel_spacings_differ" not in spacing.flags


def test_positions_tell_order_and_step_without_a_frame_of_reference() -> None:
    """Places of one file are compared with each other alone."""
    ds = pydicom.dcmread(io.BytesIO(changed(at([0.05 * i for i in (0, 2, 4, 1, 3, 5)]), locations=())))
    del ds.FrameOfReferenceUID
    for item in ds.PerFrameFunctionalGroupsSequence:
        del item.FrameContentSequence
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=False)
    layout = of(out.getvalue())
    assert layout.order == (0, 3, 1, 4, 2, 5)
    assert layout.spacing.spacing_mm[0] == pytest.approx(0.05)
