"""MATLAB's .mat of version 5 to 7: named arrays, of which one is the scan. No spacing, no eye.

Layout: "MAT-File Format" of MathWorks, level 5. Only arrays of real numbers are read, where they lie: SciPy's
reader would make objects of everything, and take memory as declared.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from octshard.imaging.volume import product
from octshard.prep.readers import array_scan, named_arrays, value_bytes
from octshard.prep.readers.array_scan import ArrayScan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

STARTS = b"MATLAB 5.0", b"MATLAB 7.3"  # of the second is HDF5
HEADER, ORDER_AT = 128, 126  # bytes; there stands in which order bytes are
ORDERS = {b"IM": "<", b"MI": ">"}
AXES = "hwd"  # images(:, :, n) is B-scan n
MATRIX, COMPRESSED = 14, 15  # types of elements
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
NUMBERS = range(6, 16)  # classes of arrays of numbers, double to uint64
COMPLEX, LOGICAL = 0x800, 0x200  # flags
MOST_ELEMENTS, MOST_AXES, LONGEST_NAME = 10_000, 32, 4096
HEAD = 2**14  # bytes of an element in which its header lies


class Tag(NamedTuple):
    """Of an element. offset: where its data begins; after: where the next one does."""

    kind: int
    nbytes: int
    offset: int
    after: int


@dataclass(frozen=True, eq=False)
class Array:
    """offset: where its values begin, in the file, or in what `packed` becomes."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    nbytes: int
    packed: Buffer | None


def is_one(file: ScanBytes) -> bool:
    """True for a .mat that says its version, 5 to 7.3."""
    return bytes(file.data[:10]) in STARTS


def open_scan(file: ScanBytes) -> ArrayScan:
    """The array that is a scan; Refused with the names of all if that is not one."""
    if bytes(file.data[:10]) == STARTS[1]:
        act = "save it once more with save(..., '-v7')"
        raise Refused("unreadable", f"a .mat of version 7.3 (HDF5), want one of version 5 to 7: {act}")
    array = named_arrays.scan_of(list(_arrays(file.data)), file.axes)
    array_scan.check_is_grey(array.shape, file.axes)
    axes = array_scan.volume_axes(array.shape, file.axes or AXES)
    count = value_bytes.value_count(array.shape, array.dtype)
    value_bytes.check_size(array.nbytes, count)
    if array.packed is None:
        value_bytes.check_size(min(count, len(file.data) - array.offset), count)

    def load() -> np.ndarray:
        data, offset = file.data, array.offset
        if array.packed is not None:
            packed = array.packed
            data, offset = value_bytes.read_exactly(lambda: value_bytes.inflate(packed), count, offset), 0
        flat = np.frombuffer(data, array.dtype, product(array.shape), offset)
        return array_scan.to_volume(flat.reshape(array.shape, order="F"), axes)

    shape = array_scan.volume_shape(array.shape, axes)
    return ArrayScan(array_scan.array_facts(shape, array.dtype), array.dtype, load)


def _arrays(data: Buffer) -> Iterator[Array]:
    """Arrays of real numbers, in the order of the file; Refused if it is damaged."""
    order = ORDERS.get(bytes(data[ORDER_AT:HEADER]))
    if order is None:
        raise Refused(
            "truncated" if len(data) < HEADER else "unreadable", "its header tells no order of bytes"
        )
    at, count = HEADER, 0
    while at < len(data):
        tag = _tag(data, at, order)
        if tag.offset + tag.nbytes > len(data):
            raise Refused("truncated", f"an array ends at byte {tag.offset + tag.nbytes} of {len(data)}")
        if (count := count + 1) > MOST_ELEMENTS:
            raise Refused("unreadable", f"more than {MOST_ELEMENTS} arrays")
        array = None
        if tag.kind == COMPRESSED:
            packed = memoryview(data)[tag.offset : tag.offset + tag.nbytes]
            head = _inflated_head(packed)
            if _tag(head, 0, order).kind == MATRIX:
                array = _array(head, 8, order, packed)
        elif tag.kind == MATRIX:
            array = _array(data, tag.offset, order, None)
        if array is not None:
            yield array
        at = tag.offset + tag.nbytes if tag.kind == COMPRESSED else tag.after


def _array(data: Buffer, at: int, order: str, packed: Buffer | None) -> Array | None:
    """The array whose first element is at `at`; None if it is of something else than real numbers."""
    flags = _tag(data, at, order)
    if flags.nbytes != 8:
        raise Refused("unreadable", "the flags of an array are damaged")
    (word,) = struct.unpack(f"{order}L", _bytes(data, flags.offset, 4))
    dims = _tag(data, flags.after, order)
    if dims.nbytes % 4 or not 2 <= dims.nbytes // 4 <= MOST_AXES:
        raise Refused("unreadable", f"an array of {dims.nbytes // 4} axes")
    shape = struct.unpack(f"{order}{dims.nbytes // 4}l", _bytes(data, dims.offset, dims.nbytes))
    name = _tag(data, dims.after, order)
    if name.nbytes > LONGEST_NAME:
        raise Refused("unreadable", f"the name of an array has {name.nbytes} bytes")
    text = _bytes(data, name.offset, name.nbytes).decode("latin-1")
    if word & 0xFF not in NUMBERS or word & (COMPLEX | LOGICAL) or min(shape) < 0:
        return None
    values = _tag(data, name.after, order)
    if values.kind not in TYPES:
        raise Refused("unreadable", f"array {text} has values of type {values.kind}", (text,))
    # MATLAB stores numbers in as few bytes as hold them, whatever their class is
    return Array(text, shape, np.dtype(order + TYPES[values.kind]), values.offset, values.nbytes, packed)


def _tag(data: Buffer, at: int, order: str) -> Tag:
    """Of the element at `at`. In a small one four bytes of data lie in the tag."""
    kind, nbytes = struct.unpack(f"{order}LL", _bytes(data, at, 8))
    if kind >> 16:
        return Tag(kind & 0xFFFF, kind >> 16, at + 4, at + 8)
    return Tag(kind, nbytes, at + 8, at + 8 + -(-nbytes // 8) * 8)


def _bytes(data: Buffer, at: int, count: int) -> bytes:
    piece = bytes(data[at : at + count])
    if len(piece) < count:
        raise Refused("truncated", "the file ends inside the header of an array")
    return piece


def _inflated_head(packed: Buffer) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed[:HEAD], HEAD)
    except zlib.error as error:
        raise Refused("decoder_error", f"compressed array: {error}", (str(error),)) from None
