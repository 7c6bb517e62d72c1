"""The search order of the in-plane spacing, what is doubtful about it, and what is assumed."""

import pytest

from octshard.imaging.volume import Shape, length_mm
from octshard.prep.convert.spacing import ResolvedSpacing, resolve
from octshard.prep.convert.steps import Step
from octshard.prep.scan_facts import PixelMeasures

NOTHING = (PixelMeasures("per_frame"), PixelMeasures("shared"), PixelMeasures("top_level"))
SHAPE = (128, 496, 512)


def resolved_of(
    *measures: PixelMeasures,
    device: str = "topcon_triton",
    step_mm: float | None = None,
    shape: Shape = SHAPE,
) -> ResolvedSpacing:
    order = ["per_frame", "shared", "top_level", "manifest"]
    located = [] if step_mm is None else [Step("locations", step_mm)]
    return resolve(sorted(measures, key=lambda m: order.index(m.source)), shape, device, located)


def test_the_first_source_in_order_wins() -> None:
    sources = [
        PixelMeasures(source, (0.004 + 0.00001 * i, 0.01), 0.05 + 0.0001 * i)
        for i, source in enumerate(["per_frame", "shared", "top_level", "manifest"])
    ]
    for i, measures in enumerate(sources):
        resolved = resolved_of(*sources[i:])
        assert (resolved.source, resolved.assumed, resolved.flags) == (measures.source, False, ())
        assert resolved.spacing_mm == (0.05 + 0.0001 * i, 0.004 + 0.00001 * i, 0.01)


def test_nothing_known_is_assumed_one_mm() -> None:
    assert resolved_of(*NOTHING, PixelMeasures("manifest")) == ResolvedSpacing(
        (1.0, 1.0, 1.0), "none", True, ("assumed_spacing",)
    )


def test_the_step_may_come_from_a_later_source_and_is_flagged() -> None:
    resolved = resolved_of(PixelMeasures("per_frame", (0.004, 0.01)), PixelMeasures("manifest", None, 0.12))
    assert resolved == ResolvedSpacing((0.12, 0.004, 0.01), "per_frame", False, ("slice_step_from_manifest",))


def test_the_step_may_come_from_frame_locations() -> None:
    resolved = resolved_of(PixelMeasures("shared", (0.004, 0.01)), step_mm=0.06)
    assert resolved == ResolvedSpacing((0.06, 0.004, 0.01), "shared", False, ("slice_step_from_locations",))


def test_without_any_step_the_proportions_are_unknown_so_all_is_assumed() -> None:
    resolved = resolved_of(PixelMeasures("shared", (0.004, 0.01)))
    flags = ("slice_step_unknown", "assumed_spacing")
    assert resolved == ResolvedSpacing((1.0, 1.0, 1.0), "none", True, flags)


def test_in_plane_sources_that_differ_are_flagged_with_their_values() -> None:
    manifest = PixelMeasures("manifest", (0.0039, 0.012))
    resolved = resolved_of(PixelMeasures("shared", (0.0039, 0.01), 0.05), manifest)
    assert (resolved.spacing_mm, resolved.flags) == ((0.05, 0.0039, 0.01), ("pixel_spacings_differ",))
    assert resolved.notes == ("in-plane 0.0039 x 0.01 mm (shared), 0.0039 x 0.012 mm (manifest)",)
    near = PixelMeasures("manifest", (0.0039, 0.0104))
    assert resolved_of(PixelMeasures("shared", (0.0039, 0.01), 0.05), near).flags == ()


def test_what_cannot_be_read_is_flagged_with_its_text() -> None:
    texts = ("PixelSpacing '0,02'", "SliceThickness '1,250'")
    manifest = PixelMeasures("manifest", (0.004, 0.01), 0.05)
    resolved = resolved_of(PixelMeasures("shared", unreadable=texts), manifest)
    assert (resolved.source, resolved.flags) == ("manifest", ("spacing_unreadable",))
    assert resolved.notes == ("unreadable: shared PixelSpacing '0,02', shared SliceThickness '1,250'",)
    nothing_else = resolved_of(PixelMeasures("shared", unreadable=texts * 2))
    assert (nothing_else.assumed, nothing_else.flags) == (True, ("spacing_unreadable", "assumed_spacing"))
    assert nothing_else.notes[0].endswith(" and 1 more")


