"""Which of several sources of the B-scan step is believed, and what is said of the others."""

import itertools
from collections.abc import Sequence

import pytest

from octshard.prep.convert.steps import ChosenStep, Step, StepSources, choose
from octshard.prep.scan_facts import PixelMeasures

DX = 6 / 512


def chosen(
    thickness: float | None = None,
    between: float | None = None,
    located: Sequence[Step] = (),
    *,
    manifest: float | None = None,
    cirrus_frames: int = 0,
) -> ChosenStep:
    plane = PixelMeasures("shared", (0.002, DX), thickness, between)
    measures = (PixelMeasures("per_frame"), plane, PixelMeasures("manifest", None, manifest))
    return choose(StepSources(measures, plane, located, 512 * DX / cirrus_frames if cirrus_frames else None))


def lines(mm: float, *, rough: bool = False) -> Step:
    return Step("locations", mm, rough=rough)


def planes(mm: float, *, rough: bool = False) -> Step:
    return Step("positions", mm, rough=rough)


@pytest.mark.parametrize(
    ("thickness", "between", "located", "mm", "flags"),
    [
        (0.05, None, [], 0.05, ()),
        (0.01, 0.05, [], 0.05, ("slice_thickness_is_not_step",)),
        (0.01, 0.05, [lines(0.05)], 0.05, ("slice_thickness_is_not_step",)),
        (0.10, None, [lines(0.05)], 0.05, ("slice_step_from_locations", "slice_thickness_is_not_step")),
        (0.10, None, [planes(0.05)], 0.05, ("slice_step_from_positions", "slice_thickness_is_not_step")),
        (0.05, 0.10, [lines(0.05)], 0.05, ("slice_steps_differ",)),
        (None, 0.10, [lines(0.05)], 0.05, ("slice_step_from_locations", "slice_steps_differ")),
        (None, None, [lines(0.05), planes(0.06)], 0.05, ("slice_step_from_locations", "slice_steps_differ")),
        (0.06, None, [lines(0.05), planes(0.06)], 0.05,
         ("slice_step_from_locations", "slice_steps_differ", "slice_thickness_is_not_step")),
        (None, 0.06, [planes(0.05)], 0.05, ("slice_step_from_positions", "slice_steps_differ")),
        (0.0512, None, [lines(0.05)], 0.0512, ()),  # as it is written, where that is within 5 %
        (0.0512, 0.0501, [lines(0.05)], 0.0501, ()),
        (0.10, None, [lines(0.05, rough=True)], 0.10, ()),
        (None, None, [lines(0.05, rough=True)], 0.05, ("slice_step_from_locations",)),
        (0.10, None, [planes(0.05, rough=True), lines(0.05)], 0.05,
         ("slice_step_from_locations", "slice_thickness_is_not_step")),
        (0.05, None, [planes(50.0)], 0.05, ("slice_steps_differ",)),  # micrometres
        (0.05, 50.0, [], 0.05, ("slice_steps_differ",)),
        (None, None, [planes(50.0)], 50.0, ("slice_step_from_positions",)),
    ],
)  # fmt: skip
def test_trust(
    thickness: float | None, between: float | None, located: list[Step], mm: float, flags: tuple[str, ...]
) -> None:
    step = chosen(thickness, between, located)
    assert (step.mm, step.flags) == (mm, flags)
    assert bool(step.notes) == any("differ" in flag or "is_not" in flag for flag in flags)


def test_the_values_of_sources_that_differ_are_noted() -> None:
    step = chosen(0.01, 0.05, [lines(0.0501)], manifest=0.01)
    (note,) = step.notes
    assert note == (
        "step 0.05 mm by SpacingBetweenSlices; frame locations 0.0501, SliceThickness (shared) 0.01, "
        "SliceThickness (manifest) 0.01"
    )


def test_the_manifest_comes_last_and_is_flagged_where_it_differs() -> None:
    assert chosen(manifest=0.05) == ChosenStep(0.05, ("slice_step_from_manifest",), ())
    step = chosen(0.10, manifest=0.05)
    assert (step.mm, step.flags) == (0.10, ("slice_steps_differ",))


def test_nothing_told_is_none() -> None:
    assert chosen() == ChosenStep(None, (), ())


