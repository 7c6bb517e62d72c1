"""Which voxel spacing a scan has: the first source that gives it, and what is odd about it. Pure.

Search order (DESIGN §4): per-frame PixelMeasures -> shared -> top level -> manifest. Every
guess is recorded: the row names the source, and every repair or doubt is a flag.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from octshard.imaging.volume import Shape, Spacing
from octshard.prep.convert.placeholders import is_one_mm
from octshard.prep.convert.slice_places import NO_STEP_MM
from octshard.prep.convert.steps import LEAST_MM, MOST_MM, SAME_STEP, ChosenStep, Step, StepSources, choose
from octshard.prep.scan_facts import ANGLE, MANIFEST, PixelMeasures

AXES = ("slice", "axial", "lateral")
LEAST_VOXEL_MM = {"slice": LEAST_MM, "axial": 0.001, "lateral": 0.002}  # OCT resolves no less
PLAUSIBLE_MM = {  # of the whole scan; eyes are 24 mm wide, OCT sees 2 to 3 mm deep, and a crop sees less
    "slice": (0.0, 30.0),
    "axial": (0.15, 8.0),
    "lateral": (0.25, 30.0),
}
MOST_STEPS = 250  # between B-scans, in column spacings: rasters of five long lines come to 120
USUAL_MM = {"axial": (1.0, 4.0), "lateral": (1.0, 25.0)}  # what whole scans of the retina cover
NAMED = 3  # unreadable values that a note names
SQUARE_DEVICES = ("zeiss_cirrus",)  # whose cubes are square


@dataclass(frozen=True)
class ResolvedSpacing:
    """Spacing (dz, dy, dx) mm with its in-plane source. assumed: nothing known, (1, 1, 1) by convention.

    notes: the values behind the flags, for the row's detail.
    """

    spacing_mm: Spacing
    source: str
    assumed: bool
    flags: tuple[str, ...]
    notes: tuple[str, ...] = ()


def resolve(
    measures: Sequence[PixelMeasures],
    shape: Shape,
    device: str,
    located: Sequence[Step] = (),
    *,
    is_stack: bool = True,
) -> ResolvedSpacing:
    """The first in-plane spacing, and the most trusted step between B-scans.

    measures: in search order, without placeholders; shape: (D, H, W) in voxels; located: steps by frame
    locations and positions. With the in-plane spacing known but not the step, the volume's proportions are
    unknown: all is assumed. is_stack: False for slices that have no step, of which none is asked for.
    """
    flags, notes = _doubts(measures)
    plane = in_plane(measures)
    if plane is None or plane.pixel_mm is None:
        return _assumed(flags, notes)
    flags += ["spacing_varies_by_frame"] if plane.varies else []
    flags += ["spacing_from_angle"] if plane.source == ANGLE else []
    (frames, _, cols), (dy, dx) = shape, plane.pixel_mm
    measured = [m for m in measures if m.pixel_mm is not None and m.source != ANGLE]
    if others := [m for m in measured if m.pixel_mm and not _same_plane(m.pixel_mm, (dy, dx))]:
        flags.append("pixel_spacings_differ")
        notes.append(f"in-plane {', '.join(map(_plane_text, (plane, *others)))}")
    square_mm = cols * dx / frames if device in SQUARE_DEVICES else None
    if is_stack:
        step = choose(StepSources(measures, plane, located, square_mm))
    else:
        step = ChosenStep(NO_STEP_MM, (), ())
    flags, notes = [*flags, *step.flags], [*notes, *step.notes]
    if step.mm is None:
        return _assumed([*flags, "slice_step_unknown"], notes)
    spacing_mm = (step.mm, dy, dx)
    if odd_flags := _plausibility_flags(spacing_mm, shape, AXES if is_stack else AXES[1:]):
        flags += odd_flags
        extents = " x ".join(f"{n * mm:.4g}" for n, mm in zip(shape, spacing_mm, strict=True))
        notes.append(f"voxels of {' x '.join(f'{mm:.4g}' for mm in spacing_mm)} mm cover {extents} mm")
    return ResolvedSpacing(spacing_mm, plane.source, False, tuple(dict.fromkeys(flags)), tuple(notes))


def in_plane(measures: Sequence[PixelMeasures]) -> PixelMeasures | None:
    """The first that tells rows and columns; what a file tells alone comes before a manifest's pair."""
    plane = next((m for m in measures if m.pixel_mm is not None), None)
    if plane is None or plane.pixel_mm is None or plane.source != MANIFEST:
        return plane
    return replace(plane, pixel_mm=with_own(plane.pixel_mm, measures))


def with_own(pixel_mm: tuple[float, float], measures: Sequence[PixelMeasures]) -> tuple[float, float]:
    """(row, col) with the number that a file tells alone, if there is one, in place of that of the pair."""
    own: list[float] = []
    for i, mm in enumerate(pixel_mm):
        alone = (m.alone_mm[i] for m in measures)
        own.append(next((one for one in alone if one is not None and not is_one_mm(one)), mm))
    return own[0], own[1]


def _assumed(flags: Sequence[str], notes: Sequence[str]) -> ResolvedSpacing:
    flags = tuple(dict.fromkeys((*flags, "assumed_spacing")))
    return ResolvedSpacing((1.0, 1.0, 1.0), "none", True, flags, tuple(notes))


def _doubts(measures: Sequence[PixelMeasures]) -> tuple[list[str], list[str]]:
    """Flags and notes on values that were left out."""
    unreadable = [f"{m.source} {text}" for m in measures for text in m.unreadable]
    invented = [f"in-plane {_plane_text(m, m.invented_mm)}" for m in measures if m.invented_mm]
    flags = ["spacing_unreadable"] if unreadable else []
    flags += ["spacing_is_placeholder"] if invented else []
    more = f" and {len(unreadable) - NAMED} more" if len(unreadable) > NAMED else ""
    notes = [f"unreadable: {', '.join(unreadable[:NAMED])}{more}"] if unreadable else []
    return flags, notes + [f"placeholder: {text}" for text in invented]


def _plausibility_flags(spacing_mm: Spacing, shape: Shape, axes: Sequence[str]) -> list[str]:
    """What no OCT scan of an eye is like, along `axes` of the whole scan: a copy may have larger voxels."""
    extent_mm = {axis: n * mm for axis, n, mm in zip(AXES, shape, spacing_mm, strict=True)}
    dz, dy, dx = spacing_mm
    far_apart = dz > min(MOST_MM, MOST_STEPS * dx)
    flags = [
        f"implausible_{axis}_spacing"
        for axis, mm in zip(AXES, spacing_mm, strict=True)
        if axis in axes
        and (
            mm < LEAST_VOXEL_MM[axis]
            or not PLAUSIBLE_MM[axis][0] <= extent_mm[axis] <= PLAUSIBLE_MM[axis][1]
            or (axis == "slice" and far_apart)
        )
    ]
    usual = all(low <= extent_mm[axis] <= high for axis, (low, high) in USUAL_MM.items())
    if dy > (1 + SAME_STEP) * dx and not usual:
        flags.append("spacing_looks_swapped")
    return flags


def _same_plane(pixel_mm: tuple[float, float], other_mm: tuple[float, float]) -> bool:
    return all(abs(a - b) <= SAME_STEP * b for a, b in zip(pixel_mm, other_mm, strict=True))


def _plane_text(measures: PixelMeasures, pixel_mm: tuple[float, float] | None = None) -> str:
    rows_mm, cols_mm = pixel_mm or measures.pixel_mm or (0.0, 0.0)
    return f"{rows_mm:.5g} x {cols_mm:.5g} mm ({measures.source})"
