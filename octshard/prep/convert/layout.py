"""How a scan lies in space, by header and manifest: order and geometry of its frames, its spacing. Pure."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from octshard.imaging.volume import length_mm
from octshard.prep.convert import frame_order, slice_places, volumes
from octshard.prep.convert.geometry import Geometry, classify
from octshard.prep.convert.placeholders import without_placeholders
from octshard.prep.convert.positions import Positions, positions_of
from octshard.prep.convert.slice_places import SlicePlaces
from octshard.prep.convert.spacing import ResolvedSpacing, in_plane, resolve, with_own
from octshard.prep.convert.steps import SAME_STEP, Step
from octshard.prep.refusals import Refused
from octshard.prep.release.entry import Entry
from octshard.prep.scan_facts import ANGLE, MANIFEST, PixelMeasures, ScanFacts

NAMED = "the file says so"
VOLUME_GEOMETRIES = ("raster", "unknown")  # are volumes without being asked for; `unknown` is flagged


class ScanLayout(NamedTuple):
    """Where the frames lie on the retina, how far apart voxels are, and the order of frames in space.

    order: the file's index of each frame; empty if the file has them in order. Geometry is of ordered frames.
    slices: where they lie, if they are no stack.
    """

    geometry: Geometry
    spacing: ResolvedSpacing
    order: tuple[int, ...] = ()
    slices: SlicePlaces = SlicePlaces()


def layout_of(scan: ScanFacts, entry: Entry, included: Collection[str] = ()) -> ScanLayout:
    """Order and geometry by all that frames say of their place; spacing by header, manifest and places.

    included: geometries that the config takes besides rasters, as what they are: those that are no stack have
    no step.

    Refused `part_of_scan`, `several_volumes` or `frame_order` if the frames are not those of one volume.
    """
    frame_order.check_is_whole(scan)
    volumes.check_is_of_one_eye(scan)
    positions = positions_of(scan.placement, scan.frames)
    geometry = classify(scan.locations, scan.frames)
    order: tuple[int, ...] = ()
    if geometry.kind in volumes.PARALLEL:
        volumes.check_is_one(scan, geometry.kind)
        if order := frame_order.order_of(scan, positions):
            geometry = classify(frame_order.in_order(scan.locations, order), scan.frames)
            positions = positions and positions.ordered(order)
        geometry = _with_gaps(geometry, positions, frame_order.gap_in(scan, order))
    geometry = _as_named(geometry, scan)
    is_stack = geometry.kind not in slice_places.NO_STACK or geometry.kind not in included
    if geometry.kind == "radial" and not is_stack:
        order = slice_places.turning_order(scan.locations, scan.frames)
    results = []
    for measures in _measures(scan, entry):
        plane = in_plane(measures)
        width_mm = None if plane is None or plane.pixel_mm is None else scan.cols * plane.pixel_mm[1]
        located = [] if width_mm is None else located_steps(geometry, positions, width_mm)
        spacing = resolve(measures, scan.shape, entry.device, located, is_stack=is_stack)
        slices = SlicePlaces() if is_stack else _slices(geometry, scan, order, width_mm)
        results.append(ScanLayout(geometry, spacing, order, slices))
        if not spacing.assumed and "slice_step_from_square_scan" not in spacing.flags:
            break
    return next((result for result in reversed(results) if not result.spacing.assumed), results[0])


def _measures(scan: ScanFacts, entry: Entry) -> Iterator[Sequence[PixelMeasures]]:
    """What file and manifest say, in search order; then with the manifest's default in place of the step,
    of rows and columns, and of all: the first by which the spacing is known leaves the file its own words.
    """
    maker = scan.manufacturer or entry.manufacturer
    columns = PixelMeasures(MANIFEST, entry.pixel_mm, entry.slice_mm, unreadable=entry.unreadable_spacing)
    manifests = [columns]
    if entry.default_mm is not None:
        step_mm, *plane_mm = entry.default_mm
        own_mm = with_own((plane_mm[0], plane_mm[1]), scan.measures)
        step, plane = replace(columns, thickness_mm=step_mm), replace(columns, pixel_mm=own_mm)
        manifests += [step, plane, replace(step, pixel_mm=own_mm)]
    for manifest in manifests:
        by_trust = sorted((*scan.measures, manifest), key=lambda measures: measures.source == ANGLE)
        yield without_placeholders(by_trust, maker)


def _slices(
    geometry: Geometry, scan: ScanFacts, order: tuple[int, ...], width_mm: float | None
) -> SlicePlaces:
    ordered = frame_order.in_order(scan.locations, order) if order else scan.locations
    return slice_places.places_of(geometry.kind, ordered, scan.frames, width_mm)


def _with_gaps(geometry: Geometry, positions: Positions | None, gap: str) -> Geometry:
    """Uneven, where locations do not tell, but positions or numbers say that frames are lost or twice."""
    if geometry.kind != "unknown":
        return geometry
    if positions is not None:
        gap = "" if positions.is_even else "ImagePositionPatient moves on by unequal steps"
    return replace(geometry, kind="uneven", note=gap) if gap else geometry


def _as_named(geometry: Geometry, scan: ScanFacts) -> Geometry:
    """As the file names its pattern, where locations tell none, or there is only one frame."""
    is_told = geometry.kind != "unknown" and (scan.frames > 1 or scan.pattern == "raster")
    return geometry if is_told or not scan.pattern else replace(geometry, kind=scan.pattern, note=NAMED)


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
    patterns = {
        "mixed": "in more than one pattern, such as lines and circles",
        "line": "on one line, or there is only one",
    }
    pattern = patterns.get(kind, f"as {kind}")
    note = f" ({geometry.note})" if geometry.note else ""
    raise Refused(f"geometry_{kind}", f"frames lie {pattern}{note}, want an evenly spaced raster")
