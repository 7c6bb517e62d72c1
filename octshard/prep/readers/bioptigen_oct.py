"""Bioptigen .OCT: a header of named fields, then frames of named fields, each list closed by an empty name.

Layout as Bioptigen's own MATLAB reader (extractOctFunction) and OCT-Converter take it apart; little endian.
"""

import struct
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from octshard.prep.readers import byte_fields
from octshard.prep.readers.array_scan import NOWHERE, file_measures
from octshard.prep.readers.frame_scan import FrameScan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import Concatenation, PixelMeasures, ScanFacts

SIZE, NUMBER, LENGTH = struct.Struct("<I"), struct.Struct("<I"), struct.Struct("<d")
FIRST, MARK = 6, SIZE.pack(11) + b"FRAMEHEADER"  # behind a magic number and a version
LONGEST_NAME = 64
PATTERNS = {0: "line", 1: "raster", 2: "circle", 3: "radial", 6: "mixed"}  # SCANTYPE
Fields = Mapping[str, memoryview]


def is_one(file: ScanBytes) -> bool:
    """True if its first field is FRAMEHEADER."""
    return bytes(file.data[FIRST : FIRST + len(MARK)]) == MARK


def open_scan(file: ScanBytes) -> FrameScan:
    """Reads the fields; Refused `truncated`, `frame_count`, `several_volumes` or `unreadable`."""
    view = memoryview(file.data)
    header, at = _fields(view, FIRST + len(MARK) + SIZE.size, "the header")
    count, lines, rows = (_number(header, name) for name in ("FRAMECOUNT", "LINECOUNT", "LINELENGTH"))
    _check_is_one_volume(header, count)
    frames: list[memoryview] = []
    while len(frames) < count:
        if at == len(view):
            raise Refused("frame_count", f"{count} frames declared, {len(frames)} stored")
        name = f"frame {len(frames) + 1} of {count}"
        fields, at = _fields(view, at, name)
        frames.append(_samples(fields, rows, lines, name))
    facts = ScanFacts(
        sop_instance_uid="",
        transfer_syntax="",
        manufacturer="Bioptigen",
        model="",
        eye="",
        frames=count,
        rows=rows,
        cols=lines,
        bits=16,
        measures=_measures(header, (count, rows, lines)),
        locations=(),
        placement=NOWHERE,
        concatenation=Concatenation(),
        pattern=PATTERNS.get(_number(header, "SCANTYPE", -1), ""),
    )
    return FrameScan(facts, partial(_frame, frames, facts))


def _fields(view: memoryview, at: int, name: str) -> tuple[Fields, int]:
    """The fields from byte `at`, and where what follows them begins."""
    fields: dict[str, memoryview] = {}
    while True:
        (letters,) = byte_fields.unpack(view, SIZE, at, name)
        if not letters:
            return fields, at + SIZE.size
        if letters > LONGEST_NAME:
            raise Refused("unreadable", f"{name}: a field at byte {at} has a name of {letters} letters")
        start = at + SIZE.size + letters + SIZE.size
        byte_fields.check_inside(view, at, start - at, name)
        key = bytes(view[at + SIZE.size : start - SIZE.size]).decode("latin-1")
        (nbytes,) = SIZE.unpack_from(view, start - SIZE.size)
        if key == "FRAMEDATA":  # it opens the list of a frame, and its size is that of the list
            nbytes = 0
        byte_fields.check_inside(view, start, nbytes, f"{name}: {key if key.isidentifier() else 'a field'}")
        fields.setdefault(key, view[start : start + nbytes])
        at = start + nbytes


def _number(fields: Fields, name: str, otherwise: int | None = None) -> int:
    """A whole number; without `otherwise` Refused if it is missing."""
    if name not in fields:
        if otherwise is None:
            raise Refused("unreadable", f"{name} is missing")
        return otherwise
    return int(byte_fields.unpack_part(fields[name], NUMBER, 0, name)[0])


def _check_is_one_volume(header: Fields, count: int) -> None:
    """Several frames at each place, or several volumes, are not told apart: the file does not say which."""
    scans, repeats = _number(header, "SCANS", 1), _number(header, "FRAMES", 1)
    if scans > 1 and repeats > 1:
        raise Refused("several_volumes", f"{repeats} FRAMES of {scans} SCANS, want each place once")
    if 0 < _number(header, "FRAMESPERVOLUME", 0) < count:
        volume = _number(header, "FRAMESPERVOLUME")
        raise Refused("several_volumes", f"{count} frames, {volume} of them in a volume, want one volume")


def _samples(fields: Fields, rows: int, lines: int, name: str) -> memoryview:
    """The bytes of a frame's pixels."""
    if "FRAMESAMPLES" not in fields:
        raise Refused("unreadable", f"{name} has no FRAMESAMPLES")
    own = _number(fields, "FRAMELINES", 0) or lines  # early versions say 0, or nothing
    samples = fields["FRAMESAMPLES"]
    if own != lines or len(samples) != 2 * rows * lines:
        shape = f"{own} lines and {len(samples)} bytes"
        raise Refused("unreadable", f"{name}: {shape}, want {lines} lines of {rows} samples of 2 bytes")
    return samples


def _measures(header: Fields, shape: tuple[int, int, int]) -> tuple[PixelMeasures, ...]:
    """The header tells the size of the scan in mm: along its slow axis, in depth, along a B-scan."""
    names = ("ELSCANLENGTH", "SCANDEPTH", "AZSCANLENGTH")
    if min(shape) < 1:
        return ()
    lengths = [byte_fields.unpack_part(header[n], LENGTH, 0, n)[0] if n in header else 0 for n in names]
    return (file_measures([mm / n or None for mm, n in zip(lengths, shape, strict=True)]),)


def _frame(frames: Sequence[memoryview], facts: ScanFacts, index: int) -> np.ndarray:
    """A-scans stand one behind the other."""
    return np.frombuffer(frames[index], "<u2").reshape(facts.cols, facts.rows).T