@pytest.mark.parametrize(
    ("thickness", "between", "located", "mm"),
    [
        (1.0, None, [], None),
        (None, 1.0, [], None),
        (0.05, 1.0, [], 0.05),
        (None, None, [planes(1.0)], None),
        (1.0, None, [planes(1.0)], None),
        (1.0, None, [lines(0.98)], 1.0),
        (1.0, None, [lines(0.05)], 0.05),
    ],
)
def test_one_millimetre_is_a_step_only_if_the_locations_say_so(
    thickness: float | None, between: float | None, located: list[Step], mm: float | None
) -> None:
    step = chosen(thickness, between, located)
    assert step.mm == mm
    assert ("spacing_is_placeholder" in step.flags) == (mm != 1.0)
    assert mm == 1.0 or "1" in step.notes[0]


def test_cirrus_thickness_that_repeats_the_column_spacing_becomes_a_square_scan() -> None:
    step = chosen(DX, cirrus_frames=128)
    assert step == ChosenStep(pytest.approx(6 / 128), ("slice_thickness_is_column_spacing",), ())
    assert chosen(DX, located=[lines(0.0465)], cirrus_frames=128) == step  # the cube's own locations agree
    assert chosen(DX) == ChosenStep(DX, (), ())  # isotropic scans of other makers are as they say
    unknown = chosen(cirrus_frames=128)
    assert unknown == ChosenStep(pytest.approx(6 / 128), ("slice_step_from_square_scan",), ())


def test_a_raster_that_is_not_square_is_not_made_square() -> None:
    step = chosen(DX, located=[lines(0.05)], cirrus_frames=21)
    assert (step.mm, step.flags) == (0.05, ("slice_thickness_is_column_spacing", "slice_step_from_locations"))
    assert step.notes == ("step 0.05 mm by frame locations; SliceThickness (shared) 0.011719",)
    by_between = chosen(DX, 0.05, cirrus_frames=128)
    assert (by_between.mm, by_between.flags) == (0.05, ("slice_thickness_is_column_spacing",))
    few_lines = chosen(DX, cirrus_frames=21)  # 0.29 mm apart if square: no cube is like that
    assert few_lines.mm is None
    assert few_lines.notes == ("no step: SliceThickness (shared) 0.011719 mm",)
    assert chosen(cirrus_frames=5).mm is None


def test_a_true_cirrus_step_is_left_alone() -> None:
    assert chosen(0.0469, cirrus_frames=128) == ChosenStep(0.0469, (), ())
    isotropic = chosen(DX, located=[lines(DX)], cirrus_frames=200)
    assert isotropic == ChosenStep(DX, (), ())
    disc_cube = chosen(DX, located=[lines(DX)], cirrus_frames=512)  # square and isotropic: told as ever
    assert disc_cube == ChosenStep(DX, ("slice_thickness_is_column_spacing",), ())


SOURCES = ("locations", "positions", "between", "thickness")  # in the order of trust


def test_of_every_combination_the_most_trusted_source_decides_and_a_difference_is_flagged() -> None:
    """Told 0.04 and 0.0405 mm are one step, 0.0435 and 0.06 mm are others."""
    for told in itertools.product((None, 0.04, 0.0405, 0.0435, 0.06), repeat=4):
        steps = dict(zip(SOURCES, told, strict=True))
        present = [mm for mm in told if mm is not None]
        measures = PixelMeasures("shared", (0.01, 0.02), steps["thickness"], steps["between"])
        located = [Step(name, steps[name] or 0.0) for name in SOURCES[:2] if steps[name]]
        step = choose(StepSources([measures], measures, located, None))
        if not present:
            assert step == (None, (), ())
            continue
        assert step.mm is not None
        best = present[0]
        written = [mm for mm in told[2:] if mm is not None and max(mm, best) <= 1.05 * min(mm, best)]
        assert step.mm == (written[0] if written else best), told
        firm = [mm for mm in told[:3] if mm is not None]
        assert ("slice_steps_differ" in step.flags) == (bool(firm) and max(firm) > 1.05 * min(firm)), told
        thin = steps["thickness"]
        differs = bool(firm) and thin is not None and max(thin, step.mm) > 1.05 * min(thin, step.mm)
        assert ("slice_thickness_is_not_step" in step.flags) == differs, told
        is_noted = any(f"{mm:.5g}" in note for mm in present[1:] for note in step.notes)
        assert is_noted or max(present) <= 1.05 * min(present), told
