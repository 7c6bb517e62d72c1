"""The search order of voxel spacing, and every repair and doubt as a flag."""

import pytest

from octshard.imaging.volume import length_mm
from octshard.prep.convert.spacing import ResolvedSpacing, resolve
from octshard.prep.dicom.pixel_measures import PixelMeasures

NOTHING = (PixelMeasures("per_frame"), PixelMeasures("shared"), PixelMeasures("top_level"))


def resolved_of(
    *measures: PixelMeasures, device: str = "topcon_triton", step_mm: float | None = None
) -> ResolvedSpacing:
    order = ["per_frame", "shared", "top_level", "manifest"]
    return resolve(sorted(measures, key=lambda m: order.index(m.source)), 128, 512, device, step_mm)


def test_the_first_source_in_order_wins() -> None:
    sources = [
        PixelMeasures(source, (0.002 + 0.001 * i, 0.01), 0.05 + 0.01 * i)
        for i, source in enumerate(["per_frame", "shared", "top_level", "manifest"])
    ]
    for i, measures in enumerate(sources):
        resolved = resolved_of(*sources[i:])
        assert (resolved.source, resolved.assumed, resolved.flags) == (measures.source, False, ())
        assert resolved.spacing_mm == (0.05 + 0.01 * i, 0.002 + 0.001 * i, 0.01)


def test_nothing_known_is_assumed_one_mm() -> None:
    assert resolved_of(*NOTHING, PixelMeasures("manifest")) == ResolvedSpacing(
        (1.0, 1.0, 1.0), "none", True, ()
    )


def test_the_step_may_come_from_a_later_source_and_is_flagged() -> None:
    resolved = resolved_of(PixelMeasures("per_frame", (0.004, 0.01)), PixelMeasures("manifest", None, 0.12))
    assert resolved == ResolvedSpacing((0.12, 0.004, 0.01), "per_frame", False, ("slice_step_from_manifest",))


def test_the_step_may_come_from_frame_locations() -> None:
    resolved = resolved_of(PixelMeasures("shared", (0.004, 0.01)), step_mm=0.06)
    assert resolved == ResolvedSpacing((0.06, 0.004, 0.01), "shared", False, ("slice_step_from_locations",))


def test_without_any_step_the_proportions_are_unknown_so_all_is_assumed() -> None:
    resolved = resolved_of(PixelMeasures("shared", (0.004, 0.01)))
    assert resolved == ResolvedSpacing((1.0, 1.0, 1.0), "none", True, ("slice_step_unknown",))


def test_spacing_between_slices_is_the_step_where_thickness_differs() -> None:
    resolved = resolved_of(PixelMeasures("shared", (0.004, 0.01), 0.02, 0.06))
    assert resolved == ResolvedSpacing((0.06, 0.004, 0.01), "shared", False, ("slice_thickness_is_not_step",))


def test_cirrus_thickness_that_repeats_the_column_spacing_becomes_a_square_scan() -> None:
    dx = 6 / 512
    resolved = resolved_of(PixelMeasures("shared", (0.00195, dx), dx), device="zeiss_cirrus")
    assert resolved.spacing_mm[0] == pytest.approx(6 / 128)
    assert resolved.flags == ("slice_thickness_is_column_spacing",)
    other = resolved_of(
        PixelMeasures("shared", (0.00195, dx), dx)
    )  # 512 square scans of other makers have such steps
    assert (other.spacing_mm[0], other.flags) == (dx, ())


def test_a_true_cirrus_step_is_left_alone() -> None:
    assert (
        resolved_of(PixelMeasures("shared", (0.002, 0.0117), 0.0469), device="zeiss_cirrus").spacing_mm[0]
        == 0.0469
    )


@pytest.mark.parametrize(
    ("spacing", "step", "flag"),
    [((0.5, 0.01), 0.05, "axial"), ((0.004, 0.4), 0.05, "lateral"), ((0.004, 0.01), 1.0, "slice")],
)
def test_implausible_values_are_flagged_and_kept(
    spacing: tuple[float, float], step: float, flag: str
) -> None:
    resolved = resolved_of(PixelMeasures("shared", spacing, step))
    assert resolved.spacing_mm == (step, *spacing)
    assert resolved.flags == (f"implausible_{flag}_spacing",)


def test_spacing_that_varies_by_frame_is_flagged() -> None:
    assert resolved_of(PixelMeasures("per_frame", (0.004, 0.01), 0.1, varies=True)).flags == (
        "spacing_varies_by_frame",
    )


@pytest.mark.parametrize("value", [0.0, -0.1, 1e-12, 2e6, 1e308, float("inf"), float("nan")])
def test_what_cannot_be_a_length_is_none(value: float) -> None:
    assert length_mm(value) is None


def test_lengths_pass_untouched() -> None:
    assert [length_mm(mm) for mm in (1e-9, 0.0039, 1e6)] == [1e-9, 0.0039, 1e6]
