"""Which files are refused before their pixels are looked at: each with a reason that is true."""

import io
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, RLELossless

from octshard.prep.dicom import decode, file_kind, writer
from octshard.prep.dicom import header as dicom
from octshard.prep.refusals import Refused
from tests.support.made_release import scan

LIMIT = 10**9
NATIVE, J2K = (writer.write(replace(scan(), encoding=name)) for name in ("native", "j2k"))
IMAGE = [  # the attributes that an object without pixels does not have
    "PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames",
]  # fmt: skip


def edited(data: bytes, change: Callable[[Any], object]) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(data))
    change(ds)
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=False)
    return out.getvalue()


def in_syntax(data: bytes, new: str) -> bytes:
    """The same bytes, which now claim another transfer syntax."""
    old = str(pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID)
    before, after = (text.encode() + b"\0" * (len(text) % 2) for text in (old, new))
    at, (group,) = data.index(before, 132), struct.unpack_from("<I", data, 140)
    head = bytearray(data[:at])
    struct.pack_into("<H", head, at - 2, len(after))
    struct.pack_into("<I", head, 140, group - len(before) + len(after))
    return bytes(head) + after + data[at + len(before) :]


def refusal(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        list(decode.frames(data, dicom.read_header(data, LIMIT)))
    return str(caught.value)


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR Storage"),
        ("1.2.840.10008.5.1.4.1.1.9.1.1", "12-lead ECG Waveform Storage"),
        ("1.2.840.10008.5.1.4.1.1.481.5", "RT Plan Storage"),
        ("1.2.840.10008.5.1.4.1.1.66", "Raw Data Storage"),
        ("1.2.840.10008.1.3.10", "Media Storage Directory Storage"),
    ],
)
def test_an_object_of_another_class_is_no_oct_before_it_has_no_pixels(uid: str, name: str) -> None:
    def become(ds: Any) -> None:
        ds.SOPClassUID = UID(uid)
        for keyword in IMAGE:
            delattr(ds, keyword)

    text = f"not_oct: SOP class {uid} ({name}), want {file_kind.OPT_STORAGE} "
    assert refusal(edited(NATIVE, become)).startswith(text)
    with_pixels = edited(NATIVE, lambda ds: setattr(ds, "SOPClassUID", UID(uid)))
    assert refusal(edited(with_pixels, lambda ds: setattr(ds, "NumberOfFrames", 9))).startswith(text)
    assert refusal(edited(with_pixels, lambda ds: ds.pop("Rows"))).startswith(text)


def test_a_class_that_is_missing_is_not_another_one_and_text_in_its_place_is_not_repeated() -> None:
    assert refusal(edited(NATIVE, lambda ds: ds.pop("SOPClassUID"))) == "unreadable: SOPClassUID is missing"
    named = NATIVE.replace(file_kind.OPT_STORAGE.encode(), b"Doe^Jane".ljust(len(file_kind.OPT_STORAGE)))
    assert "not_oct: SOP class that is no UID" in refusal(named)


@pytest.mark.parametrize(
    ("tail", "name"),
    [("4.100", "MPEG2"), ("4.107", "HEVC"), ("4.92", "JPEG 2000 Part 2"), ("1.98", "Encapsulated Uncomp")],
)
def test_a_codec_that_is_not_read_is_named(tail: str, name: str) -> None:
    text = refusal(in_syntax(J2K, f"1.2.840.10008.1.2.{tail}"))
    assert text.startswith(
        f"unsupported_syntax: no decoder for transfer syntax 1.2.840.10008.1.2.{tail} ({name}"
    )


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95"])
def test_pixels_on_a_server_are_an_unsupported_syntax_not_missing(syntax: str) -> None:
    data = in_syntax(edited(NATIVE, lambda ds: ds.pop("PixelData")), syntax)
    assert refusal(data).startswith(f"unsupported_syntax: no decoder for transfer syntax {syntax} (JPIP")


def test_a_file_in_a_private_syntax_is_not_judged_by_the_rules_of_others() -> None:
    strange = NATIVE[:400] + b"\xee" * 300 + NATIVE[700:]
    assert refusal(strange).startswith("unreadable")
    assert refusal(in_syntax(strange, "1.2.840.113619.5.2")) == (
        "unsupported_syntax: no decoder for transfer syntax 1.2.840.113619.5.2"
    )
    assert refusal(in_syntax(NATIVE, "Doe^Jane")).endswith("transfer syntax that is no UID")


def test_codestreams_that_are_not_encapsulated_are_no_question_of_frames() -> None:
    assert refusal(in_syntax(NATIVE, "1.2.840.10008.1.2.4.90")) == (
        "unreadable: PixelData is a plain value, which 1.2.840.10008.1.2.4.90 does not allow"
    )
    codes = list(generate_frames(pydicom.dcmread(io.BytesIO(J2K)).PixelData, number_of_frames=6))
    plain = b"".join(codes) + b"\0" * (sum(map(len, codes)) % 2)
    assert refusal(edited(NATIVE, lambda ds: setattr(ds, "PixelData", plain))) == (
        "unreadable: PixelData is a compressed image, which 1.2.840.10008.1.2.1 does not allow"
    )


