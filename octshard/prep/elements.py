"""The syntax of a DICOM file: where its elements begin and end, told from the bytes alone.

pydicom silently drops PixelData that is cut short, so truncation is told here: `outline` walks the elements
(explicit and implicit VR, undefined lengths, encapsulated pixels) and refuses a file that ends inside one.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

from octshard.volume import Refused

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
TRANSFER_SYNTAX, OFFSET_TABLE, PIXEL_DATA = 0x00020010, 0x7FE00001, 0x7FE00010
IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # two reserved bytes, 32-bit length
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
MAX_DEPTH = 32  # nested sequences; real files have five
MAX_INFLATED = 2**32  # bytes of a deflated dataset
CODESTREAM_STARTS = (
    b"\xff\x4f\xff\x51",  # JPEG 2000 and HTJ2K: SOC, SIZ
    b"\0\0\0\x0cjP  ",  # the same in a JP2 box, which some exporters leave on
    b"\xff\xd8\xff",  # JPEG and JPEG-LS: SOI and the next marker
)


class Coding(NamedTuple):
    """How elements are written: VR named or not, byte order as struct spells it."""

    explicit: bool
    order: str


class Element(NamedTuple):
    """One element header; its value stands at [start, start + length) unless the length is UNDEFINED."""

    tag: int
    vr: bytes
    length: int
    start: int


@dataclass(frozen=True)
class Pixels:
    """PixelData: `nbytes` of a native value, or also the fragments (start, stop) of an encapsulated one."""

    nbytes: int
    fragments: tuple[tuple[int, int], ...] | None
    offsets: int  # entries of the basic or extended offset table


@dataclass(frozen=True, eq=False)
class Outline:
    """What the walk found. Positions count in `body`: the file, or its inflated form if it is deflated."""

    transfer_syntax: str
    body: bytes
    pixels: Pixels | None


def outline(data: bytes) -> Outline:
    """Walks a part-10 file; Refused `not_dicom`, `truncated`, or `unreadable` where no walk is possible."""
    if data[128:132] != b"DICM":
        hint = ", it looks like a Git-LFS pointer" if data.startswith(b"version https://git-lfs") else ""
        raise Refused("not_dicom", f"{len(data)} bytes without DICM at byte 128{hint}")
    syntax, at = _meta(data)
    if syntax == DEFLATED:
        data, at = _inflate(data[at:]), 0
    coding = Coding(syntax != IMPLICIT_LITTLE, ">" if syntax == EXPLICIT_BIG else "<")
    pixels, offsets = None, 0
    while at < len(data):
        if data.startswith(b"\0\0\0\0", at) and not data[at:].strip(b"\0"):
            break  # a file padded with zeros behind its last element
        element = _element(data, at, coding)
        if element.tag == PIXEL_DATA:
            pixels, at = _pixels(data, element, coding)
        else:
            at = _end(data, element, coding, MAX_DEPTH)
            offsets = element.length // 8 if element.tag == OFFSET_TABLE else offsets
    if pixels is not None and offsets:
        pixels = Pixels(pixels.nbytes, pixels.fragments, offsets)
    return Outline(syntax, data, pixels)


def is_encapsulated(found: Outline) -> bool:
    """True if PixelData is a sequence of fragments."""
    return found.pixels is not None and found.pixels.fragments is not None


def encapsulated_frames(found: Outline) -> int:
    """Frames in the fragments: codestream starts where the codec has them, else offsets, else fragments."""
    if found.pixels is None or found.pixels.fragments is None:
        return 0
    fragments = found.pixels.fragments
    marked = sum(
        found.body[start : min(stop, start + 12)].startswith(CODESTREAM_STARTS) for start, stop in fragments
    )
    return marked or found.pixels.offsets or len(fragments)


def _meta(data: bytes) -> tuple[str, int]:
    """The transfer syntax and where the dataset begins: group 2 is always explicit little endian."""
    at, syntax, coding = 132, "", Coding(True, "<")
    while at < len(data) and data[at : at + 2] == b"\x02\x00":
        element = _element(data, at, coding)
        at = _end(data, element, coding, MAX_DEPTH)
        if element.tag == TRANSFER_SYNTAX:
            syntax = data[element.start : at].rstrip(b"\0 ").decode("ascii", "replace")
    if at + 2 > len(data):
        raise Refused(
            "truncated", f"ends at byte {len(data)}, inside or right behind the file meta information"
        )
    if not syntax:
        raise Refused("unreadable", "file meta information names no transfer syntax")
    return syntax, at


def _inflate(data: bytes) -> bytes:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = engine.decompress(data, MAX_INFLATED)
    except zlib.error as error:
        raise Refused("unreadable", f"deflated dataset: {error}") from error
    if engine.unconsumed_tail:
        raise Refused("too_large", f"deflated dataset of more than {MAX_INFLATED} bytes")
    if not engine.eof:
        raise Refused("truncated", f"the deflated dataset ends after {len(body)} bytes without its end mark")
    return body


def _element(data: bytes, at: int, coding: Coding) -> Element:
    if at + 8 > len(data):
        raise Refused("truncated", f"ends at byte {len(data)}, inside the header of the element at byte {at}")
    group, number = struct.unpack_from(coding.order + "HH", data, at)
    tag = group << 16 | number
    if not coding.explicit or group == 0xFFFE:
        return Element(tag, b"", struct.unpack_from(coding.order + "L", data, at + 4)[0], at + 8)
    vr = data[at + 4 : at + 6]
    if vr in SHORT_VRS:
        return Element(tag, vr, struct.unpack_from(coding.order + "H", data, at + 6)[0], at + 8)
    if vr not in LONG_VRS:
        raise Refused("unreadable", f"element {_name(tag)} at byte {at} has no known value representation")
    if at + 12 > len(data):
        raise Refused("truncated", f"ends at byte {len(data)}, inside the header of {_name(tag)}")
    return Element(tag, vr, struct.unpack_from(coding.order + "L", data, at + 8)[0], at + 12)


def _end(data: bytes, element: Element, coding: Coding, depth: int) -> int:
    """Where the element's value ends; an undefined length is walked item by item."""
    if element.length != UNDEFINED:
        stop = element.start + element.length
        if stop > len(data):
            raise Refused(
                "truncated", f"ends at byte {len(data)}, inside {_name(element.tag)}, which ends at {stop}"
            )
        return stop
    if depth == 0:
        raise Refused("unreadable", f"sequences nested deeper than {MAX_DEPTH} at {_name(element.tag)}")
    if element.vr == b"UN":
        coding = Coding(False, "<")  # PS3.5 §6.2.2: a sequence of unknown VR is implicit little endian
    at = element.start
    while True:
        item = _element(data, at, coding)
        if item.tag == SEQUENCE_END:
            return item.start
        if item.tag != ITEM:
            raise Refused(
                "unreadable", f"{_name(item.tag)} at byte {at} inside {_name(element.tag)}, want an item"
            )
        at = (
            _end(data, item, coding, depth)
            if item.length != UNDEFINED
            else _item_end(data, item, coding, depth)
        )


def _item_end(data: bytes, item: Element, coding: Coding, depth: int) -> int:
    at = item.start
    while True:
        element = _element(data, at, coding)
        if element.tag == ITEM_END:
            return element.start
        at = _end(data, element, coding, depth - 1)


def _pixels(data: bytes, element: Element, coding: Coding) -> tuple[Pixels, int]:
    if element.length != UNDEFINED:
        return Pixels(element.length, None, 0), _end(data, element, coding, MAX_DEPTH)
    spans, at = [], element.start
    while True:
        item = _element(data, at, coding)
        if item.tag == SEQUENCE_END:
            break
        if item.tag != ITEM or item.length == UNDEFINED:
            raise Refused("unreadable", f"{_name(item.tag)} at byte {at} inside PixelData, want a fragment")
        at = _end(data, item, coding, MAX_DEPTH)
        spans.append((item.start, at))
    table, fragments = spans[:1], tuple(span for span in spans[1:] if span[1] > span[0])
    offsets = (table[0][1] - table[0][0]) // 4 if table else 0
    return Pixels(sum(stop - start for start, stop in fragments), fragments, offsets), item.start


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
