"""Heidelberg .vol: the raw export of Spectralis; a header, the localizer, then B-scans of float reflectance.

Layout by the vendor's description of its "raw" export, as heyexReader and eyepy publish it; little endian.
"""

import struct
from functools import partial
from typing import NamedTuple

import numpy as np

from octshard.dataset.eyes import EYES
from octshard.prep.readers import byte_fields
from octshard.prep.readers.array_scan import NOWHERE, file_measures
from octshard.prep.readers.circle_path import circle
from octshard.prep.readers.frame_scan import FrameScan
from octshard.prep.readers.reflectance import ReflectanceLevels, levels_of
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import Concatenation, ScanFacts
from octshard.storage.checksum import Buffer

MAGIC = b"HSF-OCT-"
HEADER_BYTES = 2048
LEAST_FRAME_HEADER, MOST_FRAME_HEADER = 256, 2**24  # bytes: layers and padding follow the first 256
# version; SizeX, NumBScans, SizeZ; ScaleX, Distance, ScaleZ; SizeXSlo, SizeYSlo; ScaleXSlo, ScaleYSlo;
# FieldSizeSlo; ScanFocus; ScanPosition; ExamTime; ScanPattern, BScanHdrSize
HEADER = struct.Struct("<12s 3i 3d 2i 2d i d 4s q 2i")
FRAME_HEADER = struct.Struct("<12s i 4d")  # version; BScanHdrSize; StartX, StartY, EndX, EndY
PATTERNS = {1: "line", 2: "circle", 3: "raster", 4: "raster", 5: "radial"}  # ScanPattern; others: not known
PLACE_MM = 0.001  # places are told in mm; frame locations count in pixels, which may be of any size
FARTHEST_MM = 1000.0  # greater numbers are no places


def is_one(file: ScanBytes) -> bool:
    """True if the version of its header says so."""
    return bytes(file.data[: len(MAGIC)]) == MAGIC


class _Header(NamedTuple):
    """What is used of the header. Sizes in pixels, scales in mm."""

    cols: int
    frames: int
    rows: int
    scale_x: float
    distance: float
    scale_z: float
    slo_cols: int
    slo_rows: int
    eye: str
    pattern: str
    frame_header_bytes: int

    @property
    def starts(self) -> range:
        """The bytes where B-scans begin, each with a header; none of a scan without pixels."""
        first = HEADER_BYTES + self.slo_cols * self.slo_rows
        step = self.frame_header_bytes + 4 * self.rows * self.cols
        frames = self.frames if min(self.rows, self.cols) > 0 else 0
        return range(first, first + frames * step, step)


def open_scan(file: ScanBytes) -> FrameScan:
    """Reads the header, and that of every B-scan; Refused `truncated` or `unreadable`."""
    data, header, levels = file.data, _read_header(file.data), levels_of(file)
    locations = tuple(_place(data, header, index) for index in range(len(header.starts)))
    facts = ScanFacts(
        sop_instance_uid="",
        transfer_syntax="",
        manufacturer="Heidelberg Engineering",
        model="Spectralis",
        eye=header.eye,
        frames=header.frames,
        rows=header.rows,
        cols=header.cols,
        bits=32,
        measures=(file_measures([mm or None for mm in (header.distance, header.scale_z, header.scale_x)]),),
        locations=locations,
        placement=NOWHERE,
        concatenation=Concatenation(),
        pattern=header.pattern,
        display=levels.display,
    )
    return FrameScan(facts, partial(_frame, data, header, levels), levels)


def _read_header(data: Buffer) -> _Header:
    byte_fields.check_inside(data, 0, HEADER_BYTES, "the header")
    fields = HEADER.unpack_from(data)
    eye, pattern = EYES.get(byte_fields.text(fields[13]).lower(), ""), PATTERNS.get(fields[15], "")
    header = _Header._make((*fields[1:9], eye, pattern, fields[16]))
    for name in ("cols", "frames", "rows", "slo_cols", "slo_rows"):
        if getattr(header, name) < 0:
            raise Refused("unreadable", f"the header says {getattr(header, name)} {name}, want 0 or more")
    if not LEAST_FRAME_HEADER <= header.frame_header_bytes <= MOST_FRAME_HEADER:
        wanted = f"want {LEAST_FRAME_HEADER} to {MOST_FRAME_HEADER} bytes"
        raise Refused("unreadable", f"BScanHdrSize is {header.frame_header_bytes}, {wanted}")
    return header


def _place(data: Buffer, header: _Header, index: int) -> np.ndarray:
    """The path of a B-scan as (n_points, 2) of (row, col); empty if its ends are no places.

    Refused `truncated` if the file ends before the B-scan does, or holds zeros where its header should be.
    """
    start, name = header.starts[index], f"B-scan {index + 1} of {header.frames}"
    byte_fields.check_inside(data, start, header.starts.step, name)
    own_bytes, start_x, start_y, end_x, end_y = FRAME_HEADER.unpack_from(data, start)[1:]
    if own_bytes != header.frame_header_bytes:
        if not any(data[start : start + LEAST_FRAME_HEADER]):
            raise Refused("truncated", f"{name}: only zeros at byte {start}, where its header begins")
        sizes = f"{own_bytes} bytes, {header.frame_header_bytes} by the header of the file"
        raise Refused("unreadable", f"{name}: its header has {sizes}")
    ends = np.array([[start_y, start_x], [end_y, end_x]])
    if not (np.abs(ends) <= FARTHEST_MM).all():  # nor is nan
        return np.empty((0, 2))
    ends /= PLACE_MM
    # a circle has its centre where lines have their end
    return circle(*ends) if header.pattern == "circle" else ends


def _frame(data: Buffer, header: _Header, levels: ReflectanceLevels, index: int) -> np.ndarray:
    start = header.starts[index] + header.frame_header_bytes
    flat = np.frombuffer(data, "<f4", header.rows * header.cols, start)
    return levels.of(flat.reshape(header.rows, header.cols), index)