@pytest.mark.parametrize("has_bot", [False, True])
def test_several_fragments_in_an_rle_frame_are_read(has_bot: bool) -> None:
    whole = edited(NATIVE, lambda ds: ds.compress(RLELossless))
    parts = list(generate_frames(pydicom.dcmread(io.BytesIO(whole)).PixelData, number_of_frames=6))

    def split(ds: Any) -> None:
        ds.PixelData = encapsulate(parts, fragments_per_frame=3, has_bot=has_bot)
        ds["PixelData"].is_undefined_length = True

    data = edited(whole, split)
    frames = list(decode.frames(data, dicom.read_header(data, LIMIT)))
    assert [frame.tobytes() for frame in frames] == [frame.tobytes() for frame in scan().voxels_DHW]


def test_fragments_that_nobody_can_count_are_no_wrong_number_of_frames() -> None:
    codes = list(generate_frames(pydicom.dcmread(io.BytesIO(J2K)).PixelData, number_of_frames=6))

    def hide(ds: Any) -> None:
        masked = [b"\x5a" + code.rstrip(b"\0")[1:-1] for code in codes]  # without their ends too
        ds.PixelData = encapsulate(masked, fragments_per_frame=2, has_bot=False)
        ds["PixelData"].is_undefined_length = True

    assert refusal(edited(J2K, hide)) == (
        "decoder_error: 12 fragments, 0 offsets that do not lead to 6 frames"
    )


@pytest.mark.parametrize("number", [1, 3, 6])
@pytest.mark.parametrize("start", [b"\0\0\0\0", b"junk"])
def test_a_frame_without_its_beginning_is_damaged_not_missing(number: int, start: bytes) -> None:
    codes = list(generate_frames(pydicom.dcmread(io.BytesIO(J2K)).PixelData, number_of_frames=6))
    codes[number - 1] = start + codes[number - 1][4:]

    def put(ds: Any) -> None:
        ds.PixelData = encapsulate(codes, has_bot=False)
        ds["PixelData"].is_undefined_length = True

    text = f"decoder_error: frame {number}: begins with {start.hex(' ')}, want SOC and SIZ"
    assert refusal(edited(J2K, put)) == text


def test_a_fragment_of_padding_is_no_frame() -> None:
    codes = list(generate_frames(pydicom.dcmread(io.BytesIO(J2K)).PixelData, number_of_frames=6))

    def put(ds: Any) -> None:
        ds.PixelData = encapsulate([*codes, bytes(4)], has_bot=False)
        ds["PixelData"].is_undefined_length = True

    data = edited(J2K, put)
    assert len(list(decode.frames(data, dicom.read_header(data, LIMIT)))) == 6


def test_photometric_interpretations_that_are_no_colour_are_not_called_one() -> None:
    def photometric(value: str | None) -> bytes:
        return edited(NATIVE, lambda ds: setattr(ds, "PhotometricInterpretation", value))

    assert refusal(photometric("RGB")) == "not_oct: 1 samples per pixel, RGB, want 1, MONOCHROME"
    assert refusal(photometric(None)).startswith("unreadable: PhotometricInterpretation is missing")
    assert "unreadable" in (text := refusal(photometric("DOE JANE")))
    assert "DOE" not in text


def test_a_missing_number_of_frames_is_not_said_to_be_declared() -> None:
    text = "frame_count: no NumberOfFrames, want 1 frame, 6 stored"
    assert refusal(edited(NATIVE, lambda ds: ds.pop("NumberOfFrames"))) == text


def test_pixels_behind_the_last_frame_show_that_the_size_is_wrong() -> None:
    """With 19 of 20 rows declared, every frame but the first would be sheared."""
    assert refusal(edited(NATIVE, lambda ds: setattr(ds, "Rows", 19))) == (
        "unreadable: 144 bytes behind the pixels of (6, 19, 24) voxels"
    )
    padded = edited(NATIVE, lambda ds: setattr(ds, "PixelData", ds.PixelData + bytes(100)))
    assert len(list(decode.frames(padded, dicom.read_header(padded, LIMIT)))) == 6


def test_a_dataset_is_read_as_it_is_written_not_as_its_syntax_says() -> None:
    """As pydicom does it, which looks at the first element."""
    implicit_syntax = "1.2.840.10008.1.2"
    ds, out = pydicom.dcmread(io.BytesIO(NATIVE)), io.BytesIO()
    ds.file_meta.TransferSyntaxUID = UID(implicit_syntax)
    pydicom.dcmwrite(out, ds, implicit_vr=True, little_endian=True)
    for data in (in_syntax(NATIVE, implicit_syntax), in_syntax(out.getvalue(), "1.2.840.10008.1.2.1")):
        frames = list(decode.frames(data, dicom.read_header(data, LIMIT)))
        assert [frame.tobytes() for frame in frames] == [frame.tobytes() for frame in scan().voxels_DHW]


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_a_download_that_stopped_and_was_padded_with_zeros_is_truncated(cut: float) -> None:
    data = J2K[: int(len(J2K) * cut)] + bytes(4096)
    assert refusal(data).startswith("truncated: ")
    before_pixels = NATIVE[: NATIVE.index(b"\xe0\x7f\x10\0OB")]
    assert refusal(before_pixels + bytes(500)).startswith("truncated: only zeros from byte ")
