"""The element walker: a cut anywhere is noticed, and every way to write lengths is understood."""

import dataclasses
import io
import struct
import zlib

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from octshard.prep.dicom import elements, encapsulation, writer
from octshard.prep.refusals import Refused
from tests.support.made_release import scan


def file(encoding: str) -> bytes:
    whole = scan()
    small = dataclasses.replace(
        whole, voxels_DHW=whole.voxels_DHW[:2], locations=whole.locations[:2], encoding=encoding
    )
    return writer.write(small)


def rewritten(data: bytes, syntax: str, *, undefined: bool = False) -> bytes:
    """The same dataset in another native syntax, by pydicom; undefined: lengths of sequences and items."""
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    if undefined:
        _undefine(ds)
    out = io.BytesIO()
    pydicom.dcmwrite(
        out, ds, implicit_vr=syntax == elements.IMPLICIT_LITTLE, little_endian=syntax != elements.EXPLICIT_BIG
    )
    return out.getvalue()


def _undefine(ds: Dataset) -> None:
    for element in ds:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _undefine(item)


@pytest.mark.parametrize("encoding", ["native", "j2k"])
def test_a_cut_at_any_byte_is_refused(encoding: str) -> None:
    data = file(encoding)
    reasons = set()
    for cut in range(len(data)):
        try:
            parsed = elements.parse(data[:cut])
        except Refused as refused:
            reasons.add(refused.reason)
            continue
        assert parsed.pixels is None, cut  # cut between two elements before PixelData: no_pixel_data
    assert reasons == {"empty", "not_dicom", "truncated"}
    assert elements.parse(data).pixels is not None


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("undefined", [False, True])
def test_every_coding_of_lengths_is_walked(syntax: str, undefined: bool) -> None:
    data = rewritten(file("native"), syntax, undefined=undefined)
    parsed = elements.parse(data)
    assert parsed.transfer_syntax == syntax
    assert parsed.pixels is not None
    assert parsed.pixels.nbytes == scan().voxels_DHW[:2].size
    for cut in range(132, len(data), 7):
        try:
            assert elements.parse(data[:cut]).pixels is None
        except Refused as refused:
            assert refused.reason == "truncated", refused  # noqa: PT017 (the other outcome is allowed too)


def test_a_sequence_of_unknown_vr_is_implicit_inside() -> None:
    item = struct.pack("<HHL", 0x0008, 0x0104, 4) + b"text"  # implicit VR within an explicit file
    items = struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    private = struct.pack("<HH2sHL", 0x0009, 0x1001, b"UN", 0, elements.UNDEFINED) + items
    data = file("native")
    _, start = elements._meta(data)
    parsed = elements.parse(data[:start] + private + data[start:])
    assert parsed.pixels is not None


@pytest.mark.parametrize("length", [None, elements.UNDEFINED])
def test_items_that_forgot_their_vrs_are_walked_too(length: int | None) -> None:
    """Old exporters put implicit items into sequences of explicit files, with and without lengths."""
    inner = struct.pack("<HHL", 0x0029, 0x1011, 4) + b"wxyz"
    deeper = struct.pack("<HHL", 0x0029, 0x1012, elements.UNDEFINED)
    deeper += struct.pack("<HHL", 0xFFFE, 0xE000, elements.UNDEFINED) + inner
    deeper += struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    ends = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) if length else b""
    item = struct.pack("<HHL", 0xFFFE, 0xE000, length or len(inner + deeper)) + inner + deeper + ends
    items = item + item + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    private = struct.pack("<HH2sHL", 0x0029, 0x1010, b"SQ", 0, elements.UNDEFINED) + items
    data = file("native")
    _, start = elements._meta(data)
    parsed = elements.parse(data[:start] + private + data[start:])
    assert parsed.pixels is not None
    assert parsed.pixels.nbytes == scan().voxels_DHW[:2].size


def test_frames_are_counted_by_codestreams_then_offsets_then_fragments() -> None:
    data = file("j2k")
    parsed = elements.parse(data)
    assert encapsulation.encapsulated_frames(parsed, 2) == 2
    assert parsed.pixels is not None
    assert parsed.pixels.fragments is not None
    (start, stop), second = parsed.pixels.fragments
    middle = (start + stop) // 4 * 2

    def counted(fragments: tuple[elements.Span, ...], offsets: tuple[int, ...] = ()) -> int | None:
        pixels = dataclasses.replace(parsed.pixels, fragments=fragments, offsets=offsets)
        return encapsulation.encapsulated_frames(dataclasses.replace(parsed, pixels=pixels), 3)

    assert counted(((start, middle), (middle, stop), second), (0, 99)) == 2
    unmarked = ((start + 4, middle), (middle, stop), (middle, stop))
    assert counted(unmarked) == 3
    assert counted(unmarked, (0, 99)) == 2

    assert counted((*unmarked, (middle, stop))) is None  # of four nobody knows which make three frames


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 512])
@pytest.mark.parametrize("encoding", ["native", "j2k"])
def test_zeros_behind_the_last_element_are_padding(count: int, encoding: str) -> None:
    assert elements.parse(file(encoding) + bytes(count)).pixels is not None


def test_a_deflated_dataset_is_inflated_and_its_cut_is_seen() -> None:
    data = file("native")
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.file_meta.TransferSyntaxUID = UID(elements.DEFLATED)
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    assert elements.parse(out.getvalue()).pixels is not None
    with pytest.raises(Refused, match="truncated"):
        elements.parse(out.getvalue()[:-40])


