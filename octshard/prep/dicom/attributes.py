"""Header values of a DICOM dataset: the listed fields, as text, numbers and items.

A field that is not listed is never parsed, so no name, date, comment or private tag can leave a file. Reading
a value costs time and memory in proportion to its bytes, whatever they say; nonsense is a Refused.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from octshard.prep import lengths
from octshard.prep.dicom import elements
from octshard.prep.dicom.elements import Element, Encoding
from octshard.prep.refusals import Refused
from octshard.printable import printable
from octshard.storage.checksum import Buffer

LISTED = {  # keyword: tag, and the value representation where a file does not give it
    "SOPClassUID": (0x00080016, b"UI"),
    "SOPInstanceUID": (0x00080018, b"UI"),
    "CodeValue": (0x00080100, b"SH"),
    "AnatomicRegionSequence": (0x00082218, b"SQ"),
    "Manufacturer": (0x00080070, b"LO"),
    "ManufacturerModelName": (0x00081090, b"LO"),
    "SliceThickness": (0x00180050, b"DS"),
    "SpacingBetweenSlices": (0x00180088, b"DS"),
    "ImagePositionPatient": (0x00200032, b"DS"),
    "ImageOrientationPatient": (0x00200037, b"DS"),
    "Laterality": (0x00200060, b"CS"),
    "ImageLaterality": (0x00200062, b"CS"),
    "FrameAnatomySequence": (0x00209071, b"SQ"),
    "FrameLaterality": (0x00209072, b"CS"),
    "FrameContentSequence": (0x00209111, b"SQ"),
    "PlanePositionSequence": (0x00209113, b"SQ"),
    "PlaneOrientationSequence": (0x00209116, b"SQ"),
    "SeriesInstanceUID": (0x0020000E, b"UI"),
    "AcquisitionNumber": (0x00200012, b"IS"),
    "InstanceNumber": (0x00200013, b"IS"),
    "FrameOfReferenceUID": (0x00200052, b"UI"),
    "StackID": (0x00209056, b"SH"),
    "InStackPositionNumber": (0x00209057, b"UL"),
    "TemporalPositionIndex": (0x00209128, b"UL"),
    "DimensionIndexValues": (0x00209157, b"UL"),
    "ConcatenationUID": (0x00209161, b"UI"),
    "InConcatenationNumber": (0x00209162, b"US"),
    "InConcatenationTotalNumber": (0x00209163, b"US"),
    "ConcatenationFrameOffsetNumber": (0x00209228, b"UL"),
    "OphthalmicFrameLocationSequence": (0x00220031, b"SQ"),
    "ReferenceCoordinates": (0x00220032, b"FL"),
    "SamplesPerPixel": (0x00280002, b"US"),
    "PhotometricInterpretation": (0x00280004, b"CS"),
    "NumberOfFrames": (0x00280008, b"IS"),
    "Rows": (0x00280010, b"US"),
    "Columns": (0x00280011, b"US"),
    "PixelSpacing": (0x00280030, b"DS"),
    "BitsAllocated": (0x00280100, b"US"),
    "BitsStored": (0x00280101, b"US"),
    "PixelRepresentation": (0x00280103, b"US"),
    "RescaleIntercept": (0x00281052, b"DS"),
    "RescaleSlope": (0x00281053, b"DS"),
    "PixelMeasuresSequence": (0x00289110, b"SQ"),
    "PixelValueTransformationSequence": (0x00289145, b"SQ"),
    "SharedFunctionalGroupsSequence": (0x52009229, b"SQ"),
    "PerFrameFunctionalGroupsSequence": (0x52009230, b"SQ"),
}
TAGS = frozenset(tag for tag, _ in LISTED.values())
ASKED = {  # what says who was scanned and when: `head.read` keeps them where a user asks for it, nothing else
    "StudyDate": (0x00080020, b"DA"),
    "AcquisitionDate": (0x00080022, b"DA"),
    "ContentDate": (0x00080023, b"DA"),
    "AcquisitionDateTime": (0x0008002A, b"DT"),
    "PatientID": (0x00100020, b"LO"),
}
FIELDS = LISTED | ASKED
BINARY = {b"US": "u2", b"SS": "i2", b"UL": "u4", b"SL": "i4", b"FL": "f4", b"FD": "f8"}
UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
MAX_TEXT = 1024  # bytes; the longest listed text has 64
INT64_LIMIT = 2**63  # whole numbers lie in [-INT64_LIMIT, INT64_LIMIT): tables hold 64 bits


class Attributes:
    """The listed elements of one dataset or item."""

    def __init__(self, data: Buffer, encoding: Encoding, by_tag: Mapping[int, Element]) -> None:
        self._data, self._encoding, self._by_tag = data, encoding, by_tag

    def text(self, name: str) -> str:
        """The value on one line, without its padding, cut at MAX_TEXT bytes; empty if there is none."""
        element = self._by_tag.get(FIELDS[name][0])
        raw = "" if element is None else self._text(element)
        return "".join(letter if letter.isprintable() else "?" for letter in raw)

    def identifier(self, name: str) -> str:
        """As `text`, with escapes for what cannot be shown, so that two values are never made one."""
        element = self._by_tag.get(FIELDS[name][0])
        return "" if element is None else printable(self._text(element))

    def uid(self, name: str) -> str:
        """The value if it has the letters of a UID; other text, which may name a person, is nothing."""
        text = self.text(name)
        return text if UID.fullmatch(text) else ""

    def numbers(self, name: str) -> np.ndarray:
        """All numbers of the value, float64, NaN for a blank; empty if there is none.

        Refused if it is text, or longer than any number of them can be.
        """
        element = self._by_tag.get(FIELDS[name][0])
        if element is None:
            return np.empty(0)
        vr, order = self._vr_and_order(name, element)
        if vr in BINARY:
            dtype = np.dtype(order + BINARY[vr])
            if element.length % dtype.itemsize:
                raise Refused("unreadable", f"{name} has {element.length} bytes, want whole {vr.decode()}")
            count = element.length // dtype.itemsize
            return np.frombuffer(self._data, dtype, count, element.start).astype(np.float64)
        if element.length > MAX_TEXT:
            raise Refused("unreadable", f"{name} has {element.length} bytes, want at most {MAX_TEXT}")
        text = self._text(element)
        try:
            return np.array([_number(part.strip()) for part in text.split("\\")] if text else [], np.float64)
        except ValueError:
            raise Refused("unreadable", f"{name} is {lengths.quote(text)}, want numbers") from None

    def numeric_text(self, name: str) -> str:
        """A value that should be numbers, as the file spells it, cut at MAX_TEXT; binary ones as text."""
        element = self._by_tag.get(FIELDS[name][0])
        if element is None:
            return ""
        if self._vr_and_order(name, element)[0] in BINARY:
            return "\\".join(map(repr, self.numbers(name)[:MAX_TEXT].tolist()))
        return self._text(element)

    def number(self, name: str) -> float | None:
        """The one number of the value; None if there is none or a blank. Refused if there are several."""
        values = self.numbers(name)
        if len(values) > 1:
            raise Refused("unreadable", f"{name} has {len(values)} values, want one")
        return None if not len(values) or np.isnan(values[0]) else float(values[0])

    def integer(self, name: str) -> int | None:
        """As `number`, but whole and within 64 bits, as tables hold it; Refused otherwise."""
        value = self.number(name)
        if value is not None and not (value.is_integer() and -INT64_LIMIT <= value < INT64_LIMIT):
            raise Refused("unreadable", f"{name} is {value}, want a whole number of at most 64 bits")
        return None if value is None else int(value)

    def items(self, name: str) -> Iterator["Attributes"]:
        """The items of a sequence, read as they are asked for; none if there is no such sequence."""
        element = self._by_tag.get(FIELDS[name][0])
        if element is None:
            return
        vr, order = self._vr_and_order(name, element)
        if vr != b"SQ":
            raise Refused("unreadable", f"{name} is {vr.decode('latin-1')}, want a sequence")
        encoding = Encoding(self._encoding.explicit and element.vr != b"UN", order)
        for start, stop in elements.items(self._data, element, encoding):
            item_encoding = elements.item_encoding(self._data, start, encoding)
            by_tag = {
                e.tag: e for e in elements.children(self._data, (start, stop), item_encoding) if e.tag in TAGS
            }
            yield Attributes(self._data, item_encoding, by_tag)

    def raw(self, name: str) -> bytes:
        """The bytes of a value, to tell equal ones; empty if there is none, or its end is unknown."""
        element = self._by_tag.get(FIELDS[name][0])
        if element is None or element.length == elements.UNDEFINED:
            return b""
        return bytes(self._data[element.start : element.start + element.length])

    def first(self, name: str) -> "Attributes | None":
        """The first item of a sequence, if there is one."""
        return next(self.items(name), None)

    def _vr_and_order(self, name: str, element: Element) -> tuple[bytes, str]:
        """(value representation, byte order): PS3.5 §6.2.2 for an unknown one."""
        if element.vr in (b"", b"UN"):
            return FIELDS[name][1], self._encoding.order if element.vr == b"" else "<"
        return element.vr, self._encoding.order

    def _text(self, element: Element) -> str:
        raw = bytes(self._data[element.start : element.start + min(element.length, MAX_TEXT)])
        try:
            return raw.decode().strip(" \0")
        except UnicodeDecodeError:
            return raw.decode("latin-1").strip(" \0")


def _number(text: str) -> float:
    """NaN for a blank alone."""
    value = float(text or 0)
    if np.isnan(value):
        raise ValueError(text)
    return value if text else np.nan
