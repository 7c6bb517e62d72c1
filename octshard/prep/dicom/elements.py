"""The syntax of a DICOM file: where its elements begin and end, from the bytes alone.

`parse` walks them once (explicit and implicit VR, undefined lengths, fragments), refuses a file that ends
inside one, and gives the place of its pixels. Work and memory are linear in the bytes, whatever they say.
"""

import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from octshard.prep.dicom import deflated, signatures
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
MAX_FRAGMENTS = 2**20  # and offsets; real files have thousands, and each takes ten times its bytes in memory


Span = tuple[int, int]  # [start, stop) in bytes


class Encoding(NamedTuple):
    """How elements are written: VR named or not, byte order as struct spells it."""

    explicit: bool
    order: str


class Element(NamedTuple):
    """One element header; its value is at [start, start + length) unless the length is UNDEFINED."""

    tag: int
    vr: bytes
    length: int
    start: int


@dataclass(frozen=True)
class Pixels:
    """Where PixelData is: a native value, or fragments (start, stop) without empty ones."""

    vr: bytes
    start: int  # of the value, or of what follows the basic offset table: offsets count from there
    nbytes: int  # of the value, or of all fragments
    fragments: tuple[Span, ...] | None = None
    # of frames, from the extended table if there is one, else from the basic one
    offsets: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()  # of frames, from the extended table


@dataclass(frozen=True, eq=False)
class ParsedFile:
    """The result of the walk. Positions count in `body`: the file, or its inflated form if it is deflated."""

    transfer_syntax: str
    body: Buffer
    encoding: Encoding
    elements: Mapping[int, Element]  # those of the dataset asked for; of several the last, as pydicom has it
    pixels: Pixels | None
    padding: int = 0  # zeros behind the last element


def parse(data: Buffer, tags: Collection[int] = ()) -> ParsedFile:
    """Walks a part-10 file, keeps elements of these tags; Refused `not_dicom`, `truncated`, `unreadable`."""
    if not len(data):
        raise Refused("empty", "the file has 0 bytes")
    if data[128:132] != b"DICM":
        raise Refused("not_dicom", signatures.describe(data), (signatures.beginning(data),))
    syntax, offset = _meta(data)
    body: Buffer = data
    if syntax == DEFLATED:
        body, offset = deflated.inflate(data, offset), 0
    encoding = Encoding(is_explicit(body, offset, syntax), ">" if syntax == EXPLICIT_BIG else "<")
    elements: dict[int, Element] = {}
    tables: dict[int, Element] = {}
    pixels = None
    while offset < len(body):
        if not any(body[offset : offset + 4]):
            if any(body[offset:]):
                raise Refused("unreadable", f"element (0000,0000) at byte {offset}, want none in a dataset")
            break  # the file is padded with zeros after its last element
        element = element_at(body, offset, encoding)
        if element.tag == PIXEL_DATA:
            pixels, offset = _pixels(body, element, encoding)
            continue
        if element.tag in tags:
            elements[element.tag] = element
        elif element.tag in (EXTENDED_OFFSETS, EXTENDED_LENGTHS) and element.length != UNDEFINED:
            tables[element.tag] = element
        offset = end_of(body, element, encoding, MAX_DEPTH)
    pixels = _with_extended(body, pixels, tables, encoding)
    return ParsedFile(syntax, body, encoding, elements, pixels, len(body) - offset)


def is_explicit(body: Buffer, offset: int, syntax: str) -> bool:
    """True if the first element names its VR, which pydicom believes more than the syntax."""
    if offset + 8 > len(body):
        return syntax != IMPLICIT_LITTLE
    return all(0x41 <= letter <= 0x5A for letter in body[offset + 4 : offset + 6])


def transfer_syntax(data: Buffer) -> str:
    """As the file meta information names it; Refused as by `parse`."""
    return _meta(data)[0]


def items(data: Buffer, sequence: Element, encoding: Encoding) -> Iterator[Span]:
    """Where the items of a sequence begin and end; Refused `unreadable` if one reaches beyond it."""
    offset = sequence.start
    stop = len(data) if sequence.length == UNDEFINED else offset + sequence.length
    while offset < stop:
        item = element_at(data, offset, encoding)
        if item.tag == SEQUENCE_END:
            return
        if item.tag != ITEM:
            raise Refused(
                "unreadable", f"{_tag_text(item.tag)} inside {_tag_text(sequence.tag)}, want an item"
            )
        offset = _after_item(data, item, encoding, MAX_DEPTH)
        if offset > stop:
            raise Refused("unreadable", f"an item of {_tag_text(sequence.tag)} reaches beyond its end")
        yield item.start, offset


def children(data: Buffer, span: Span, encoding: Encoding) -> Iterator[Element]:
    """The elements of an item; Refused `unreadable` if one reaches beyond it."""
    offset, stop = span
    while offset < stop:
        element = element_at(data, offset, encoding)
        if element.tag == ITEM_END:
            return
        offset = end_of(data, element, encoding, MAX_DEPTH)
        if offset > stop:
            raise Refused("unreadable", f"{_tag_text(element.tag)} reaches beyond the end of its item")
        yield element


def item_encoding(data: Buffer, start: int, encoding: Encoding) -> Encoding:
    """How the item at `start` is encoded: old exporters put implicit items into explicit files."""
    named = not encoding.explicit or bytes(data[start + 4 : start + 6]).isalpha()
    return encoding if named else Encoding(False, encoding.order)


