"""Zeiss Cirrus .img: the voxels of a cube and nothing else; its size and its eye stand in its name.

Layout as LibOctData and retimat read it: B-scans turned by 180 degrees, the last one first.
"""

import re
from functools import partial

import numpy as np

from octshard.prep.dicom import signatures
from octshard.prep.readers.array_scan import NOWHERE
from octshard.prep.readers.frame_scan import FrameScan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import Concatenation, ScanFacts
from octshard.storage.checksum import Buffer

# PERSON_Macular Cube 512x128_DATE_TIME_OD_SERIAL_cube_z.img
NAME = re.compile(r"[ _](\d{2,4})x(\d{2,4})_.*_(OD|OS)_.*_cube_(?:z|raw)\.img\Z", re.IGNORECASE)
ROWS = 1024  # of every cube
EYES = {"OD": "R", "OS": "L"}


def is_one(file: ScanBytes) -> bool:
    """True for the name of a cube, unless its bytes look like something else: they bear no mark."""
    size = _size(file.name)
    if size is None:
        return False
    cols, frames, _ = size
    return len(file.data) == frames * ROWS * cols or not signatures.name_of(file.data)


def open_scan(file: ScanBytes) -> FrameScan:
    """Refused `truncated` or `unreadable` if there are fewer or more bytes than the name says."""
    cols, frames, eye = _size(file.name) or (0, 0, "")
    data, nbytes = file.data, frames * ROWS * cols
    if len(data) != nbytes:
        sizes = f"{len(data)} bytes, want {nbytes} of {frames} x {ROWS} x {cols} voxels by its name"
        raise Refused("truncated" if len(data) < nbytes else "unreadable", sizes)
    if nbytes and not any(memoryview(data)[-ROWS * cols :]):
        raise Refused("truncated", f"only zeros in the last {ROWS * cols} bytes, a B-scan")
    facts = ScanFacts(
        sop_instance_uid="",
        transfer_syntax="",
        manufacturer="Zeiss",
        model="Cirrus",
        eye=eye,
        frames=frames,
        rows=ROWS,
        cols=cols,
        bits=8,
        measures=(),
        locations=(),
        placement=NOWHERE,
        concatenation=Concatenation(),
        pattern="raster",
    )
    return FrameScan(facts, partial(_frame, data, facts))


def _size(name: str) -> tuple[int, int, str] | None:
    """A-scans, B-scans and the eye in the name of a cube."""
    match = NAME.search(name.rpartition("/")[2])
    return None if match is None else (int(match[1]), int(match[2]), EYES[match[3].upper()])


def _frame(data: Buffer, facts: ScanFacts, index: int) -> np.ndarray:
    nbytes = facts.rows * facts.cols
    flat = np.frombuffer(data, np.uint8, nbytes, (facts.frames - 1 - index) * nbytes)
    return flat.reshape(facts.rows, facts.cols)[::-1, ::-1]