def test_what_was_invented_is_flagged_with_its_values() -> None:
    resolved = resolved_of(PixelMeasures("shared", None, 1.0, invented_mm=(1.0, 1.0)))
    assert (resolved.assumed, resolved.flags) == (True, ("spacing_is_placeholder", "assumed_spacing"))
    assert resolved.notes == ("placeholder: in-plane 1 x 1 mm (shared)",)


@pytest.mark.parametrize(
    ("spacing", "step", "flag"),
    [
        ((0.02, 0.0117), 0.05, "axial"),  # 9.9 mm deep
        ((0.0002, 0.0117), 0.05, "axial"),
        ((0.0039, 0.1), 0.05, "lateral"),
        ((0.001, 0.0015), 0.05, "lateral"),
        ((0.0039, 0.0117), 0.9, "slice"),  # 115 mm
        ((0.0039, 0.0117), 0.0001, "slice"),
    ],
)
def test_implausible_values_are_flagged_with_their_values_and_kept(
    spacing: tuple[float, float], step: float, flag: str
) -> None:
    resolved = resolved_of(PixelMeasures("shared", spacing, step))
    assert resolved.spacing_mm == (step, *spacing)
    assert f"implausible_{flag}_spacing" in resolved.flags
    assert len({name for name in resolved.flags if name.startswith("implausible")}) == 1
    assert "mm cover" in resolved.notes[-1]


def test_a_step_beyond_reason_in_a_short_raster() -> None:
    spacing = PixelMeasures("shared", (0.0039, 0.0117), 2.5)
    assert resolved_of(spacing, shape=(5, 496, 512)).flags == ("implausible_slice_spacing",)
    five_lines = PixelMeasures("shared", (0.002, 0.00225), 0.25)  # an HD raster: 9 mm of 4096 columns
    assert resolved_of(five_lines, shape=(5, 1024, 4096)).flags == ()


@pytest.mark.parametrize("divisor", [1, 5, 10])
def test_a_smaller_copy_of_a_scan_is_as_plausible_as_the_scan(divisor: int) -> None:
    shape = tuple(n // divisor for n in (60, 500, 770))
    spacing = PixelMeasures("shared", (0.003872 * divisor, 0.01206 * divisor), 0.128 * divisor)
    assert resolved_of(spacing, shape=(shape[0], shape[1], shape[2])).flags == ()


def test_rows_and_columns_that_look_exchanged() -> None:
    swapped = resolved_of(PixelMeasures("shared", (0.0117, 0.0039), 0.05))
    assert swapped.flags == ("spacing_looks_swapped",)
    assert swapped.spacing_mm == (0.05, 0.0117, 0.0039)
    assert swapped.notes == ("voxels of 0.05 x 0.0117 x 0.0039 mm cover 6.4 x 5.803 x 1.997 mm",)
    zoomed = resolved_of(PixelMeasures("shared", (0.0039, 0.002), 0.05), shape=(20, 496, 768))
    assert zoomed.flags == ()  # 5 degrees in high resolution: 1.9 x 1.5 mm


def test_spacing_that_varies_by_frame_is_flagged() -> None:
    assert resolved_of(PixelMeasures("per_frame", (0.004, 0.01), 0.1, varies=True)).flags == (
        "spacing_varies_by_frame",
    )


@pytest.mark.parametrize("value", [0.0, -0.1, 1e-12, 2e6, 1e308, float("inf"), float("nan")])
def test_what_cannot_be_a_length_is_none(value: float) -> None:
    assert length_mm(value) is None


def test_lengths_pass_untouched() -> None:
    assert [length_mm(mm) for mm in (1e-9, 0.0039, 1e6)] == [1e-9, 0.0039, 1e6]
