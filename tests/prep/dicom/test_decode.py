"""Pixels: every syntax against pydicom's `pixel_array`, reduced frames against geometry, defects named."""

import dataclasses
import io
import logging
import threading
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import RLELossless

from octshard.prep.dicom import compressed_frame, decode, elements, writer
from octshard.prep.dicom import header as dicom
from octshard.prep.refusals import Refused
from tests.support import mutations
from tests.support.made_release import RASTER, scan

LIMIT = 10**9
LITTLE, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4."


class Depth(NamedTuple):
    """How numbers are stored."""

    allocated: int
    stored: int
    signed: bool = False

    @property
    def kind(self) -> np.dtype:
        return np.dtype(f"{'i' if self.signed else 'u'}{self.allocated // 8}")


UNSIGNED = [Depth(8, 8), Depth(16, 10), Depth(16, 12), Depth(16, 16)]
SIGNED = [Depth(8, 8, True), Depth(16, 12, True), Depth(16, 16, True)]
DEPTHS = UNSIGNED + SIGNED


def smooth(depth: Depth, shape: tuple[int, int, int] = (3, 33, 47)) -> np.ndarray:
    """A slanted wave with noise that uses the whole range of `depth`."""
    z, y, x = np.mgrid[: shape[0], : shape[1], : shape[2]]
    noise = np.random.default_rng(0).normal(0, 0.05, shape)
    unit = np.clip(0.5 + 0.5 * np.sin(x / 7 + y / 11 + z) + noise, 0, 1)
    return (unit * (2**depth.stored - 1) - depth.signed * 2 ** (depth.stored - 1)).astype(depth.kind)


def file(
    voxels: np.ndarray, depth: Depth, syntax: str, pixels: bytes, vr: str = "OB", **values: object
) -> bytes:
    """A file of `voxels`' shape whose PixelData is `pixels`."""
    blank = dataclasses.replace(
        scan(), voxels_DHW=np.zeros(voxels.shape, np.uint8), locations=RASTER[: len(voxels)]
    )
    ds = pydicom.dcmread(io.BytesIO(writer.write(blank)))
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = depth.allocated, depth.stored, depth.stored - 1
    ds.PixelRepresentation = int(depth.signed)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = pixels + b"\0" * (len(pixels) % 2)
    ds["PixelData"].VR = vr
    ds["PixelData"].is_undefined_length = syntax not in (LITTLE, IMPLICIT, BIG)
    for name, value in values.items():
        setattr(ds, name, value)
    out = io.BytesIO()
    little, implicit = syntax != BIG, syntax == IMPLICIT
    pydicom.dcmwrite(out, ds, little_endian=little, implicit_vr=implicit, force_encoding=syntax == BIG)
    return out.getvalue()


def compressed(syntax: str, codes: Sequence[bytes], voxels: np.ndarray, depth: Depth, **values: Any) -> bytes:
    return file(voxels, depth, syntax, encapsulate(list(codes), has_bot=False), **values)


def stored(data: bytes) -> np.ndarray:
    return np.stack(list(decode.stored_pixels(data, dicom.read_header(data, LIMIT))))


def frames(data: bytes, level: int = 0) -> np.ndarray:
    return np.stack(list(decode.frames(data, dicom.read_header(data, LIMIT), level)))


def pixel_array(data: bytes) -> np.ndarray:
    return pydicom.dcmread(io.BytesIO(data)).pixel_array


