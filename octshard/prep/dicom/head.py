"""The first bytes of a DICOM file: what kind of file it is and by what it was made, without its pixels.

Nothing behind LAST is looked at, so a few thousand bytes are enough. What may say who was scanned or when is
kept only where it is asked for. Nothing is refused: a damaged file says less.
"""

import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from octshard.prep.dicom import elements
from octshard.prep.dicom.attributes import FIELDS, Attributes
from octshard.prep.dicom.elements import Element, Encoding
from octshard.prep.dicom.file_kind import OPT_STORAGE
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

META_START, META_LAST, META = 132, 0x0002FFFF, Encoding(True, "<")
MEDIA_CLASS = 0x00020002  # MediaStorageSOPClassUID: a DICOMDIR has no other
NAMES = (
    "SOPClassUID", "Manufacturer", "ManufacturerModelName", "AnatomicRegionSequence", "Laterality",
    "ImageLaterality", "NumberOfFrames", "SeriesInstanceUID", "AcquisitionNumber", "InstanceNumber",
    "ConcatenationUID", "InConcatenationNumber", "ConcatenationFrameOffsetNumber",
)  # fmt: skip
LAST = FIELDS["NumberOfFrames"][0]
INFLATED = 2**20  # bytes of a deflated dataset that are looked at
REGIONS = {  # codes of DICOM's CID 4209, in SNOMED CT and as spelled before
    "82859000": "Macula", "T-AA621": "Macula", "67046006": "Macula", "T-AA620": "Macula",
    "81016008": "Optic Disc", "T-AA630": "Optic Disc", "5665001": "Retina", "T-AA610": "Retina",
}  # fmt: skip


class ScanPart(NamedTuple):
    """Which scan the file is a part of, among those of its folder, and where in it; empty: it is whole."""

    group: str = ""
    place: int = 0


@dataclass(frozen=True)
class Head:
    """What the first bytes say; empty where they do not. is_whole: all that is asked for lay within them."""

    sop_class: str
    manufacturer: str
    model: str
    eye: str  # L or R
    region: str
    frames: int  # 1 where the file does not say
    part: ScanPart
    asked: dict[str, str]
    is_whole: bool

    @property
    def may_be_oct(self) -> bool:
        """False for a file that says that it is something else."""
        return self.sop_class in ("", OPT_STORAGE)


class _Elements(NamedTuple):
    """Elements by tag, where the walk ended, and whether it came to a tag behind the last."""

    by_tag: dict[int, Element]
    stop: int
    is_whole: bool


def read(data: Buffer, asked: Collection[str] = ()) -> Head:
    """Of a part-10 file that begins with `data`. asked: names of `attributes.ASKED`."""
    meta = _elements(data, META_START, META, META_LAST, (MEDIA_CLASS,))
    syntax = _syntax(data)
    body, start = (_inflated(data[meta.stop :]), 0) if syntax == elements.DEFLATED else (data, meta.stop)
    order = ">" if syntax == elements.EXPLICIT_BIG else "<"
    encoding = Encoding(elements.is_explicit(body, start, syntax), order)
    tags = [FIELDS[name][0] for name in (*NAMES, *asked)]
    dataset = _elements(body, start, encoding, LAST, tags)
    top = Attributes(body, encoding, dataset.by_tag)
    media_class = meta.by_tag.get(MEDIA_CLASS)
    media = Attributes(data, META, {FIELDS["SOPClassUID"][0]: media_class} if media_class else {})
    eye = (top.text("ImageLaterality") or top.text("Laterality")).upper()
    return Head(
        sop_class=top.uid("SOPClassUID") or media.uid("SOPClassUID"),
        manufacturer=top.text("Manufacturer"),
        model=top.text("ManufacturerModelName"),
        eye=eye if eye in ("L", "R") else "",
        region=_region(top),
        frames=_number(top, "NumberOfFrames") or 1,
        part=_part(top, eye),
        asked={name: top.identifier(name) for name in asked},
        is_whole=dataset.is_whole,
    )


def _elements(body: Buffer, offset: int, encoding: Encoding, last: int, tags: Collection[int]) -> _Elements:
    """Those of `tags`, up to the last tag that is of interest, or to where the bytes end or make no sense."""
    by_tag: dict[int, Element] = {}
    try:
        while offset < len(body):
            element = elements.element_at(body, offset, encoding)
            if element.tag > last:
                return _Elements(by_tag, offset, True)
            offset = elements.end_of(body, element, encoding, elements.MAX_DEPTH)
            if element.tag in tags:
                by_tag[element.tag] = element
    except Refused:
        return _Elements(by_tag, offset, False)
    return _Elements(by_tag, offset, False)


def _syntax(data: Buffer) -> str:
    try:
        return elements.transfer_syntax(data)
    except Refused:
        return ""


def _inflated(deflated: Buffer) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, INFLATED)
    except zlib.error:
        return b""


def _part(top: Attributes, eye: str) -> ScanPart:
    if uid := top.uid("ConcatenationUID"):
        numbers = (_number(top, f"{name}Number") for name in ("InConcatenation", "ConcatenationFrameOffset"))
        return ScanPart(f"concatenation {uid}", next((n for n in numbers if n is not None), 0))
    instance, series = _number(top, "InstanceNumber"), top.uid("SeriesInstanceUID")
    if instance is None or not series or (_number(top, "NumberOfFrames") or 1) > 1:
        return ScanPart()
    acquisition = _number(top, "AcquisitionNumber")
    return ScanPart(f"series {series} {'' if acquisition is None else acquisition} {eye}", instance)


def _number(top: Attributes, name: str) -> int | None:
    try:
        return top.integer(name)
    except Refused:
        return None


def _region(top: Attributes) -> str:
    """By its code alone: the words beside it may be any text."""
    try:
        item = top.first("AnatomicRegionSequence")
        return "" if item is None else REGIONS.get(item.text("CodeValue"), "")
    except Refused:
        return ""
