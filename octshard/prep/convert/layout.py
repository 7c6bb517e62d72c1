"""How a scan lies in space, by header and manifest: order and geometry of its frames, its spacing. Pure."""

from collections.abc import Collection
from typing import NamedTuple

from octshard.imaging.volume import length_mm
from octshard.prep.convert.geometry import Geometry, classify
from octshard.prep.convert.placeholders import without_placeholders
from octshard.prep.convert.positions import Positions, positions_of
from octshard.prep.convert.spacing import ResolvedSpacing, resolve
from octshard.prep.convert.steps import SAME_STEP, Step
from octshard.prep.dicom.header import Header
from octshard.prep.dicom.pixel_measures import PixelMeasures
from octshard.prep.refusals import Refused
from octshard.prep.release.aireadi import Entry

VOLUME_GEOMETRIES = ("raster", "unknown")  # are volumes without being asked for; `unknown` is flagged


class ScanLayout(NamedTuple):
    """Where the frames lie on the retina, and how far apart voxels are."""

    geometry: Geometry
    spacing: ResolvedSpacing


def layout_of(header: Header, entry: Entry) -> ScanLayout:
    """Geometry from the header's frame locations; spacing from header, manifest and these locations."""
    geometry = classify(header.locations, header.frames)
    positions = positions_of(header.placement, header.frames)
    manifest = PixelMeasures("manifest", entry.pixel_mm, entry.slice_mm, unreadable=entry.unreadable_spacing)
    measures = without_placeholders((*header.measures, manifest), header.manufacturer or entry.manufacturer)
    plane_mm = next((m.pixel_mm for m in measures if m.pixel_mm is not None), None)
    located = [] if plane_mm is None else located_steps(geometry, positions, header.cols * plane_mm[1])
    return ScanLayout(geometry, resolve(measures, header.shape, entry.device, located))


def located_steps(geometry: Geometry, positions: Positions | None, width_mm: float) -> list[Step]:
    """The step by frame locations, then that by positions; of each source that tells one."""
    steps = []
    if (mm := _sensible(geometry.step_mm(width_mm))) is not None:
        rough = geometry.kind != "raster" or geometry.step_error > SAME_STEP
        steps.append(Step("locations", mm, rough=rough))
    if positions is not None and (mm := _sensible(positions.step_mm)) is not None:
        steps.append(Step("positions", mm, rough=not positions.is_even))
    return steps


def _sensible(mm: float | None) -> float | None:
    return None if mm is None else length_mm(mm)


def check_is_volume(geometry: Geometry, included: Collection[str]) -> None:
    """Refused `geometry_*` if the frames are no stack of slices. included: what the config takes besides."""
    kind = geometry.kind
    if kind in VOLUME_GEOMETRIES or kind in included:
        return
    pattern = "in more than one pattern, such as lines and circles" if kind == "mixed" else f"as {kind}"
    raise Refused(f"geometry_{kind}", f"frames lie {pattern}, want an evenly spaced raster")