def test_deep_nesting_is_refused_before_python_runs_out_of_stack() -> None:
    data = file("native")
    _, start = elements._meta(data)
    level = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, elements.UNDEFINED)
    level += struct.pack("<HHL", 0xFFFE, 0xE000, elements.UNDEFINED)
    with pytest.raises(Refused, match="nested deeper"):
        elements.parse(data[:start] + level * 5000)


@pytest.mark.parametrize("what", ["fragments", "offsets", "extended offsets"])
def test_more_fragments_than_memory_should_hold_are_refused(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elements, "MAX_FRAGMENTS", 9)
    items = 8 * struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    items = items + (items if what == "fragments" else b"")
    table = bytes(40 if what == "offsets" else 0)
    extended = b"".join(struct.pack("<HH2sHI", 0x7FE0, number, b"OV", 0, 80) + bytes(80) for number in (1, 2))
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, elements.UNDEFINED)
    pixels += struct.pack("<HHI", 0xFFFE, 0xE000, len(table)) + table + items
    pixels += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = file("j2k")
    start = data.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OB"))
    with pytest.raises(Refused, match=f"unreadable: PixelData has more than 9 {what}"):
        elements.parse(data[:start] + extended * (what == "extended offsets") + pixels)


def test_what_is_no_dicom_is_named() -> None:
    for data in (b"\0", b"version https://git-lfs.example/spec/v1\n", zlib.compress(bytes(4000))):
        with pytest.raises(Refused) as caught:
            elements.parse(data)
        assert caught.value.reason == "not_dicom"


def test_an_unknown_representation_is_unreadable() -> None:
    data = file("native")
    _, start = elements._meta(data)
    with pytest.raises(Refused) as caught:
        elements.parse(data[:start] + b"\x08\x00\x05\x00QQ\x00\x00" + data[start:])
    assert caught.value.reason == "unreadable"


def test_a_dataset_of_sequences_only_has_no_pixels() -> None:
    ds = Dataset()
    ds.ReferencedImageSequence = Sequence([Dataset()])
    data = file("native")
    _, start = elements._meta(data)
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, implicit_vr=False, little_endian=True)
    assert elements.parse(data[:start] + out.getvalue()).pixels is None


def test_pixels_are_found_where_they_lie() -> None:
    data = file("native")
    pixels = elements.parse(data).pixels
    assert pixels is not None
    assert data[pixels.start : pixels.start + pixels.nbytes] == scan().voxels_DHW[:2].tobytes()
    compressed = file("j2k")
    pixels = elements.parse(compressed).pixels
    assert pixels is not None
    assert pixels.fragments is not None
    places = [compressed.index(b"\xff\x4f\xff\x51"), compressed.rindex(b"\xff\x4f\xff\x51")]
    assert [start for start, _ in pixels.fragments] == places
    assert [pixels.start + offset + 8 for offset in pixels.offsets] == places


def test_of_wanted_elements_the_last_is_kept_as_pydicom_has_it() -> None:
    data = file("native") + struct.pack("<HH2sHH", 0x0028, 0x0010, b"US", 2, 9)
    parsed = elements.parse(data, {0x00280010, 0x00280011})
    values = {tag: data[e.start : e.start + e.length] for tag, e in parsed.elements.items()}
    assert values == {0x00280010: b"\x09\0", 0x00280011: b"\x18\0"}
    assert pydicom.dcmread(io.BytesIO(data)).Rows == 9


SPANS = ((100, 110), (118, 130), (138, 150))  # fragments, as if the offsets counted from byte 92


@pytest.mark.parametrize(
    ("offsets", "lengths", "frames", "spans"),
    [
        ((), (), 3, ((SPANS[0],), (SPANS[1],), (SPANS[2],))),
        ((), (), 1, None),
        ((0,), (), 1, (SPANS,)),
        ((0, 38), (), 2, (SPANS[:2], SPANS[2:])),
        ((0, 18), (), 2, (SPANS[:1], SPANS[1:])),
        ((0, 19), (), 2, None),  # leads into a fragment
        ((18, 0), (), 2, None),  # the basic table follows the order of the fragments
        ((38, 18, 0), (12, 11, 10), 3, (((138, 150),), ((118, 129),), ((100, 110),))),
        ((38, 18, 0), (12, 99, 10), 3, None),  # a length that is no fragment's
        ((0, 18, 0), (10, 12, 10), 3, None),  # a fragment twice
        ((2**63, 0, 18), (1, 1, 1), 3, ((SPANS[0],), (SPANS[1],), (SPANS[2],))),
    ],
)
def test_frames_are_told_from_tables_and_fragments(
    offsets: tuple[int, ...], lengths: tuple[int, ...], frames: int, spans: object
) -> None:
    pixels = elements.Pixels(b"OB", 92, 34, SPANS, offsets, lengths)
    if spans is None:
        with pytest.raises(Refused, match="decoder_error"):
            encapsulation.frame_spans(bytes(200), pixels, frames)
    else:
        assert encapsulation.frame_spans(bytes(200), pixels, frames) == spans


def test_group_zero_has_no_place_in_a_dataset() -> None:
    """It would be searched for the end of padding again and again."""
    data = file("native")
    with pytest.raises(Refused, match=r"\(0000,0000\)"):
        elements.parse(data + bytes(64) + b"\1")


def test_first_bytes_of_what_is_no_dicom_are_private() -> None:
    with pytest.raises(Refused, match=r"\(40817299 4081729\)") as refused:
        elements.parse(b"40817299 " * 30)
    assert refused.value.public.startswith("270 bytes without DICM at byte 128, beginning with ...; it looks")