def reason(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        frames(data)
    return caught.value.reason


def same(data: bytes) -> np.ndarray:
    """The stored numbers, after a look at pydicom's: equal in every bit and in type."""
    pixels, reference = stored(data), pixel_array(data)
    assert pixels.dtype == reference.dtype.newbyteorder("=")
    np.testing.assert_array_equal(pixels, reference)
    return pixels


@pytest.mark.parametrize("syntax", [LITTLE, IMPLICIT, BIG])
@pytest.mark.parametrize("depth", DEPTHS, ids=str)
def test_native_frames_equal_pixel_array(syntax: str, depth: Depth) -> None:
    voxels = smooth(depth)
    order = ">" if syntax == BIG else "<"
    vr = "OW" if syntax == IMPLICIT or depth.allocated == 16 else "OB"
    data = file(voxels, depth, syntax, voxels.astype(depth.kind.newbyteorder(order)).tobytes(), vr)
    np.testing.assert_array_equal(same(data), voxels)


@pytest.mark.parametrize("shape", [(3, 3, 5), (4, 3, 5), (2, 4, 6)])
def test_bytes_in_big_endian_words_are_put_right_in_odd_frames_too(shape: tuple[int, int, int]) -> None:
    depth = Depth(8, 8)
    voxels = smooth(depth, shape)
    flat = voxels.tobytes() + b"\0" * (voxels.size % 2)
    data = file(voxels, depth, BIG, np.frombuffer(flat, "<u2").byteswap().tobytes(), "OW")
    np.testing.assert_array_equal(same(data), voxels)


@pytest.mark.parametrize("depth", [Depth(16, 12), Depth(16, 12, True)], ids=str)
def test_what_stands_in_unused_high_bits_is_no_part_of_the_number(depth: Depth) -> None:
    voxels = smooth(depth)
    junk = (voxels.view(np.uint16) & 0x0FFF) | 0xA000
    np.testing.assert_array_equal(same(file(voxels, depth, LITTLE, junk.tobytes(), "OW")), voxels)


def test_native_frames_are_views_of_any_bytes() -> None:
    voxels = smooth(Depth(8, 8))
    data = file(voxels, Depth(8, 8), LITTLE, voxels.tobytes())
    header = dicom.read_header(memoryview(data), LIMIT)
    views = list(decode.frames(memoryview(data), header))
    np.testing.assert_array_equal(np.stack(views), voxels)
    whole = np.frombuffer(data, np.uint8)
    assert all(np.shares_memory(frame, whole) for frame in views)


def test_a_deflated_dataset_equals_pixel_array() -> None:
    ds = pydicom.dcmread(io.BytesIO(writer.write(scan())))
    ds.file_meta.TransferSyntaxUID = elements.DEFLATED
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    np.testing.assert_array_equal(same(out.getvalue()), scan().voxels_DHW)


def test_a_deflate_bomb_is_refused_before_it_fills_memory() -> None:
    """A mebibyte of zeros deflates to a kilobyte, which may be repeated at will."""
    head = writer.write(scan())
    _, start = elements._meta(head)
    head = head[:start].replace(b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x001.2.840.10008.1.2.1.99")
    engine = zlib.compressobj(wbits=-15)
    first, again = (engine.compress(bytes(2**20)) + engine.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    with pytest.raises(Refused, match="too_large: deflated dataset"):
        elements.parse(head + first + again * 200)


@pytest.mark.parametrize("depth", [Depth(8, 8), Depth(16, 12), Depth(16, 16, True)], ids=str)
def test_rle_equals_pixel_array(depth: Depth) -> None:
    voxels = smooth(depth)
    ds = pydicom.dcmread(io.BytesIO(file(voxels, depth, LITTLE, voxels.tobytes(), "OW")))
    ds.compress(RLELossless)
    out = io.BytesIO()
    ds.save_as(out)
    np.testing.assert_array_equal(same(out.getvalue()), voxels)


def j2k(frame: np.ndarray, bits: int, **options: Any) -> bytes:
    options = {"level": 0, "reversible": True, "codecformat": "j2k"} | options
    return bytes(imagecodecs.jpeg2k_encode(frame, bitspersample=bits, **options))


LOSSLESS: dict[str, Callable[[np.ndarray, Depth], bytes]] = {  # encoders that keep every number
    "57": lambda f, d: imagecodecs.jpeg8_encode(f, lossless=True, predictor=6, bitspersample=d.stored),
    "70": lambda f, d: imagecodecs.jpeg8_encode(f, lossless=True, predictor=1, bitspersample=d.stored),
    "80": lambda f, _: imagecodecs.jpegls_encode(f),
    "81": lambda f, _: imagecodecs.jpegls_encode(f, level=0),
    "90": lambda f, d: j2k(f, d.stored),
    "91": lambda f, d: j2k(f, d.stored),
    "201": lambda f, _: imagecodecs.htj2k_encode(f, reversible=True),
    "202": lambda f, _: imagecodecs.htj2k_encode(f, reversible=True),
    "203": lambda f, _: imagecodecs.htj2k_encode(f, reversible=True),
}
LOSSY: dict[str, Callable[[np.ndarray, Depth], bytes]] = {
    "50": lambda f, _: imagecodecs.jpeg8_encode(f, level=90),
    "51": lambda f, d: imagecodecs.jpeg8_encode(f, level=90, bitspersample=d.stored),
    "81": lambda f, _: imagecodecs.jpegls_encode(f, level=3),
    "91": lambda f, d: j2k(f, d.stored, level=40, reversible=False),
    "203": lambda f, _: imagecodecs.htj2k_encode(f, level=0.01, reversible=False),
}


@pytest.mark.parametrize("depth", UNSIGNED, ids=str)
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_codecs_equal_pixel_array_and_the_source(syntax: str, depth: Depth) -> None:
    voxels = smooth(depth)
    codes = [bytes(LOSSLESS[syntax](frame, depth)) for frame in voxels]
    np.testing.assert_array_equal(same(compressed(JPEG + syntax, codes, voxels, depth)), voxels)


@pytest.mark.parametrize("depth", SIGNED, ids=str)
@pytest.mark.parametrize("syntax", ["90", "201"])
def test_signed_codestreams_equal_pixel_array_and_the_source(syntax: str, depth: Depth) -> None:
    voxels = smooth(depth)
    codes = [bytes(LOSSLESS[syntax](frame, depth)) for frame in voxels]
    np.testing.assert_array_equal(same(compressed(JPEG + syntax, codes, voxels, depth)), voxels)


@pytest.mark.parametrize("depth", [Depth(8, 8, True), Depth(16, 16, True)], ids=str)
@pytest.mark.parametrize("syntax", ["70", "80"])
def test_codestreams_that_know_no_sign_hold_the_bits_of_signed_numbers(syntax: str, depth: Depth) -> None:
    voxels = smooth(depth)
    plain = voxels.view(f"u{depth.allocated // 8}")
    codes = [bytes(LOSSLESS[syntax](frame, depth)) for frame in plain]
    np.testing.assert_array_equal(same(compressed(JPEG + syntax, codes, voxels, depth)), voxels)


@pytest.mark.parametrize(
    ("syntax", "depth"),
    [("50", Depth(8, 8)), ("51", Depth(8, 8)), ("51", Depth(16, 12)), ("81", Depth(8, 8)),
     ("81", Depth(16, 12)), ("91", Depth(8, 8)), ("91", Depth(16, 12)), ("203", Depth(8, 8)),
     ("203", Depth(16, 16))],
)  # fmt: skip
def test_lossy_codecs_equal_pixel_array(syntax: str, depth: Depth) -> None:
    voxels = smooth(depth)
    codes = [bytes(LOSSY[syntax](frame, depth)) for frame in voxels]
    error = same(compressed(JPEG + syntax, codes, voxels, depth)).astype(float) - voxels
    assert 0 < np.abs(error).mean() < 0.03 * 2**depth.stored  # lossy, but the right picture


@pytest.mark.parametrize("depth", [Depth(8, 8), Depth(16, 12)], ids=str)
def test_the_header_says_what_the_bits_of_a_codestream_with_the_other_sign_mean(depth: Depth) -> None:
    signed = Depth(depth.allocated, depth.stored, True)
    voxels = smooth(depth)
    data = compressed(JPEG + "90", [j2k(frame, depth.stored) for frame in voxels], voxels, signed)
    top = 2 ** (depth.stored - 1)
    np.testing.assert_array_equal(same(data), (voxels.astype(int) + top) % (2 * top) - top)
    data = compressed(JPEG + "90", [j2k(frame, depth.stored) for frame in smooth(signed)], voxels, depth)
    np.testing.assert_array_equal(same(data), smooth(signed).astype(int) % (2 * top))


def test_no_other_decoder_has_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that pydicom asks before ours, as it does GDCM."""
    voxels = smooth(Depth(8, 8))
    for tail in ("50", "90"):
        data = compressed(
            JPEG + tail,
            [bytes((LOSSLESS | LOSSY)[tail](f, Depth(8, 8))) for f in voxels],
            voxels,
            Depth(8, 8),
        )
        alone = same(data)
        decoder = get_decoder(JPEG + tail)
        first = {"another": lambda code, runner: bytes(33 * 47)}
        monkeypatch.setattr(decoder, "_available", first | decoder._available)
        assert not pixel_array(data).any()
        np.testing.assert_array_equal(stored(data), alone)


@pytest.mark.parametrize("depth", [Depth(8, 8), Depth(16, 12)], ids=str)
def test_the_two_jpeg_2000_decoders_agree_to_the_bit(depth: Depth) -> None:
    """So that decoding fast, which is Pillow's, differs from exact by resolution alone."""
    voxels = smooth(depth, (1, 97, 130))
    code = j2k(voxels[0], depth.stored, level=35, reversible=False)
    ds = pydicom.dcmread(io.BytesIO(compressed(JPEG + "91", [code], voxels, depth)))
    pillow, pylibjpeg = (
        get_decoder(JPEG + "91").as_array(ds, decoding_plugin=name)[0] for name in ("pillow", "pylibjpeg")
    )
    np.testing.assert_array_equal(pillow, pylibjpeg)


def test_eight_bit_codestreams_in_sixteen_bit_files_are_widened() -> None:
    voxels = smooth(Depth(8, 8))
    data = compressed(JPEG + "90", [j2k(frame, 8) for frame in voxels], voxels, Depth(16, 8))
    np.testing.assert_array_equal(same(data), voxels)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("said", [8, 10])
@pytest.mark.parametrize("syntax", ["80", "90"])
def test_bits_that_the_header_does_not_know_of_are_kept_and_flagged(
    syntax: str, said: int, photometric: str
) -> None:
    """BitsStored is 8 or 10, but the codestreams hold 12 bits, of which pydicom keeps all."""
    voxels = smooth(Depth(16, 12))
    codes = [bytes(LOSSLESS[syntax](frame, Depth(16, 12))) for frame in voxels]
    data = compressed(JPEG + syntax, codes, voxels, Depth(16, said), PhotometricInterpretation=photometric)
    np.testing.assert_array_equal(same(data), voxels)
    top = 2 ** (12 if syntax == "90" else 16) - 1  # this JPEG-LS encoder declares 16 bits
    np.testing.assert_array_equal(frames(data), voxels if photometric[-1] == "2" else top - voxels)
    assert decode.bits_differ(data, dicom.read_header(data, LIMIT))


def test_signed_numbers_wider_than_the_header_says_are_not_cut_at_its_range() -> None:
    voxels = smooth(Depth(16, 12, True))
    data = compressed(JPEG + "90", [j2k(f, 12) for f in voxels], voxels, Depth(16, 8, True))
    np.testing.assert_array_equal(same(data), voxels)
    np.testing.assert_array_equal(frames(data), np.rint((voxels + 2048.0) * (65535 / 4095)))


def test_codestreams_that_agree_with_the_header_raise_no_flag() -> None:
    for depth in DEPTHS:
        voxels = smooth(depth)
        data = compressed(JPEG + "90", [j2k(f, depth.stored) for f in voxels], voxels, depth)
        assert not decode.bits_differ(data, dicom.read_header(data, LIMIT))
    voxels = smooth(Depth(8, 8))
    data = compressed(JPEG + "90", [j2k(f, 8) for f in voxels], voxels, Depth(8, 8, True))
    assert decode.bits_differ(data, dicom.read_header(data, LIMIT))  # the sign


@pytest.mark.parametrize("way", ["native", "rle", "left-justified"])
@pytest.mark.parametrize("said", [Depth(16, 8), Depth(16, 10), Depth(16, 10, True)], ids=str)
def test_native_numbers_of_more_bits_than_the_header_says_are_refused(said: Depth, way: str) -> None:
    """pydicom would cut the high bits off, and bright would wrap into dark."""
    voxels = smooth(Depth(16, 12)) << (4 if way == "left-justified" else 0)
    bits = 16 if way == "left-justified" else 12
    data = file(voxels, Depth(16, 12), LITTLE, voxels.tobytes(), "OW", HighBit=bits - 1)
    ds = pydicom.dcmread(io.BytesIO(data))
    if way == "rle":
        ds.compress(RLELossless)
    ds.BitsStored, ds.PixelRepresentation = said.stored, int(said.signed)
    out = io.BytesIO()
    ds.save_as(out)
    with pytest.raises(Refused) as caught:
        frames(out.getvalue())
    assert str(caught.value) == (
        f"unreadable: frame 1: BitsStored is {said.stored}, its pixels hold {bits} bits"
    )


@pytest.mark.parametrize("syntax", ["51", "70"])
def test_jpeg_of_another_depth_than_the_header_says_is_refused(syntax: str) -> None:
    """Of 12 bits pydicom would keep the low 8 or 10; 8 bits it cannot read where 16 are allocated."""
    codec = (LOSSLESS | LOSSY)[syntax]
    for depth, said in ((Depth(16, 12), Depth(16, 10)), (Depth(8, 8), Depth(16, 8))):
        voxels = smooth(depth)
        data = compressed(JPEG + syntax, [bytes(codec(f, depth)) for f in voxels], voxels, said)
        with pytest.raises(Refused, match=rf"decoder_error: frame 1: .*declares {depth.stored} bits, want"):
            frames(data)


def test_codestreams_in_jp2_boxes_are_decoded() -> None:
    voxels = smooth(Depth(8, 8))
    data = compressed(JPEG + "90", [j2k(f, 8, codecformat="jp2") for f in voxels], voxels, Depth(8, 8))
    np.testing.assert_array_equal(same(data), voxels)


def test_monochrome1_and_rescale_come_after_decoding() -> None:
    voxels, depth = smooth(Depth(16, 12)), Depth(16, 12)
    codes = [j2k(frame, 12) for frame in voxels]
    inverted = compressed(JPEG + "90", codes, voxels, depth, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(same(inverted), voxels)
    np.testing.assert_array_equal(frames(inverted), 4095 - voxels)
    scaled = compressed(JPEG + "90", codes, voxels, depth, RescaleSlope=2, RescaleIntercept=5)
    np.testing.assert_array_equal(frames(scaled), voxels * 2 + 5)


@pytest.mark.parametrize("offsets", ["none", "basic"])
@pytest.mark.parametrize("per_frame", [1, 2, 3])
@pytest.mark.parametrize("syntax", ["50", "80", "90", "201"])
def test_fragments_are_joined_with_and_without_offsets(syntax: str, per_frame: int, offsets: str) -> None:
    depth = Depth(8, 8)
    voxels = smooth(depth)
    codes = [bytes((LOSSLESS | LOSSY)[syntax](frame, depth)) for frame in voxels]
    pixels = encapsulate(codes, fragments_per_frame=per_frame, has_bot=offsets == "basic")
    same(file(voxels, depth, JPEG + syntax, pixels))


@pytest.mark.parametrize("pad", [0, 1])
def test_an_extended_offset_table_tells_frames_and_their_odd_lengths(pad: int) -> None:
    depth = Depth(8, 8)
    voxels = smooth(depth)
    codes = [code + b"\0" * ((len(code) + pad) % 2) for code in (j2k(frame, 8) for frame in voxels)]
    pixels, offsets, lengths = encapsulate_extended(codes)
    values = {"ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": lengths}
    same(file(voxels, depth, JPEG + "90", pixels, **values))


def test_an_rle_frame_that_ends_too_early_gets_no_padding() -> None:
    """With a padding byte in place of its last one it would decode, into another voxel."""
    depth = Depth(16, 12)
    voxels = np.random.default_rng(0).integers(0, 4096, (3, 33, 47)).astype(depth.kind)
    ds = pydicom.dcmread(io.BytesIO(file(voxels, depth, LITTLE, voxels.tobytes(), "OW")))
    ds.compress(RLELossless)
    codes = list(generate_frames(ds.PixelData, number_of_frames=len(voxels)))
    pixels, offsets, lengths = encapsulate_extended(codes)
    short = (np.frombuffer(lengths, "<u8") - 1).tobytes()
    tables = {"ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": short}
    data = file(voxels, depth, RLELossless, pixels, **tables)
    with pytest.raises(RuntimeError, match="Unable to decode"):
        pixel_array(data)
    assert reason(data) == "decoder_error"


def test_an_extended_offset_table_may_turn_the_order_round() -> None:
    depth = Depth(8, 8)
    voxels = smooth(depth)
    pixels, offsets, lengths = encapsulate_extended([j2k(frame, 8) for frame in voxels])
    turned = [np.frombuffer(table, "<u8")[::-1].tobytes() for table in (offsets, lengths)]
    values = {"ExtendedOffsetTable": turned[0], "ExtendedOffsetTableLengths": turned[1]}
    np.testing.assert_array_equal(same(file(voxels, depth, JPEG + "90", pixels, **values)), voxels[::-1])


def test_an_offset_table_that_leads_nowhere_gives_way_to_the_codestreams() -> None:
    depth = Depth(8, 8)
    voxels = smooth(depth)
    pixels = bytearray(encapsulate([j2k(frame, 8) for frame in voxels], fragments_per_frame=2, has_bot=True))
    pixels[12:16] = (6).to_bytes(4, "little")
    np.testing.assert_array_equal(stored(file(voxels, depth, JPEG + "90", bytes(pixels))), voxels)


# reduced resolution


def bell(shape: tuple[int, int], centre: tuple[float, float], levels: float) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 1.05 + levels * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * 30.0**2))


@pytest.mark.parametrize("depth", [Depth(8, 8), Depth(16, 12), Depth(16, 16)], ids=str)
@pytest.mark.parametrize("reversible", [True, False])
@pytest.mark.parametrize("level", [1, 2])
def test_sample_k_of_a_reduced_axis_lies_on_voxel_k_times_2_to_the_level(
    depth: Depth, reversible: bool, level: int
) -> None:
    """The centre of a bell, fitted to the reduced samples, is where it was drawn: within 1/20 voxel."""
    centre = (101.3, 120.6)
    source = np.rint(bell((204, 242), centre, 0.9 * 2**depth.stored)).astype(depth.kind)[None]
    code = j2k(source[0], depth.stored, reversible=reversible, level=0 if reversible else 70)
    data = compressed(JPEG + "91", [code], source, depth)
    frame_HW = frames(data, level)[0].astype(float)
    assert frame_HW.shape == (-(-204 >> level), -(-242 >> level))
    step = 2**level
    kept = frame_HW > frame_HW.max() / 4
    y, x = (axis[kept] * step for axis in np.mgrid[: frame_HW.shape[0], : frame_HW.shape[1]])
    terms = np.stack([np.ones(len(y)), y, x, y**2, x**2], axis=1) * frame_HW[kept][:, None]
    _, a, b, aa, bb = np.linalg.lstsq(terms, np.log(frame_HW[kept]) * frame_HW[kept], rcond=None)[0]
    assert -a / (2 * aa) == pytest.approx(centre[0], abs=0.05)
    assert -b / (2 * bb) == pytest.approx(centre[1], abs=0.05)
    assert frame_HW.max() == pytest.approx(source.max(), rel=0.02)


def fast(level_mm: tuple[float, float], **changes: Any) -> int:
    """The level for a scan of 0.01 x 0.02 mm pixels, its target in-plane spacing given."""
    voxels = smooth(Depth(8, 8), (2, 96, 128))
    options = {"syntax": "91", "depth": Depth(8, 8), "resolutions": 5} | changes
    codes = [j2k(frame, 8, resolutions=options["resolutions"]) for frame in voxels]
    data = compressed(JPEG + options["syntax"], codes, voxels, options["depth"])
    return decode.level_for(data, dicom.read_header(data, LIMIT), (0.05, 0.01, 0.02), (0.05, *level_mm))


def test_a_level_is_allowed_while_both_axes_stay_within_1_25_of_the_target() -> None:
    assert fast((0.02, 0.04)) == 1
    assert fast((0.016, 0.032)) == 1  # 0.02 and 0.04 are 1.25 times that
    assert fast((0.0159, 0.04)) == 0
    assert fast((0.02, 0.0319)) == 0
    assert fast((0.04, 0.08)) == 2
    assert fast((0.04, 0.04)) == 1
    assert fast((0.005, 0.01)) == 0


def test_a_level_needs_a_codestream_that_has_it() -> None:
    assert fast((1.0, 1.0), resolutions=2) == 1  # two resolutions are one level
    assert fast((1.0, 1.0), resolutions=1) == 0
    assert fast((1.0, 1.0), depth=Depth(8, 8, True)) == 0
    native = writer.write(scan())
    assert decode.level_for(native, dicom.read_header(native, LIMIT), (1, 1, 1), (9, 9, 9)) == 0


@pytest.mark.parametrize("size", range(60, 70))
def test_every_allowed_level_decodes(size: int) -> None:
    """Pillow rounds the reduced size, JPEG 2000 rounds up: a level on which they differ is not allowed."""
    voxels = smooth(Depth(8, 8), (1, size, 96))
    data = compressed(JPEG + "90", [j2k(voxels[0], 8)], voxels, Depth(8, 8))
    level = decode.level_for(data, dicom.read_header(data, LIMIT), (1, 1, 1), (1, 6, 6))
    assert 1 <= level <= 2
    assert frames(data, level).shape == (1, -(-size >> level), -(-96 >> level))


def test_high_throughput_codestreams_are_reduced_too() -> None:
    voxels = smooth(Depth(8, 8), (1, 96, 128))
    code = bytes(imagecodecs.htj2k_encode(voxels[0], reversible=True))
    data = compressed(JPEG + "201", [code], voxels, Depth(8, 8))
    assert decode.level_for(data, dicom.read_header(data, LIMIT), (1, 1, 1), (1, 2, 2)) == 1
    averaged = voxels[0].reshape(48, 2, 64, 2).mean((1, 3))
    assert np.abs(frames(data, 1)[0] - averaged).mean() < 12  # half a voxel apart, and noise


# defects


def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a decoder was asked")

    for name in ("_by_pydicom", "_by_openjpeg", "_reduced"):
        monkeypatch.setattr(compressed_frame, name, never)
    depth = Depth(8, 8)
    voxels = smooth(depth)
    big = bytearray(j2k(voxels[0], 8))
    big[8:16] = big[24:32] = (60_000).to_bytes(4) * 2  # image and tile: one of 3.6 GB
    small = smooth(depth, (3, 20, 24))
    for syntax, codes in {
        "90": [bytes(big)] * 3,
        "50": [LOSSY["50"](frame, depth) for frame in small],
        "70": [LOSSLESS["70"](frame, depth) for frame in small],
        "80": [LOSSLESS["80"](frame, depth) for frame in small],
    }.items():
        data = compressed(JPEG + syntax, [bytes(code) for code in codes], voxels, depth)
        with pytest.raises(Refused, match=r"decoder_error: frame 1: .*declares") as caught:
            frames(data)
        assert "want 33 x 47 x 1" in caught.value.detail


@pytest.mark.parametrize("syntax", ["50", "51", "70", "80", "81"])
def test_a_jpeg_frame_that_was_cut_is_refused(syntax: str) -> None:
    """libjpeg would fill the rest of the frame with anything, and pydicom would hand it on."""
    depth = Depth(8, 8)
    voxels = smooth(depth)
    codes = [{**LOSSLESS, **LOSSY}[syntax](frame, depth) for frame in voxels]
    codes[1] = codes[1][: len(codes[1]) * 3 // 4]
    with pytest.raises(Refused, match="decoder_error: frame 2: no end of image"):
        frames(compressed(JPEG + syntax, codes, voxels, depth))


def test_more_bits_than_the_file_has_room_for_are_refused() -> None:
    """pydicom would wrap them in silence."""
    voxels = smooth(Depth(16, 12))
    data = compressed(JPEG + "90", [j2k(frame, 12) for frame in voxels], voxels, Depth(8, 8))
    assert reason(data) == "decoder_error"


@pytest.mark.filterwarnings("ignore:The value for the data element")
def test_every_seeded_mutation_is_decoded_or_refused() -> None:
    outcomes: Counter[str] = Counter()
    for mutation in mutations.dicoms(300, seed=3):
        try:
            assert frames(mutation.data).ndim == 3, mutation.recipe
            outcomes["decoded"] += 1
        except Refused as refused:
            outcomes[refused.reason] += 1
            assert "\n" not in refused.detail, mutation.recipe  # noqa: PT017 (the other outcome is allowed too)
    assert {"decoded", "truncated", "decoder_error"} <= set(outcomes)


def test_threads_that_decode_at_once_leave_logging_and_warnings_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first to enter is the first to leave, while the other is still inside."""
    log, filters = logging.getLogger("pydicom"), list(warnings.filters)
    inside, first_left = threading.Barrier(2, timeout=30), threading.Event()
    silent: list[bool] = []

    def decoded(code: bytes, header: dicom.Header, level: int) -> np.ndarray:
        inside.wait()
        if threading.current_thread().name == "second":
            assert first_left.wait(30)
            silent.append(log.disabled)
        return np.zeros((header.rows, header.cols), np.uint8)

    voxels = np.zeros((1, 8, 8), np.uint8)
    data = compressed(JPEG + "90", [imagecodecs.jpeg2k_encode(voxels[0])], voxels, Depth(8, 8))
    monkeypatch.setattr(compressed_frame, "decode", decoded)
    monkeypatch.setattr(log, "disabled", False)
    first, second = (threading.Thread(target=stored, args=(data,), name=name) for name in ("first", "second"))
    first.start()
    second.start()
    first.join()
    first_left.set()
    second.join()
    assert silent == [True]
    assert log.disabled is False
    assert list(warnings.filters) == filters


def test_pillow_still_rounds_as_expected() -> None:
    """Fails when Pillow rounds the reduced size up, as JPEG 2000 does: then `_pillow_agrees` can go."""
    image = Image.open(io.BytesIO(j2k(smooth(Depth(8, 8), (1, 65, 96))[0], 8)))
    image.reduce = 2  # type: ignore[method-assign,assignment]
    with pytest.raises(OSError, match="broken data stream"):
        image.load()


@pytest.mark.parametrize("encoding", ["native", "j2k"])
@pytest.mark.parametrize("level", [0, 1])
def test_frames_come_in_the_order_that_is_asked_for(encoding: str, level: int) -> None:
    data = writer.write(dataclasses.replace(scan(), encoding=encoding))
    if encoding == "native" and level:
        return
    header, order = dicom.read_header(data, LIMIT), (3, 0, 5, 1, 4, 2)
    pairs = tuple((1.0 + i, 0.0) for i in range(6))  # every frame has its own rescaling
    header = dataclasses.replace(
        header, pixel_transform=dataclasses.replace(header.pixel_transform, rescale=pairs)
    )
    as_filed = list(decode.frames(data, header, level))
    for found, index in zip(decode.frames(data, header, level, order), order, strict=True):
        assert (found == as_filed[index]).all()
