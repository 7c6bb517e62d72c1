"""Which voxel spacing a scan has: the first source that gives it, and what is odd about it. Pure.

Search order (DESIGN §4): per-frame PixelMeasures -> shared -> top level -> manifest. Every
guess is recorded: the row names the source, and every repair or doubt is a flag.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from octshard.imaging.volume import Spacing
from octshard.prep.dicom.pixel_measures import SAME, PixelMeasures

PLAUSIBLE_UM = {
    "axial": (1.0, 20.0),
    "lateral": (2.0, 100.0),
    "slice": (2.0, 500.0),
}  # the devices of AI-READI span 2-4, 6-30 and 12-128


@dataclass(frozen=True)
class ResolvedSpacing:
    """Spacing (dz, dy, dx) mm with its in-plane source. assumed: nothing known, (1, 1, 1) by convention."""

    spacing_mm: Spacing
    source: str
    assumed: bool
    flags: tuple[str, ...]


def resolve(
    measures: Sequence[PixelMeasures],
    frames: int,
    cols: int,
    device: str,
    step_from_locations_mm: float | None,
) -> ResolvedSpacing:
    """The first in-plane spacing and the first slice step.

    step_from_locations_mm: the step by frame locations, or None.
    AI-READI writes the slice step as SliceThickness; a SpacingBetweenSlices beside it wins (PS3.3).
    With the in-plane spacing known but not the step, the volume's proportions are unknown: all is assumed.
    """
    plane = next((m for m in measures if m.pixel_mm is not None), None)
    if plane is None or plane.pixel_mm is None:
        return ResolvedSpacing((1.0, 1.0, 1.0), "none", True, ())
    dy, dx = plane.pixel_mm
    flags = ["spacing_varies_by_frame"] if plane.varies else []
    dz, step_source, step_flags = _step(measures, step_from_locations_mm)
    flags += step_flags
    if device == "zeiss_cirrus" and (dz is None or _repeats(dz, dx, step_source)):
        # the publisher's error: SliceThickness repeats the column spacing; Cirrus cubes are square
        flags.append("slice_thickness_is_column_spacing" if dz is not None else "slice_step_from_square_scan")
        dz = cols * dx / frames
    if dz is None:
        return ResolvedSpacing((1.0, 1.0, 1.0), "none", True, (*flags, "slice_step_unknown"))
    for name, value in (("slice", dz), ("axial", dy), ("lateral", dx)):
        low, high = PLAUSIBLE_UM[name]
        if not low <= value * 1000 <= high:
            flags.append(f"implausible_{name}_spacing")
    return ResolvedSpacing((dz, dy, dx), plane.source, False, tuple(flags))


def _repeats(dz: float, dx: float, step_source: str) -> bool:
    return step_source == "thickness" and abs(dz - dx) <= SAME * dx


def _step(
    measures: Sequence[PixelMeasures], step_from_locations_mm: float | None
) -> tuple[float | None, str, list[str]]:
    """(slice step, thickness | between | locations | "", flags); a flag says if it is not the plane's own."""
    plane_source = ""
    for m in measures:
        plane_source = plane_source or (m.source if m.pixel_mm is not None else "")
        step = m.spacing_between_slices_mm or m.thickness_mm
        if step is None:
            continue
        flags = [f"slice_step_from_{m.source}"] if plane_source and plane_source != m.source else []
        if (
            m.spacing_between_slices_mm
            and m.thickness_mm
            and abs(m.spacing_between_slices_mm - m.thickness_mm) > SAME * m.spacing_between_slices_mm
        ):
            flags.append("slice_thickness_is_not_step")
        return step, "between" if m.spacing_between_slices_mm else "thickness", flags
    if step_from_locations_mm is not None:
        return step_from_locations_mm, "locations", ["slice_step_from_locations"]
    return None, "", []
