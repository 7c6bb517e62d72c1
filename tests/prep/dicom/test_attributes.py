"""Header values, against bytes written by hand from PS3.5."""

import struct

import numpy as np
import pytest

from octshard.prep.dicom import elements
from octshard.prep.dicom.attributes import LISTED, Attributes
from octshard.prep.dicom.elements import Encoding
from octshard.prep.refusals import Refused

EXPLICIT, IMPLICIT, BIG = Encoding(True, "<"), Encoding(False, "<"), Encoding(True, ">")


def written(tag: int, vr: bytes, value: bytes, encoding: Encoding = EXPLICIT) -> bytes:
    """One element as `encoding` writes it."""
    head = struct.pack(encoding.order + "HH", tag >> 16, tag & 0xFFFF)
    if not encoding.explicit:
        return head + struct.pack(encoding.order + "L", len(value)) + value
    if vr in elements.LONG_VRS:
        return head + vr + b"\0\0" + struct.pack(encoding.order + "L", len(value)) + value
    return head + vr + struct.pack(encoding.order + "H", len(value)) + value


def fields(data: bytes, encoding: Encoding = EXPLICIT) -> Attributes:
    children = elements.children(data, (0, len(data)), encoding)
    return Attributes(data, encoding, {element.tag: element for element in children})


def attributes_of(name: str, vr: bytes, value: bytes, encoding: Encoding = EXPLICIT) -> Attributes:
    return fields(written(LISTED[name][0], vr, value, encoding), encoding)


def test_what_is_not_there_is_empty() -> None:
    nothing = fields(b"")
    assert nothing.text("Manufacturer") == ""
    assert nothing.numbers("PixelSpacing").tolist() == []
    assert nothing.number("RescaleSlope") is None
    assert nothing.integer("Rows") is None
    assert nothing.first("PixelMeasuresSequence") is None


@pytest.mark.parametrize(
    ("raw", "text"),
    [(b"Topcon ", "Topcon"), (b"Zeiss\0", "Zeiss"), ("Späth".encode(), "Späth"),
     ("Späth".encode("latin-1"), "Späth"), (b"a\nb\x1bc", "a?b?c"), (b"  ", "")],
)  # fmt: skip
def test_text_is_without_padding_and_on_one_line(raw: bytes, text: str) -> None:
    assert attributes_of("Manufacturer", b"LO", raw).text("Manufacturer") == text


def test_endless_text_is_cut() -> None:
    assert (
        attributes_of("Manufacturer", b"UN", b"Topcon" + b"x" * 2**20).text("Manufacturer")
        == "Topcon" + "x" * 1018
    )


@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG])
def test_numbers_are_read_in_every_encoding(encoding: Encoding) -> None:
    for value in (0, 1, 885, 65535):
        raw = struct.pack(encoding.order + "H", value)
        assert attributes_of("Rows", b"US", raw, encoding).integer("Rows") == value
    points = [900.0, 128.0, 0.5]
    raw = struct.pack(encoding.order + "3f", *points)
    assert (
        attributes_of("ReferenceCoordinates", b"FL", raw, encoding).numbers("ReferenceCoordinates").tolist()
        == points
    )
    spacing = attributes_of("PixelSpacing", b"DS", b"0.0026\\ 1.17e-2 ", encoding).numbers("PixelSpacing")
    assert spacing.tolist() == [0.0026, 0.0117]


@pytest.mark.parametrize(
    ("vr", "raw"),
    [(b"SS", struct.pack("<h", -5)), (b"SL", struct.pack("<l", -5)), (b"FD", struct.pack("<d", -5)),
     (b"IS", b"-5"), (b"DS", b"-5.0"), (b"UN", b"-5")],
)  # fmt: skip
def test_a_number_is_read_as_its_representation_says(vr: bytes, raw: bytes) -> None:
    assert attributes_of("RescaleIntercept", vr, raw).integer("RescaleIntercept") == -5


