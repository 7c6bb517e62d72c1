"""The volumes of a file: frames of one eye, one stack and one time each, and the one that a path asks for.

A frame says by FrameLaterality, StackID and TemporalPositionIndex which volume it is of. Volumes are numbered
from 1 in the order in which their first frames are filed. Pure but for `selected`, which only looks on.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from octshard.prep.convert.geometry import classify
from octshard.prep.dicom import frame_labels, header
from octshard.prep.dicom.header import Header
from octshard.prep.readers.scan import Scan
from octshard.prep.readers.volume_scan import VolumeScan
from octshard.prep.refusals import Refused
from octshard.prep.release import scan_path
from octshard.prep.scan_facts import FrameLabel, ScanFacts
from octshard.storage.checksum import Buffer

PARALLEL = ("raster", "unknown", "uneven")  # geometries that frames of one stack, or of several, may have
NAMES = FrameLabel("FrameLaterality", "StackID", "TemporalPositionIndex")
LISTED = 8  # volumes that a message names


class FileVolume(NamedTuple):
    """Which frames of a file are one volume, and what tells them from the others; empty: nothing."""

    frames: tuple[int, ...]
    label: FrameLabel

    @property
    def text(self) -> str:
        """For a message; no StackID, which may be any text."""
        eye = f"{self.label.eye}, " if self.label.eye else ""
        return f"{eye}{len(self.frames)} B-scans"


def volumes_of(scan: ScanFacts) -> tuple[FileVolume, ...]:
    """The volumes of a file that holds several; () if it is one, or if its frames do not tell which is which.

    Frames that each have a label of their own are no volumes.
    """
    if len(scan.placement.labels) < scan.frames:  # also of a file that declares more than it can hold
        return ()
    volumes = [FileVolume(tuple(range(scan.frames)), FrameLabel())]
    for name in FrameLabel._fields:
        parts = [_split(scan, volume, name) for volume in volumes]
        if not all(parts):
            return ()
        volumes = [part for group in parts for part in group]
    is_split = len(volumes) > 1 and any(len(volume.frames) > 1 for volume in volumes)
    return tuple(sorted(volumes, key=lambda volume: volume.frames[0])) if is_split else ()


def selected(scan: Scan, path: str) -> Scan:
    """The volume of a file that its path asks for; the file's scan if it asks for none.

    Refused `unreadable` if there is no such volume.
    """
    number = scan_path.volume_of(path)
    if number is None:
        return scan
    facts = scan.facts
    volumes = volumes_of(facts)
    if not isinstance(facts, Header) or not 1 <= number <= len(volumes):
        scan.check(sys.maxsize)  # what is wrong with the file comes first
        held = listed(volumes) if volumes else "one volume, or frames that do not say which they are of"
        raise Refused("unreadable", f"no {scan_path.name_of_volume(number)} in the file; it holds {held}")
    index = volumes[number - 1].frames
    return VolumeScan(scan, facts.of_frames(index), index)


def names_in(data: Buffer) -> list[tuple[str, str]]:
    """What a path calls each volume of a DICOM file that holds several, and its eye (L, R or empty)."""
    volumes = volumes_of(header.parse(data)) if frame_labels.may_differ(data) else ()
    return [(scan_path.name_of_volume(i), volume.label.eye) for i, volume in enumerate(volumes, start=1)]


def check_is_one(scan: ScanFacts, kind: str) -> None:
    """Refused `several_volumes` for several stacks or times. kind: of the frames' geometry.

    Some exporters count frames in the wrong place: a stack, or a time, for each frame is none if the frames
    have different places. Other patterns have stacks of their own, and a refusal of their own.
    """
    placement = scan.placement
    for name, values in ((NAMES.stack, placement.stacks), (NAMES.time, placement.times)):
        if len(values) > 1 and kind in PARALLEL and not _counts(scan, range(scan.frames), len(values), kind):
            raise several(scan, f"{len(values)} values of {name}, want one volume in a file")


def check_is_of_one_eye(scan: ScanFacts) -> None:
    """Refused `several_volumes`."""
    if {"L", "R"} <= set(scan.placement.eyes):
        raise several(scan, f"frames of both eyes ({NAMES.eye}), want those of one")


def several(scan: ScanFacts, detail: str) -> Refused:
    """`several_volumes`, with the rows to write, where the frames tell which volume they are of."""
    volumes = volumes_of(scan)
    if not volumes:
        return Refused("several_volumes", detail)
    advice = f"want a row for each, its filepath ending in #{scan_path.name_of_volume(1)} and so on"
    return Refused("several_volumes", f"{detail.partition(', want')[0]}: {listed(volumes)}; {advice}")


def listed(volumes: Sequence[FileVolume]) -> str:
    """For a message."""
    names = [f"{scan_path.name_of_volume(i)} ({v.text})" for i, v in enumerate(volumes[:LISTED], start=1)]
    more = f" and {len(volumes) - LISTED} more" if len(volumes) > LISTED else ""
    return ", ".join(names) + more


def _split(scan: ScanFacts, volume: FileVolume, name: str) -> list[FileVolume]:
    """By one label; [] if some frames do not have it, where others tell several volumes apart by it."""
    labels = scan.placement.labels
    frames: dict[str, list[int]] = {}
    for i in volume.frames:
        frames.setdefault(getattr(labels[i], name), []).append(i)
    values = set(frames) - {""}
    if not _tells_apart(scan, volume, name, values):
        return [volume]
    if values != set(frames) or (name == "eye" and not values <= {"L", "R"}):
        return []
    return [
        FileVolume(tuple(index), volume.label._replace(**{name: value})) for value, index in frames.items()
    ]


def _tells_apart(scan: ScanFacts, volume: FileVolume, name: str, values: set[str]) -> bool:
    if name == "eye" or len(values) < 2:
        return {"L", "R"} <= values
    kind = classify(
        [scan.locations[i] for i in volume.frames if i < len(scan.locations)], len(volume.frames)
    ).kind
    return not _counts(scan, volume.frames, len(values), kind)


def _counts(scan: ScanFacts, index: Sequence[int], values: int, kind: str) -> bool:
    """True if a label counts these frames: each has a value of its own, and a place of its own."""
    number_F = scan.placement.numbers_F
    places = len(np.unique(number_F[[i for i in index if i < len(number_F)]]))
    return values >= len(index) and (kind not in ("unknown", "uneven") or places >= len(index))
