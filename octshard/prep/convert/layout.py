"""How a scan lies in space, by header and manifest: the geometry of its frames, its voxel spacing. Pure."""

from collections.abc import Collection
from typing import NamedTuple

from octshard.imaging.volume import length_mm
from octshard.prep.convert.geometry import Geometry, classify
from octshard.prep.convert.spacing import ResolvedSpacing, resolve
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
    measures = (*header.measures, PixelMeasures("manifest", entry.pixel_mm, entry.slice_mm))
    plane_mm = next((m.pixel_mm for m in measures if m.pixel_mm is not None), None)
    step_mm = geometry.step_mm(header.cols * plane_mm[1]) if plane_mm else None
    step_mm = None if step_mm is None else length_mm(step_mm)
    return ScanLayout(geometry, resolve(measures, header.frames, header.cols, entry.device, step_mm))


def check_is_volume(geometry: Geometry, included: Collection[str]) -> None:
    """Refused `geometry_*` if the frames are no stack of slices. included: what the config takes besides."""
    kind = geometry.kind
    if kind in VOLUME_GEOMETRIES or kind in included:
        return
    pattern = "in more than one pattern, such as lines and circles" if kind == "mixed" else f"as {kind}"
    raise Refused(f"geometry_{kind}", f"frames lie {pattern}, want an evenly spaced raster")
