"""A scan in several DICOM files: parts of a concatenation, or a file for each B-scan."""

import dataclasses
from typing import Any

from octshard.prep.dicom import writer
from tests.support.changed_dicom import changed

UID = "2.25.99"


def concatenation(scan: writer.Scan, *counts: int, **values: Any) -> list[bytes]:
    """Parts of so many frames. values: of each file, besides those of a concatenation."""
    parts, start = [], 0
    for number, count in enumerate(counts, start=1):
        frames = slice(start, start + count)
        told = {
            "SOPInstanceUID": f"{scan.sop_instance_uid}.{number}",
            "ConcatenationUID": UID,
            "InConcatenationNumber": number,
            "InConcatenationTotalNumber": len(counts),
            "ConcatenationFrameOffsetNumber": start,
        }
        parts.append(_part(scan, frames, {**told, **values}))
        start += count
    return parts


def single_frames(scan: writer.Scan, **values: Any) -> list[bytes]:
    """A file for each frame, numbered by InstanceNumber, each the first of its stack."""
    frames = range(len(scan.voxels_DHW))
    told = [{"SOPInstanceUID": f"{scan.sop_instance_uid}.{i}", "InstanceNumber": i + 1} for i in frames]
    return [_part(scan, slice(i, i + 1), {**told[i], **values}, number=1) for i in frames]


def _part(scan: writer.Scan, frames: slice, values: dict[str, Any], number: int = 0) -> bytes:
    part = dataclasses.replace(
        scan, voxels_DHW=scan.voxels_DHW[frames], locations=scan.locations[frames] if scan.locations else ()
    )

    def place(item: Any, i: int) -> None:
        content = item.FrameContentSequence[0]
        content.InStackPositionNumber = number or frames.start + i + 1
        content.DimensionIndexValues = [1, content.InStackPositionNumber]

    series = {"SeriesInstanceUID": f"{UID}.1", "FrameOfReferenceUID": f"{UID}.2"}
    return changed(part, place, **{**series, **values})
