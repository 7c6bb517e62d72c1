"""Pictures of refused files: a frame of each, decoded from the source where that can be reached.

Shards do not hold these files. They are few, read once, and decoded in a child process, so that no file can
end the page: what cannot be drawn has no picture.
"""

import logging
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from octshard import pool
from octshard.config.prep import PrepConfig
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError
from octshard.prep.build import inputs
from octshard.prep.build.source_versions import Origin
from octshard.prep.convert import volumes
from octshard.prep.convert.source_file import Companions
from octshard.prep.readers import recognise
from octshard.prep.readers.dicom import DicomScan
from octshard.prep.readers.scan import Scan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.release.aireadi import read_release
from octshard.prep.release.entry import Entry
from octshard.prep.release.source import Source
from octshard.prep.report import thumbnails

logger = logging.getLogger(__name__)

MOST_BYTES = 500_000_000  # of all files read
MOST_MEMORY = 4_000_000_000
MOST_VOXELS = 2_000_000_000
PATIENCE_S = 60.0  # for one file


@dataclass(frozen=True, eq=False)
class Frame:
    """A decoded frame: uint8, and its physical width / height; square pixels where no spacing is known."""

    image_HW: np.ndarray
    aspect: float


def draw(rows: Sequence[SampleRow], place: Origin) -> Mapping[str, Frame] | None:
    """Source -> frame of the rows that have one, of MOST_BYTES at most; None without that release."""
    if not rows:
        return None
    try:
        release = read_release(place.src, place.manifest)
        source = inputs.open_source(PrepConfig(from_zip=place.from_zip), release)
    except (OctshardError, OSError) as error:
        logger.info("no pictures of refused files: %s", error)
        return None
    sources = _within(rows, MOST_BYTES)
    entries = [entry for entry in release.entries if entry.source in sources]
    frames: dict[str, Frame] = {}
    spacings = {row.source: row.spacing_in for row in rows}
    try:
        with pool.process_pool(1, _limit_memory) as child:
            for entry in entries:
                image_HW = child.submit(_frame, source, entry).result(PATIENCE_S)
                if image_HW is not None:
                    _, dy, dx = spacings[entry.source] or (1.0, 1.0, 1.0)
                    high, wide = image_HW.shape
                    small_HW = thumbnails.small(image_HW)
                    frames[entry.source] = Frame(small_HW, wide * dx / (high * dy))
    except (OctshardError, OSError, TimeoutError) as error:  # the child is gone, and with it the others' turn
        logger.info("%s: no more pictures of refused files: %s", place.src, error)
    return frames


def _within(rows: Sequence[SampleRow], most: int) -> set[str]:
    """Sources of the first files that have `most` bytes together."""
    sources, total = set(), 0
    for row in rows:
        total += row.source_bytes or 0
        if row.source_bytes and total <= most:
            sources.add(row.source)
    return sources


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))


def _frame(source: Source, entry: Entry) -> np.ndarray | None:
    """uint8 (H, W) of the frame in the middle of those that are stored; None where there is none."""
    try:
        beside = Companions(entry, source).read
        file = ScanBytes(source.read(entry), entry.path, entry.axes, beside, entry.part_names)
        scan = volumes.selected(_trusted(recognise.open_scan(file)), entry.path)
        scan.check(MOST_VOXELS)
        (frame_HW,) = scan.frames(order=(scan.facts.frames // 2,))
    except (Refused, OctshardError, OSError, MemoryError):
        return None
    return frame_HW if frame_HW.dtype == np.uint8 else thumbnails.stretched(frame_HW)


def _trusted(scan: Scan) -> Scan:
    """With as many frames as its pixels hold, where that can be counted and the header says otherwise."""
    if not isinstance(scan, DicomScan) or not scan.facts.declared.stored_frames:
        return scan
    declared = replace(scan.facts.declared, stored_frames=None, surplus=0)
    frames = scan.facts.declared.stored_frames
    return DicomScan(scan.data, replace(scan.facts, frames=frames, declared=declared))
