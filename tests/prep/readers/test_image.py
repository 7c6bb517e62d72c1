"""PNG, BMP and JPEG as one B-scan: grey in all its guises, and what is no B-scan."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from octshard.prep.readers import recognise
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from tests.support.device_files.conversion import converted
from tests.support.image_files import encoded
from tests.support.made_release import scan

GREY = scan().voxels_DHW[0]
COLOUR = np.stack([GREY, GREY, GREY], axis=2)
COLOUR[3, 4, 0] ^= 128


def levels(data: bytes) -> np.ndarray:
    file = ScanBytes(data, "a")
    assert recognise.format_of(file) == "image"
    opened = recognise.open_scan(file)
    (frame_HW,) = opened.frames()
    assert opened.facts.shape == (1, *frame_HW.shape)
    assert opened.facts.bits == 8 * frame_HW.itemsize
    assert opened.facts.measures == ()
    return frame_HW


def reason(data: bytes) -> str:
    with pytest.raises(Refused) as refused:
        levels(data)
    return str(refused.value)


def palette(data_HW: np.ndarray, colours: list[int], kind: str = "PNG") -> bytes:
    picture = Image.fromarray(data_HW, "L")
    picture.putpalette(colours)
    picture.save(file := io.BytesIO(), kind)
    return file.getvalue()


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """By the PNG specification, without a library."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
@pytest.mark.parametrize("mode", ["", "RGB", "RGBA"])
def test_grey_is_grey_however_it_is_stored(kind: str, mode: str) -> None:
    np.testing.assert_array_equal(levels(encoded(GREY, kind, mode)), GREY)


@pytest.mark.parametrize("mode", ["", "RGB"])
def test_a_jpeg_of_grey_is_grey(mode: str) -> None:
    assert np.abs(levels(encoded(GREY, "JPEG", mode)).astype(int) - GREY).max() < 64


def test_sixteen_bits_stay_sixteen() -> None:
    wide = GREY.astype(np.uint16) * 257
    by_hand = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    for data in (encoded(wide), png(*wide.shape[::-1], 16, 0, by_hand)):
        np.testing.assert_array_equal(levels(data), wide)


def test_fewer_bits_and_a_grey_palette_are_levels() -> None:
    rows = b"".join(b"\0" + bytes([0x1F, 0x80]) for _ in range(2))
    np.testing.assert_array_equal(levels(png(4, 2, 4, 0, rows)), [[17, 255, 136, 0]] * 2)
    inverted = [255 - level for level in range(256) for _ in range(3)]
    for kind in ("PNG", "BMP"):
        np.testing.assert_array_equal(levels(palette(GREY, inverted, kind)), 255 - GREY)


def test_colours_of_a_palette_count_only_where_they_are_used() -> None:
    colours = [level for level in range(256) for _ in range(3)]
    unused = next(level for level in range(256) if level not in GREY)
    colours[3 * unused] ^= 1
    np.testing.assert_array_equal(levels(palette(GREY, colours)), GREY)
    colours[3 * int(GREY[0, 0])] ^= 1
    assert "pixels are in colour, want grey levels" in reason(palette(GREY, colours))


def test_one_pixel_of_colour_is_colour() -> None:
    assert reason(encoded(COLOUR)) == f"not_oct: 1 of {GREY.size} pixels are in colour, want grey levels"
    assert "are in colour" in reason(encoded(COLOUR, "BMP"))
    assert "are in colour" in reason(
        encoded(np.random.default_rng(1).integers(0, 255, (32, 32, 3), np.uint8), "JPEG")
    )


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (encoded(GREY > 3), "not_oct: one bit a pixel, as a mask has"),
        (encoded(COLOUR, "JPEG", "CMYK"), "not_oct: pixels in colour (CMYK)"),
        (encoded(np.dstack([COLOUR, GREY])), "not_oct: some pixels are transparent"),
        (encoded(GREY)[:-60], "truncated: the image is cut off"),
        (encoded(GREY, "BMP")[:-60], "truncated: the image is cut off"),
        (encoded(GREY, "JPEG")[:-60], "truncated: the image is cut off"),
        (encoded(GREY)[:30], "decoder_error"),
        (encoded(GREY)[:60] + b"\0" * 20 + encoded(GREY)[80:], "decoder_error"),
        (png(60_000, 60_000, 8, 0, b"\0" * 1000), "decoder_error"),
        (png(12_000, 8_000, 8, 0, b"\0" * 1000), "decoder_error"),
        (png(0, 8, 8, 0, b""), "decoder_error"),
        (png(2, 1, 16, 2, b"\0" + bytes(12)), "unreadable: 16 bits in each of several channels"),
    ],
)
def test_what_is_no_b_scan_is_refused(data: bytes, text: str) -> None:
    assert text in reason(data)


def test_an_animation_is_refused() -> None:
    first, second = Image.fromarray(GREY), Image.fromarray(GREY[::-1])
    first.save(file := io.BytesIO(), "PNG", save_all=True, append_images=[second])
    assert reason(file.getvalue()) == "unreadable: an animation of 2 pictures, want one"


def test_one_image_is_one_line_and_resolution_of_a_screen_is_not_believed() -> None:
    Image.fromarray(GREY).save(file := io.BytesIO(), "PNG", dpi=(300, 300))
    row = converted("a.png", file.getvalue()).row
    assert (row.format, row.reason, row.assumed_spacing) == ("image", "geometry_line", 1)
