"""The syntax of a DICOM file: where its elements begin and end, told from the bytes alone.

`parse` walks them once (explicit and implicit VR, undefined lengths, fragments), refuses a file that ends
inside one, and tells where the pixels lie. Work and memory are linear in the bytes, whatever these say.
"""

import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
TRANSFER_SYNTAX, PIXEL_DATA = 0x00020010, 0x7FE00010
EXTENDED_OFFSETS, EXTENDED_LENGTHS = 0x7FE00001, 0x7FE00002
IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # two reserved bytes, 32-bit length
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
HEADS = {order: struct.Struct(order + "HH2sH") for order in "<>"}
LENGTHS = {order: struct.Struct(order + "L") for order in "<>"}
MAX_DEPTH = 32  # nested sequences; real files have five
INFLATED_FREELY = 2**27  # bytes of a deflated dataset; one of more bytes must not swell by more than
INFLATED_RATIO = 100  # this: OCT deflates 2:1, a bomb 1,000:1
INFLATED_STEP = 2**14  # bytes read at once


Span = tuple[int, int]  # [start, stop) in bytes


class Encoding(NamedTuple):
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
    """Where PixelData stands: a native value, or fragments (start, stop) without empty ones."""

    vr: bytes
    start: int  # of the value, or behind the basic offset table, where offsets count from
    nbytes: int  # of the value, or of all fragments
    fragments: tuple[Span, ...] | None = None
    offsets: tuple[
        int, ...
    ] = ()  # of frames, from the extended table if there is one, else from the basic one
    lengths: tuple[int, ...] = ()  # of frames, from the extended table


@dataclass(frozen=True, eq=False)
class ParsedFile:
    """What the walk found. Positions count in `body`: the file, or its inflated form if it is deflated."""

    transfer_syntax: str
    body: Buffer
    coding: Encoding
    listed: Mapping[int, Element]  # the wanted elements of the dataset that stand before its pixels
    pixels: Pixels | None


def parse(data: Buffer, wanted: Collection[int] = ()) -> ParsedFile:
    """Walks a part-10 file; Refused `not_dicom`, `truncated`, or `unreadable` where no walk is possible."""
    if data[128:132] != b"DICM":
        hint = ", it looks like a Git-LFS pointer" if data[:18] == b"version https://gi" else ""
        raise Refused("not_dicom", f"{len(data)} bytes without DICM at byte 128{hint}")
    syntax, at = _meta(data)
    body: Buffer = data
    if syntax == DEFLATED:
        body, at = _inflate(data, at), 0
    coding = Encoding(syntax != IMPLICIT_LITTLE, ">" if syntax == EXPLICIT_BIG else "<")
    listed: dict[int, Element] = {}
    tables: dict[int, Element] = {}
    pixels = None
    while at < len(body):
        if not any(body[at : at + 4]):
            if any(body[at:]):
                raise Refused("unreadable", f"element (0000,0000) at byte {at}, want none in a dataset")
            break  # a file padded with zeros behind its last element
        element = _element(body, at, coding)
        if element.tag == PIXEL_DATA:
            pixels, at = _pixels(body, element, coding)
            continue
        if element.tag in wanted and pixels is None:
            listed[element.tag] = element
        elif element.tag in (EXTENDED_OFFSETS, EXTENDED_LENGTHS) and element.length != UNDEFINED:
            tables[element.tag] = element
        at = _end(body, element, coding, MAX_DEPTH)
    return ParsedFile(syntax, body, coding, listed, _with_extended(body, pixels, tables, coding))


def items(data: Buffer, sequence: Element, coding: Encoding) -> Iterator[Span]:
    """Where the items of a sequence begin and end; Refused `unreadable` if one reaches beyond it."""
    at = sequence.start
    stop = len(data) if sequence.length == UNDEFINED else at + sequence.length
    while at < stop:
        item = _element(data, at, coding)
        if item.tag == SEQUENCE_END:
            return
        if item.tag != ITEM:
            raise Refused("unreadable", f"{_name(item.tag)} inside {_name(sequence.tag)}, want an item")
        at = _after(data, item, coding, MAX_DEPTH)
        if at > stop:
            raise Refused("unreadable", f"an item of {_name(sequence.tag)} reaches beyond its end")
        yield item.start, at


def children(data: Buffer, span: Span, coding: Encoding) -> Iterator[Element]:
    """The elements of an item; Refused `unreadable` if one reaches beyond it."""
    at, stop = span
    while at < stop:
        element = _element(data, at, coding)
        if element.tag == ITEM_END:
            return
        at = _end(data, element, coding, MAX_DEPTH)
        if at > stop:
            raise Refused("unreadable", f"{_name(element.tag)} reaches beyond the end of its item")
        yield element


def inside(data: Buffer, start: int, coding: Encoding) -> Encoding:
    """How the item at `start` is coded: old exporters put implicit items into explicit files."""
    named = not coding.explicit or bytes(data[start + 4 : start + 6]).isalpha()
    return coding if named else Encoding(False, coding.order)


