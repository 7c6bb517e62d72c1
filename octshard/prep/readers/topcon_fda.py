"""Topcon .fda and .fds: named chunks, of which one holds the B-scans, as JPEG 2000 or as plain numbers.

Layout as uocte and OCT-Converter have found it out and publish it; little endian.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import numpy as np

from octshard.prep.dicom import codestream, decode
from octshard.prep.readers import byte_fields
from octshard.prep.readers.array_scan import NOWHERE, file_measures
from octshard.prep.readers.frame_scan import FrameScan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import Concatenation, PixelMeasures, ScanFacts
from octshard.storage.checksum import Buffer

MAGIC, FIRST = b"FOCT", 15  # where chunks begin
PACKED = "@IMG_JPEG"
PACKED_HEADER = struct.Struct("<B 8x 3I 4x")  # mode; width, height, B-scans
PLAIN = {  # mode; width, height, bits, B-scans; format, bytes
    "@IMG_SCAN_03": struct.Struct("<B 4I B I"),
    "@IMG_SCAN_02": struct.Struct("<B 4I 8x B I"),
}
SIZES = {
    "@PARAM_SCAN_04": 12,
    "@PARAM_SCAN_02": 21,
}  # chunk -> where width, height (mm), depth step (um) begin
SIZE, THREE = struct.Struct("<I"), struct.Struct("<3d")
LISTED = 12  # chunks that a message names
EYES = ("@CAPTURE_INFO_02", "@CAPTURE_INFO")
MODELS = ("@HW_INFO_03", "@HW_INFO_02", "@HW_INFO_01")
MODEL_BYTES = 16
# of modes: line, circle, 3D, radial, cross, web, 3D (V), raster, raster (V), two of circles, 5-line cross
PATTERNS = {
    0: "line", 1: "circle", 2: "raster", 3: "radial", 4: "mixed", 5: "mixed", 6: "raster", 7: "raster",
    8: "raster", 9: "circle", 10: "circle", 11: "mixed",
}  # fmt: skip


Chunks = Mapping[str, Sequence[memoryview]]


class _Stack(NamedTuple):
    """The chunk of B-scans: how they were scanned, their size, and the bytes of each."""

    mode: int
    cols: int
    rows: int
    bits: int
    frames: Sequence[memoryview]
    is_packed: bool


def is_one(file: ScanBytes) -> bool:
    """True if it begins with FOCT."""
    return bytes(file.data[: len(MAGIC)]) == MAGIC


def open_scan(file: ScanBytes) -> FrameScan:
    """Reads the headers of chunks; Refused `truncated`, `no_pixel_data`, `frame_count` or `unreadable`."""
    chunks = _chunks(file.data)
    stack = _stack(chunks)
    facts = ScanFacts(
        sop_instance_uid="",
        transfer_syntax="",
        manufacturer="Topcon",
        model=byte_fields.text(bytes(_first(chunks, MODELS)[:MODEL_BYTES])),
        eye={b"\0": "R", b"\1": "L"}.get(bytes(_first(chunks, EYES)[:1]), ""),
        frames=len(stack.frames),
        rows=stack.rows,
        cols=stack.cols,
        bits=stack.bits,
        measures=_measures(chunks, stack),
        locations=(),
        placement=NOWHERE,
        concatenation=Concatenation(),
        pattern=PATTERNS.get(stack.mode, ""),
    )
    return FrameScan(facts, partial(_frame, stack))


def _chunks(data: Buffer) -> Chunks:
    """The contents of the chunks of each name; a name of no letters ends them."""
    chunks: dict[str, list[memoryview]] = {}
    view, at = memoryview(data), FIRST
    while at < len(data) and (letters := data[at]):
        start = at + 1 + letters + 4
        byte_fields.check_inside(data, at, start - at, "the name of a chunk")
        name = bytes(data[at + 1 : start - 4]).decode("latin-1")
        size = int.from_bytes(data[start - 4 : start], "little")
        byte_fields.check_inside(data, start, size, f"chunk {name!r}", repr(name))
        chunks.setdefault(name, []).append(view[start : start + size])
        at = start + size
    if len(data) - at > 1 and not any(view[at:]):
        raise Refused("truncated", f"only zeros from byte {at} to the end at {len(data)}")
    return chunks


def _first(chunks: Chunks, names: Iterable[str]) -> memoryview:
    """The content of the first of these chunks that is there; empty if there is none."""
    return next((chunks[name][0] for name in names if name in chunks), memoryview(b""))


def _stack(chunks: Chunks) -> _Stack:
    name = next((name for name in (PACKED, *PLAIN) if name in chunks), "")
    if not name:
        listed = ", ".join(sorted(chunks)[:LISTED])
        detail = f"no chunk {PACKED} or {' or '.join(PLAIN)}; there are: {listed or 'none'}"
        raise Refused("no_pixel_data", detail, (listed,))
    if len(chunks[name]) > 1:
        raise Refused("several_volumes", f"{len(chunks[name])} chunks {name}, want one volume in a file")
    content = chunks[name][0]
    return _packed(content) if name == PACKED else _plain(content, name)


def _packed(content: memoryview) -> _Stack:
    """B-scans of JPEG 2000, each behind its size."""
    mode, cols, rows, count = byte_fields.unpack_part(content, PACKED_HEADER, 0, f"chunk {PACKED}")
    frames: list[memoryview] = []
    at = PACKED_HEADER.size
    while len(frames) < count and at < len(content):
        (size,) = byte_fields.unpack_part(content, SIZE, at, f"chunk {PACKED}")
        at += SIZE.size
        if at + size > len(content):
            place = f"bytes {at} to {at + size} of chunk {PACKED}, which has {len(content)}"
            raise Refused("unreadable", f"B-scan {len(frames) + 1}: {place}")
        frames.append(content[at : at + size])
        at += size
    if len(frames) != count:
        raise Refused("frame_count", f"{count} B-scans declared, {len(frames)} stored")
    bits = 8
    if frames:
        with suppress(codestream.BadCodestream):  # the decoder will say what is wrong
            bits = codestream.jpeg_2000(bytes(frames[0])).bits
    return _Stack(mode, cols, rows, bits, frames, is_packed=True)


def _plain(content: memoryview, name: str) -> _Stack:
    """B-scans of numbers as they are, row by row."""
    header = PLAIN[name]
    mode, cols, rows, bits, count, kind, size = byte_fields.unpack_part(content, header, 0, f"chunk {name}")
    pixels = content[header.size :]
    nbytes = rows * cols * bits // 8
    if bits not in (8, 16) or count * nbytes != size or size > len(pixels):
        shape = (
            f"{count} x {rows} x {cols} pixels of {bits} bits, kind {kind}, in {size} of {len(pixels)} bytes"
        )
        raise Refused("unreadable", f"chunk {name}: {shape}, want plain ones of 8 or 16 bits")
    starts = range(0, count * nbytes, nbytes) if nbytes else ()
    return _Stack(mode, cols, rows, bits, [pixels[at : at + nbytes] for at in starts], is_packed=False)


def _measures(chunks: Chunks, stack: _Stack) -> tuple[PixelMeasures, ...]:
    """The chunk tells width and height of the scan in mm, and the step in depth in um."""
    name = next((name for name in SIZES if name in chunks), "")
    if not name or not stack.cols or not stack.frames:
        return ()
    width, height, depth = byte_fields.unpack_part(chunks[name][0], THREE, SIZES[name], f"chunk {name}")
    spacing = (height / len(stack.frames), depth / 1000, width / stack.cols)
    return (file_measures([mm or None for mm in spacing]),)


def _frame(stack: _Stack, index: int) -> np.ndarray:
    frame = stack.frames[index]
    if stack.is_packed:
        return decode.jpeg_2000(bytes(frame), stack.rows, stack.cols, index)
    return np.frombuffer(frame, f"<u{stack.bits // 8}").reshape(stack.rows, stack.cols)
