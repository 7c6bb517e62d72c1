"""The step between B-scans: every source that tells it, which is believed, and where they disagree. Pure.

Trust (DESIGN §4): frame locations, frame positions, SpacingBetweenSlices, SliceThickness. A number that is
written, and within SAME_STEP of the most trusted source, is taken as it is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from octshard.prep.convert.placeholders import is_one_mm
from octshard.prep.dicom.pixel_measures import SAME
from octshard.prep.scan_facts import PixelMeasures

SAME_STEP = 0.05  # two steps closer than this share are one
# steps beyond are believed only where there is no other: they are in other units, most often
LEAST_MM, MOST_MM = 0.002, 2.0
SQUARE_RATIO = 8  # step per column spacing of a square cube: Cirrus cubes have 1 to 4, its line rasters 20
NAMES = {
    "locations": "frame locations",
    "positions": "ImagePositionPatient",
    "between": "SpacingBetweenSlices",
    "thickness": "SliceThickness",
    "square": "a square scan",
}


class Step(NamedTuple):
    """What one source says. kind: a key of NAMES; source: of PixelMeasures, empty for others.

    rough: by coordinates too coarse to be set against a number that is written.
    """

    kind: str
    mm: float
    source: str = ""
    rough: bool = False

    @property
    def text(self) -> str:
        """For a message."""
        return f"{NAMES[self.kind]}{f' ({self.source})' if self.source else ''} {self.mm:.5g}"


@dataclass(frozen=True)
class StepSources:
    """Every source of a scan's step. located: by frame locations, then by positions, where they tell one.

    square_mm: the step if the scan is square, for devices whose cubes are; None for others. plane: the
    measures that the in-plane spacing is from.
    """

    measures: Sequence[PixelMeasures]
    plane: PixelMeasures
    located: Sequence[Step]
    square_mm: float | None

    @property
    def by_trust(self) -> list[Step]:
        """The most trusted first."""
        between = [(m.spacing_between_slices_mm, m.source) for m in self.measures]
        thickness = [(m.thickness_mm, m.source) for m in self.measures]
        steps = [
            *(step for step in self.located if not step.rough),
            *(Step("between", mm, source) for mm, source in between if mm),
            *(Step("thickness", mm, source) for mm, source in thickness if mm),
            *(step for step in self.located if step.rough),
        ]
        return sorted(steps, key=lambda step: not LEAST_MM <= step.mm <= MOST_MM)  # stable

    @property
    def invented(self) -> list[Step]:
        """Steps of exactly 1 mm that no frame location confirms."""
        return [
            s for s in self.by_trust if s.kind != "locations" and is_one_mm(s.mm) and not self._confirmed(s)
        ]

    @property
    def repeats(self) -> list[Step]:
        """Thicknesses that repeat the column spacing, the publisher's error in files of square scans.

        Where frame locations say the same step in a scan that is not square, it is no error.
        """
        if self.square_mm is None or self.plane.pixel_mm is None:
            return []
        column, square = Step("thickness", self.plane.pixel_mm[1]), Step("square", self.square_mm)
        thicknesses = [s for s in self.by_trust if s.kind == "thickness" and _same(s, column, SAME)]
        return [s for s in thicknesses if _same(s, square) or not self._confirmed(s)]

    @property
    def square(self) -> list[Step]:
        """The step of a square scan, if this can be one."""
        if self.square_mm is None or self.plane.pixel_mm is None:
            return []
        could_be = self.square_mm <= SQUARE_RATIO * self.plane.pixel_mm[1]
        return [Step("square", self.square_mm)] if could_be else []

    def _confirmed(self, step: Step) -> bool:
        return any(s.kind == "locations" and not s.rough and _same(s, step) for s in self.located)


class ChosenStep(NamedTuple):
    """The step that is believed, None if nothing tells it; flags, and notes that hold the other values."""

    mm: float | None
    flags: tuple[str, ...]
    notes: tuple[str, ...]


def choose(sources: StepSources) -> ChosenStep:
    """The most trusted source's step, as it is written if it is written."""
    invented, repeats, square = sources.invented, sources.repeats, sources.square
    flags = ["spacing_is_placeholder"] if invented else []
    flags += ["slice_thickness_is_column_spacing"] if repeats else []
    notes = [f"placeholder: {step.text} mm" for step in invented]
    steps = [step for step in sources.by_trust if step not in (*invented, *repeats)] or square
    if not steps:
        return ChosenStep(None, tuple(flags), (*notes, *(f"no step: {step.text} mm" for step in repeats)))
    best, written = steps[0], [s for s in steps if s.source] + (square if repeats else [])
    step = next((s for s in written if _same(s, best)), best)
    flags += _source_flags(step, sources, repeats)
    if differ := _difference_flags(step, [s for s in steps if not s.rough]):
        flags += differ
    if differ or (repeats and step.kind != "square"):
        others = ", ".join(s.text for s in (*steps, *repeats) if s != step)
        notes.append(f"step {step.mm:.5g} mm by {NAMES[step.kind]}; {others}")
    return ChosenStep(step.mm, tuple(flags), tuple(notes))


def _source_flags(step: Step, sources: StepSources, repeats: Sequence[Step]) -> list[str]:
    """A flag if the step is not the in-plane spacing's own."""
    if step.kind in ("locations", "positions"):
        return [f"slice_step_from_{step.kind}"]
    if step.kind == "square":
        return [] if repeats else ["slice_step_from_square_scan"]
    order = [m.source for m in sources.measures]
    is_later = order.index(step.source) > order.index(sources.plane.source)
    return [f"slice_step_from_{step.source}"] if is_later else []


def _difference_flags(step: Step, steps: Sequence[Step]) -> list[str]:
    """Thickness need not be the step; all other sources should say the same."""
    thicknesses = [s for s in steps if s.kind == "thickness"]
    firm = [s for s in steps if s.kind != "thickness"]
    flags = []
    if _spread([step, *(firm or thicknesses)]) > 1 + SAME_STEP:
        flags.append("slice_steps_differ")
    if firm and not all(_same(s, step) for s in thicknesses):
        flags.append("slice_thickness_is_not_step")
    return flags


def _spread(steps: Sequence[Step]) -> float:
    return max(s.mm for s in steps) / min(s.mm for s in steps)


def _same(step: Step, other: Step, share: float = SAME_STEP) -> bool:
    return _spread([step, other]) <= 1 + share