def _with_extended(
    body: Buffer, pixels: Pixels | None, tables: Mapping[int, Element], encoding: Encoding
) -> Pixels | None:
    """The pixels with the extended offset table, if the file has both its offsets and its lengths."""
    if pixels is None or pixels.fragments is None or len(tables) < 2:
        return pixels
    for element in tables.values():
        _check_count(element.length // 8, "extended offsets")
    offsets, lengths = (
        struct.unpack_from(f"{encoding.order}{element.length // 8}Q", body, element.start)
        for element in (tables[EXTENDED_OFFSETS], tables[EXTENDED_LENGTHS])
    )
    if not offsets or len(offsets) != len(lengths):
        return pixels
    return replace(pixels, offsets=offsets, lengths=lengths)


def _meta(data: Buffer) -> tuple[str, int]:
    """The transfer syntax and where the dataset begins: group 2 is always explicit little endian."""
    offset, syntax, encoding = 132, "", Encoding(True, "<")
    while offset < len(data) and data[offset : offset + 2] == b"\x02\x00":
        element = element_at(data, offset, encoding)
        offset = end_of(data, element, encoding, MAX_DEPTH)
        if element.tag == TRANSFER_SYNTAX:
            syntax = (
                bytes(data[element.start : min(offset, element.start + 64)]).rstrip(b"\0 ").decode("latin-1")
            )
    if offset + 2 > len(data):
        raise Refused(
            "truncated", f"ends at byte {len(data)}, inside or right behind the file meta information"
        )
    if not syntax:
        raise Refused("unreadable", "file meta information names no transfer syntax")
    return syntax, offset


def element_at(data: Buffer, offset: int, encoding: Encoding) -> Element:
    if offset + 8 > len(data):
        raise Refused(
            "truncated", f"ends at byte {len(data)}, inside the header of the element at byte {offset}"
        )
    order = encoding.order
    group, number, vr, short = HEADS[order].unpack_from(data, offset)
    tag = group << 16 | number
    if not encoding.explicit or group == 0xFFFE:
        return Element(tag, b"", LENGTHS[order].unpack_from(data, offset + 4)[0], offset + 8)
    if vr in SHORT_VRS:
        return Element(tag, vr, short, offset + 8)
    if vr not in LONG_VRS:
        text = f"element {_tag_text(tag)} at byte {offset} has no known value representation"
        raise _wrong(data, offset, text)
    if offset + 12 > len(data):
        raise Refused("truncated", f"ends at byte {len(data)}, inside the header of {_tag_text(tag)}")
    return Element(tag, vr, LENGTHS[order].unpack_from(data, offset + 8)[0], offset + 12)


def end_of(data: Buffer, element: Element, encoding: Encoding, depth: int) -> int:
    """Where the element's value ends; an undefined length is walked item by item."""
    if element.length != UNDEFINED:
        stop = element.start + element.length
        if stop > len(data):
            raise Refused(
                "truncated",
                f"ends at byte {len(data)}, inside {_tag_text(element.tag)}, which ends at {stop}",
            )
        return stop
    if depth == 0:
        raise Refused("unreadable", f"sequences nested deeper than {MAX_DEPTH} at {_tag_text(element.tag)}")
    if element.vr == b"UN":
        encoding = Encoding(False, "<")  # PS3.5 §6.2.2: a sequence of unknown VR is implicit little endian
    offset = element.start
    while True:
        item = element_at(data, offset, encoding)
        if item.tag == SEQUENCE_END:
            return item.start
        if item.tag != ITEM:
            text = f"{_tag_text(item.tag)} at byte {offset} inside {_tag_text(element.tag)}, want an item"
            raise _wrong(data, offset, text)
        offset = _after_item(data, item, encoding, depth)


def _after_item(data: Buffer, item: Element, encoding: Encoding, depth: int) -> int:
    """The offset after the item and its end mark."""
    return (_item_end if item.length == UNDEFINED else end_of)(data, item, encoding, depth)


def _item_end(data: Buffer, item: Element, encoding: Encoding, depth: int) -> int:
    offset, encoding = item.start, item_encoding(data, item.start, encoding)
    while True:
        element = element_at(data, offset, encoding)
        if element.tag == ITEM_END:
            return element.start
        offset = end_of(data, element, encoding, depth - 1)


def _pixels(data: Buffer, element: Element, encoding: Encoding) -> tuple[Pixels, int]:
    if element.length != UNDEFINED:
        end = end_of(data, element, encoding, MAX_DEPTH)
        return Pixels(element.vr, element.start, element.length), end
    spans, offset = [], element.start
    while True:
        item = element_at(data, offset, encoding)
        if item.tag == SEQUENCE_END:
            break
        if item.tag != ITEM or item.length == UNDEFINED:
            text = f"{_tag_text(item.tag)} at byte {offset} inside PixelData, want a fragment"
            raise _wrong(data, offset, text)
        offset = end_of(data, item, encoding, MAX_DEPTH)
        spans.append((item.start, offset))
        _check_count(len(spans), "fragments")
    start, after_table = spans[0] if spans else (offset, offset)  # the first item is the basic offset table
    count = (after_table - start) // 4
    _check_count(count, "offsets")
    offsets = struct.unpack_from(f"{encoding.order}{count}L", data, start)
    fragments = tuple(span for span in spans[1:] if span[1] > span[0])
    nbytes = sum(stop - start for start, stop in fragments)
    return Pixels(element.vr, after_table, nbytes, fragments, offsets), item.start


def _check_count(count: int, name: str) -> None:
    if count > MAX_FRAGMENTS:
        raise Refused("unreadable", f"PixelData has more than {MAX_FRAGMENTS} {name}")


def _wrong(data: Buffer, offset: int, text: str) -> Refused:
    """`unreadable`; or `truncated`, if from `offset` on there are only zeros, as behind a broken download."""
    if any(data[offset : offset + 8]) or bytes(data[offset:]).count(0) < len(data) - offset:
        return Refused("unreadable", text)
    return Refused("truncated", f"only zeros from byte {offset} to its end at {len(data)}")


def _tag_text(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