def test_an_unknown_representation_is_little_endian_in_a_big_endian_file() -> None:
    assert attributes_of("Rows", b"UN", b"\x05\x00", BIG).integer("Rows") == 5


def test_a_blank_is_no_number() -> None:
    spacing = attributes_of("PixelSpacing", b"DS", b"0.5\\").numbers("PixelSpacing")
    assert np.isnan(spacing).tolist() == [False, True]
    assert attributes_of("SliceThickness", b"DS", b" ").number("SliceThickness") is None


@pytest.mark.parametrize(
    ("name", "vr", "raw", "text"),
    [
        ("SliceThickness", b"DS", b"thin", "a text of 4 letters, want numbers"),
        ("SliceThickness", b"DS", b"nan ", "a text of 3 letters, want numbers"),
        ("SliceThickness", b"DS", b"1\\2 ", "2 values, want one"),
        ("NumberOfFrames", b"IS", b"1.5 ", "1.5, want a whole number"),
        ("NumberOfFrames", b"IS", b"1e999 ", "inf, want a whole number"),
        ("NumberOfFrames", b"IS", b"9223372036854775808", r"9.22\S+, want a whole number of at most 64 bits"),
        ("BitsStored", b"FD", struct.pack("<d", -1e300), "-1e\\+300, want a whole number of at most 64 bits"),
        ("Rows", b"US", b"\0\0\0", "3 bytes, want whole US"),
        ("PixelSpacing", b"UN", b"1\\" * 513, "1026 bytes, want at most 1024"),
        ("PixelMeasuresSequence", b"LO", b"none", "LO, want a sequence"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, vr: bytes, raw: bytes, text: str) -> None:
    attributes = attributes_of(name, vr, raw)
    with pytest.raises(Refused, match=f"unreadable: {name} (is|has) {text}"):
        _ = (attributes.integer(name), attributes.text(name)) if vr != b"LO" else attributes.first(name)


def items(*values: bytes) -> bytes:
    return b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value for value in values)


def test_items_are_datasets_of_listed_fields() -> None:
    name = written(0x00100010, b"PN", b"Doe^Jane")
    thick = [written(0x00180050, b"DS", text) for text in (b"0.1 ", b"0.2 ")]
    attributes = attributes_of("PixelMeasuresSequence", b"SQ", items(name + thick[0], thick[1], b""))
    assert [item.number("SliceThickness") for item in attributes.items("PixelMeasuresSequence")] == [
        0.1,
        0.2,
        None,
    ]
    first = attributes.first("PixelMeasuresSequence")
    assert first is not None
    assert list(first._by_tag) == [0x00180050]


@pytest.mark.parametrize("vr", [b"SQ", b"UN"])
def test_items_may_be_implicit_in_an_explicit_file(vr: bytes) -> None:
    """In a sequence of unknown representation they must be; elsewhere an old exporter forgot."""
    inside = written(0x00180050, b"", b"0.1 ", IMPLICIT)
    attributes = attributes_of("PixelMeasuresSequence", vr, items(inside)).first("PixelMeasuresSequence")
    assert attributes is not None
    assert attributes.number("SliceThickness") == 0.1


def test_an_item_or_element_that_reaches_too_far_is_refused() -> None:
    thick = written(0x00180050, b"DS", b"0.1 ")
    behind = written(0x00280010, b"US", b"\1\0") * 4
    long_item = struct.pack("<HHL", 0xFFFE, 0xE000, len(thick) + 2) + thick
    long_value = items(thick.replace(b"\x04\x00", b"\x08\x00"))
    for value, text in ((long_item, "an item of"), (long_value, r"\(0018,0050\)"), (thick, "want an item")):
        attributes = fields(written(0x00289110, b"SQ", value) + behind)
        with pytest.raises(Refused, match=text):
            attributes.first("PixelMeasuresSequence")
