"""What the row of a file says, stage by stage: its header, its layout, its voxels; and the flags. Pure.

Fields are named like the columns of `SampleRow` that they fill.
"""

from collections.abc import Sequence
from typing import NamedTuple

from octshard.imaging.volume import Spacing
from octshard.prep.convert import private_path
from octshard.prep.convert.geometry import Geometry
from octshard.prep.convert.layout import ScanLayout
from octshard.prep.convert.quality import Quality
from octshard.prep.dicom.attributes import UID
from octshard.prep.release.entry import Entry
from octshard.prep.scan_facts import ScanFacts

NAMED = 3  # images that a detail names


class HeaderFacts(NamedTuple):
    """Columns that a header fills."""

    sop_instance_uid: str
    manufacturer: str
    model: str
    eye: str
    transfer_syntax: str
    frames: int
    rows: int
    cols: int
    bits: int


class LayoutFacts(NamedTuple):
    """Columns that geometry and spacing fill. flags: of header, geometry and spacing, in this order.

    detail: the values behind the flags.
    """

    geometry: str
    spacing_in: Spacing
    spacing_source: str
    assumed_spacing: int
    flags: tuple[str, ...]
    detail: str = ""
    slice_axis: str = ""
    slice_places: str = ""


class VoxelFacts(NamedTuple):
    """Columns that decoded frames fill. flags: all so far, sorted."""

    blank_frames: int
    no_retina_frames: int
    decoded_level: int
    flags: tuple[str, ...]


def of_header(scan: ScanFacts, entry: Entry) -> HeaderFacts:
    """What the row takes from the file; names come from it only where the manifest is silent."""
    return HeaderFacts(
        sop_instance_uid=entry.sop_instance_uid or ("" if entry.source_id else scan.sop_instance_uid),
        manufacturer=entry.manufacturer or scan.manufacturer,
        model=entry.model or scan.model,
        eye=entry.eye or scan.eye or entry.eye_in_name,
        transfer_syntax=_syntax(scan.transfer_syntax, entry),
        frames=scan.frames,
        rows=scan.rows,
        cols=scan.cols,
        bits=scan.bits,
    )


def _syntax(text: str, entry: Entry) -> str:
    """A UID; any other text, or where paths are private a UID that is not DICOM's own, may name a person."""
    form = private_path.DICOM_UID if entry.source_id else UID
    return text if form.fullmatch(text) else ""


def of_layout(layout: ScanLayout, scan: ScanFacts, entry: Entry) -> LayoutFacts:
    """Geometry and spacing, and the flags that header, geometry and spacing raise."""
    geometry, spacing = layout.geometry, layout.spacing
    order_flags = ["frames_sorted"] if layout.order else []
    order_flags += ["slices_are_no_stack"] if layout.slices.axis else []
    return LayoutFacts(
        geometry=geometry.kind,
        spacing_in=spacing.spacing_mm,
        spacing_source=spacing.source,
        assumed_spacing=int(spacing.assumed),
        flags=(
            *header_flags(scan, entry),
            *geometry_flags(geometry),
            *order_flags,
            *spacing.flags,
        ),
        detail="; ".join([*spacing.notes, *_left_out(scan.left_out, entry), *_lost(scan)]),
        slice_axis=layout.slices.axis,
        slice_places=layout.slices.text,
    )


def _left_out(names: Sequence[str], entry: Entry) -> list[str]:
    if names and entry.source_id:
        return [f"images left out: {len(names)}"]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"images left out: {', '.join(names[:NAMED])}{more}"] if names else []


def _lost(scan: ScanFacts) -> list[str]:
    lost = scan.lost_frames
    return [f"{scan.frames + lost} B-scans declared, {scan.frames} stored"] if lost else []


def of_voxels(quality: Quality, level: int, flags: tuple[str, ...]) -> VoxelFacts:
    """Quality and the resolution level of the frames. flags: those that the row has already."""
    flags = (*flags, *quality.flags, *(["decoded_fast"] if level else []))
    return VoxelFacts(quality.blank_frames, quality.no_retina_frames, level, tuple(sorted(flags)))


def header_flags(scan: ScanFacts, entry: Entry) -> list[str]:
    """Where the file, its name and the manifest disagree; the manifest is believed."""
    flags = []
    if scan.eye and entry.eye and scan.eye != entry.eye:
        flags.append("eye_differs_from_manifest")
    if scan.eye and set(scan.placement.eyes) == {"LR".replace(scan.eye, "")}:
        flags.append("eye_differs_by_frame")
    if entry.eye_in_name and entry.eye_in_name != (entry.eye or scan.eye or entry.eye_in_name):
        flags.append("eye_differs_from_name")
    uids = {scan.sop_instance_uid, entry.sop_instance_uid} - {""}  # most formats have none
    if len(uids) > 1 and not entry.source_id:  # else it is a pseudonym
        flags.append("uid_differs_from_manifest")
    listed = (entry.frames, entry.rows, entry.cols)
    if any(n is not None and n != size for n, size in zip(listed, scan.shape, strict=True)):
        flags.append("shape_differs_from_manifest")
    if scan.size_in_name not in (None, (scan.frames, scan.cols)):
        flags.append("shape_differs_from_name")
    if scan.left_out:
        flags.append("images_left_out")
    if scan.lost_frames:
        flags.append("frames_lost")
    return flags


def geometry_flags(geometry: Geometry) -> list[str]:
    """What is odd about where the frames lie."""
    holds = {
        "geometry_unknown": geometry.kind == "unknown",
        "frame_locations_missing": geometry.kind != "unknown" and geometry.missing > 0 and not geometry.note,
        "slow_axis_flipped": geometry.flipped,
        "fast_axis_reversed": geometry.fast_axis_reversed,
        "frames_mirrored": bool(geometry.mirrored),
    }
    return [flag for flag, is_so in holds.items() if is_so]