def _with_extended(
    body: Buffer, pixels: Pixels | None, tables: Mapping[int, Element], coding: Encoding
) -> Pixels | None:
    """The pixels with the extended offset table, if both halves of one stand there."""
    if pixels is None or pixels.fragments is None or len(tables) < 2:
        return pixels
    offsets, lengths = (
        struct.unpack_from(f"{coding.order}{element.length // 8}Q", body, element.start)
        for element in (tables[EXTENDED_OFFSETS], tables[EXTENDED_LENGTHS])
    )
    if not offsets or len(offsets) != len(lengths):
        return pixels
    return replace(pixels, offsets=offsets, lengths=lengths)


def _meta(data: Buffer) -> tuple[str, int]:
    """The transfer syntax and where the dataset begins: group 2 is always explicit little endian."""
    at, syntax, coding = 132, "", Encoding(True, "<")
    while at < len(data) and data[at : at + 2] == b"\x02\x00":
        element = _element(data, at, coding)
        at = _end(data, element, coding, MAX_DEPTH)
        if element.tag == TRANSFER_SYNTAX:
            syntax = bytes(data[element.start : min(at, element.start + 64)]).rstrip(b"\0 ").decode("latin-1")
    if at + 2 > len(data):
        raise Refused(
            "truncated", f"ends at byte {len(data)}, inside or right behind the file meta information"
        )
    if not syntax:
        raise Refused("unreadable", "file meta information names no transfer syntax")
    return syntax, at


def _inflate(data: Buffer, at: int) -> bytearray:
    """The deflated rest of the file; grown in place, so that little more memory is used than that."""
    engine, body = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
    most = max(INFLATED_FREELY, INFLATED_RATIO * len(data))
    try:
        while at < len(data) and not engine.eof:
            body += engine.decompress(data[at : at + INFLATED_STEP])
            at += INFLATED_STEP
            if len(body) > most:
                raise Refused("too_large", f"deflated dataset of more than {most} bytes in {len(data)}")
    except zlib.error as error:
        raise Refused("unreadable", f"deflated dataset: {error}") from error
    if not engine.eof:
        raise Refused("truncated", f"the deflated dataset ends after {len(body)} bytes without its end mark")
    return body


def _element(data: Buffer, at: int, coding: Encoding) -> Element:
    if at + 8 > len(data):
        raise Refused("truncated", f"ends at byte {len(data)}, inside the header of the element at byte {at}")
    order = coding.order
    group, number, vr, short = HEADS[order].unpack_from(data, at)
    tag = group << 16 | number
    if not coding.explicit or group == 0xFFFE:
        return Element(tag, b"", LENGTHS[order].unpack_from(data, at + 4)[0], at + 8)
    if vr in SHORT_VRS:
        return Element(tag, vr, short, at + 8)
    if vr not in LONG_VRS:
        raise Refused("unreadable", f"element {_name(tag)} at byte {at} has no known value representation")
    if at + 12 > len(data):
        raise Refused("truncated", f"ends at byte {len(data)}, inside the header of {_name(tag)}")
    return Element(tag, vr, LENGTHS[order].unpack_from(data, at + 8)[0], at + 12)


def _end(data: Buffer, element: Element, coding: Encoding, depth: int) -> int:
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
        coding = Encoding(False, "<")  # PS3.5 §6.2.2: a sequence of unknown VR is implicit little endian
    at = element.start
    while True:
        item = _element(data, at, coding)
        if item.tag == SEQUENCE_END:
            return item.start
        if item.tag != ITEM:
            raise Refused(
                "unreadable", f"{_name(item.tag)} at byte {at} inside {_name(element.tag)}, want an item"
            )
        at = _after(data, item, coding, depth)


def _after(data: Buffer, item: Element, coding: Encoding, depth: int) -> int:
    """Where the item's end, or its end mark, is past."""
    return (_item_end if item.length == UNDEFINED else _end)(data, item, coding, depth)


def _item_end(data: Buffer, item: Element, coding: Encoding, depth: int) -> int:
    at, coding = item.start, inside(data, item.start, coding)
    while True:
        element = _element(data, at, coding)
        if element.tag == ITEM_END:
            return element.start
        at = _end(data, element, coding, depth - 1)


def _pixels(data: Buffer, element: Element, coding: Encoding) -> tuple[Pixels, int]:
    if element.length != UNDEFINED:
        end = _end(data, element, coding, MAX_DEPTH)
        return Pixels(element.vr, element.start, element.length), end
    spans, at = [], element.start
    while True:
        item = _element(data, at, coding)
        if item.tag == SEQUENCE_END:
            break
        if item.tag != ITEM or item.length == UNDEFINED:
            raise Refused("unreadable", f"{_name(item.tag)} at byte {at} inside PixelData, want a fragment")
        at = _end(data, item, coding, MAX_DEPTH)
        spans.append((item.start, at))
    start, behind = spans[0] if spans else (at, at)  # the first item is the basic offset table
    offsets = struct.unpack_from(f"{coding.order}{(behind - start) // 4}L", data, start)
    fragments = tuple(span for span in spans[1:] if span[1] > span[0])
    nbytes = sum(stop - start for start, stop in fragments)
    return Pixels(element.vr, behind, nbytes, fragments, offsets), item.start


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
