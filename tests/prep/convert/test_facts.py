"""Facts are columns of a row; the manifest is believed, and where it is silent the file."""

import dataclasses
from typing import Any, get_type_hints

import pytest

from octshard.dataset.tables import SampleRow
from octshard.prep.convert import facts
from octshard.prep.convert.facts import HeaderFacts, LayoutFacts, VoxelFacts
from octshard.prep.convert.geometry import Geometry
from octshard.prep.convert.layout import ScanLayout
from octshard.prep.convert.quality import Quality
from octshard.prep.convert.source_file import FileFacts
from octshard.prep.convert.spacing import ResolvedSpacing
from octshard.prep.dicom import header as dicom
from octshard.prep.dicom import writer
from octshard.prep.dicom.header import Header
from octshard.prep.release.entry import Entry
from tests.support.made_release import scan
from tests.support.memory_source import entry as entry_at

SILENT: dict[str, Any] = {"manufacturer": "", "model": "", "eye": "", "sop_instance_uid": ""}


def header(**values: Any) -> Header:
    return dataclasses.replace(dicom.read_header(writer.write(scan()), 10**9), **values)


def entry(**values: Any) -> Entry:
    return dataclasses.replace(entry_at("a.dcm"), **values)


@pytest.mark.parametrize("kind", [FileFacts, HeaderFacts, LayoutFacts, VoxelFacts])
def test_facts_are_columns_of_the_row_and_of_their_types(kind: type) -> None:
    columns = get_type_hints(SampleRow)
    for name, hint in get_type_hints(kind).items():
        assert hint in (columns[name], *getattr(columns[name], "__args__", ())), name


def test_the_manifest_is_believed_and_the_file_fills_its_gaps() -> None:
    columns = facts.of_header(header(manufacturer="A", model="B", eye="R", sop_instance_uid="1"), entry())
    assert columns[:4] == (scan().sop_instance_uid, "Topcon", "Triton", "L")
    silent = facts.of_header(
        header(manufacturer="A", model="B", eye="R", sop_instance_uid="1"), entry(**SILENT)
    )
    assert silent[:4] == ("1", "A", "B", "R")
    assert silent[4:] == ("1.2.840.10008.1.2.1", 6, 20, 24, 8)
    assert facts.of_header(header(eye=""), entry(**SILENT, eye_in_name="R")).eye == "R"


@pytest.mark.parametrize(
    ("of_header", "of_entry", "flags"),
    [
        ({}, {}, []),
        ({"eye": "R"}, {}, ["eye_differs_from_manifest"]),
        ({"eye": ""}, {}, []),
        ({"eye": "R"}, {"eye": ""}, []),
        ({}, {"eye_in_name": "R"}, ["eye_differs_from_name"]),
        ({"eye": "R"}, {"eye": "", "eye_in_name": "L"}, ["eye_differs_from_name"]),
        ({"eye": ""}, {"eye": "", "eye_in_name": "R"}, []),
        ({"sop_instance_uid": "1"}, {}, ["uid_differs_from_manifest"]),
        ({"sop_instance_uid": "1"}, {"sop_instance_uid": ""}, []),
        ({"sop_instance_uid": ""}, {}, []),
        ({}, {"frames": 6, "cols": 24}, []),
        ({}, {"rows": 21}, ["shape_differs_from_manifest"]),
        ({"eye": "R"}, {"frames": 5}, ["eye_differs_from_manifest", "shape_differs_from_manifest"]),
    ],
)
def test_header_flags(of_header: dict[str, Any], of_entry: dict[str, Any], flags: list[str]) -> None:
    assert facts.header_flags(header(**of_header), entry(**of_entry)) == flags


@pytest.mark.parametrize(("eyes", "differs"), [(("R",), True), (("L",), False), ((), False), (("B",), False)])
def test_an_eye_of_all_frames_that_is_not_the_images_is_flagged(eyes: tuple[str, ...], differs: bool) -> None:
    placement = dataclasses.replace(header().placement, eyes=eyes)
    assert facts.header_flags(header(placement=placement), entry()) == ["eye_differs_by_frame"] * differs


def test_sorted_frames_are_flagged() -> None:
    spacing = ResolvedSpacing((0.1, 0.004, 0.02), "shared", False, (), ("a", "b"))
    layout = ScanLayout(Geometry("raster", 5.0, 500.0), spacing, (1, 0, 2, 3, 4, 5))
    columns = facts.of_layout(layout, header(), entry())
    assert (columns.flags, columns.detail) == (("frames_sorted",), "a; b")


def test_geometry_flags() -> None:
    odd = Geometry("raster", 5.0, 500.0, 2, True, True, (1, 3))
    assert facts.geometry_flags(Geometry("raster", 5.0, 500.0)) == []
    assert facts.geometry_flags(odd) == [
        "frame_locations_missing", "slow_axis_flipped", "fast_axis_reversed", "frames_mirrored",
    ]  # fmt: skip
    assert facts.geometry_flags(Geometry("unknown", missing=6)) == ["geometry_unknown"]
    assert facts.geometry_flags(Geometry("uneven", missing=6, note="by their numbers")) == []


def test_layout_flags_come_in_the_order_header_geometry_spacing() -> None:
    layout = ScanLayout(
        Geometry("raster", 5.0, 500.0, flipped=True),
        ResolvedSpacing((0.1, 0.004, 0.02), "shared", False, ("slice_step_from_manifest",)),
    )
    assert facts.of_layout(layout, header(eye="R"), entry()) == LayoutFacts(
        "raster",
        (0.1, 0.004, 0.02),
        "shared",
        0,
        ("eye_differs_from_manifest", "slow_axis_flipped", "slice_step_from_manifest"),
    )


@pytest.mark.parametrize(
    ("level", "flags"), [(0, ("a", "saturated", "z")), (1, ("a", "decoded_fast", "saturated", "z"))]
)
def test_voxel_flags_join_the_others_sorted(level: int, flags: tuple[str, ...]) -> None:
    assert facts.of_voxels(Quality(1, 2, ("saturated",)), level, ("z", "a")) == VoxelFacts(1, 2, level, flags)
