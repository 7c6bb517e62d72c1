"""TIFF stacks as tifffile writes them, and what is wrong with others."""

import io
from typing import Any

import numpy as np
import pytest
import tifffile

from octshard.prep.readers import recognise
from octshard.prep.readers.scan import Scan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from tests.support.made_release import scan

VOXELS = scan().voxels_DHW


def written(voxels: np.ndarray = VOXELS, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, voxels, **options)
    return file.getvalue()


def pages(*images: tuple[np.ndarray, int]) -> bytes:
    """Images, each a page with its NewSubfileType."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for image, kind in images:
            writer.write(image, contiguous=False, subfiletype=kind)
    return file.getvalue()


def opened(data: bytes, axes: str = "") -> Scan:
    file = ScanBytes(data, "a.tif", axes)
    assert recognise.format_of(file) == "tiff"
    opened = recognise.open_scan(file)
    opened.check(10**8)
    return opened


def frames(scan: Scan) -> np.ndarray:
    return np.stack(list(scan.frames()))


@pytest.mark.parametrize("codec", ["zlib", "lzw", "packbits", "zstd", "lzma", "jpeg2000"])
def test_every_lossless_codec_gives_the_voxels(codec: str) -> None:
    np.testing.assert_array_equal(frames(opened(written(compression=codec))), VOXELS)


@pytest.mark.parametrize(
    "options",
    [
        {"byteorder": ">"},
        {"bigtiff": True},
        {"bigtiff": True, "byteorder": ">"},
        {"tile": (16, 16)},
        {"rowsperstrip": 7},
        {"compression": "zlib", "predictor": 2},
        {"metadata": None},
        {"ome": True, "metadata": {"axes": "TYX"}},
        {"imagej": True, "metadata": {"axes": "TYX"}},
    ],
)
def test_every_layout_gives_the_voxels(options: dict[str, Any]) -> None:
    np.testing.assert_array_equal(frames(opened(written(**options))), VOXELS)


def test_white_that_is_zero_is_turned() -> None:
    np.testing.assert_array_equal(frames(opened(written(photometric="miniswhite"))), 255 - VOXELS)


def test_smaller_copies_are_no_pages() -> None:
    small = VOXELS[0, ::2, ::2]
    data = pages((small, 1), *((frame, 0) for frame in VOXELS), (small, 1))
    np.testing.assert_array_equal(frames(opened(data)), VOXELS)


def test_pages_may_be_depths() -> None:
    np.testing.assert_array_equal(frames(opened(written(VOXELS.transpose(1, 0, 2)), "hdw")), VOXELS)


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (written(np.zeros((6, 20, 24, 4), np.uint8), photometric="rgb"), "not_oct", "4 samples a pixel"),
        (written(np.zeros((6, 20, 24, 3), np.float32), photometric="rgb"), "not_oct", "colour, of float32"),
        (written(VOXELS > 100), "unreadable", "type b8"),
        (written(VOXELS.astype("c8")), "unreadable", "type c64"),
        (written(VOXELS.astype("f4"), photometric="miniswhite"), "unreadable", "WhiteIsZero"),
        (written(volumetric=True, tile=(2, 16, 16)), "unreadable", "no image of rows and columns"),
        (pages((VOXELS[0], 0), (VOXELS[1, :10], 0)), "unreadable", r"page 2 is \(10, 24\)"),
        (written(np.stack([VOXELS] * 2), ome=True, metadata={"axes": "TZYX"}), "several_volumes", "2 T"),
        (
            written(np.stack([VOXELS] * 2), imagej=True, metadata={"axes": "TZYX"}),
            "several_volumes",
            "2 frames",
        ),
        (written(description="ImageJ=1\nslices=7\n"), "frame_count", "7 B-scans declared .*, 6 pages stored"),
        (written()[:-1400], "truncated", "lie beyond the end|directory of pages"),
        (b"II*\0", "truncated", "directory of pages"),
        (b"II*\0\0\0\0\0", "no_pixel_data", "no page"),
        (written(np.zeros((2, 9000, 9000), np.uint8), compression="lzma"), "decoder_error", "cannot become"),
    ],
)
def test_what_is_no_stack_or_damaged_is_refused(data: bytes, reason: str, words: str) -> None:
    with pytest.raises(Refused, match=f"^{reason}: .*({words})"):
        frames(opened(data))


def test_a_page_that_does_not_decode_is_named() -> None:
    data = bytearray(written(compression="zlib"))
    offset = tifffile.TiffFile(io.BytesIO(bytes(data))).pages[2].dataoffsets[0]
    data[offset : offset + 40] = bytes(40)
    with pytest.raises(Refused, match=r"^decoder_error: page 3: "):
        frames(opened(bytes(data)))


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("packing", [None, "zlib"])
def test_three_equal_channels_are_grey_and_others_are_not(
    dtype: str, planar: str, packing: str | None
) -> None:
    values = VOXELS.astype(dtype) * (1 if dtype == "u1" else 200)
    axis = 3 if planar == "contig" else 1
    options = {"photometric": "rgb", "planarconfig": planar, "compression": packing}
    data = written(np.stack([values] * 3, axis), **options)
    opened = recognise.open_scan(ScanBytes(data, "a"))
    np.testing.assert_array_equal(np.stack(list(opened.frames())), values)
    other = values.copy()
    other[2, 3, 4] ^= 1
    data = written(np.stack([values, values, other], axis), **options)
    with pytest.raises(Refused, match=r"not_oct: page 3: 1 of 480 pixels are in colour"):
        list(recognise.open_scan(ScanBytes(data, "a")).frames())


def test_a_palette_of_grey_is_grey_where_it_is_used() -> None:
    values = VOXELS // 2
    colours = np.tile(np.arange(255, -1, -1, dtype=np.uint16) * 257, (3, 1))
    colours[0, 200] ^= 1  # of a level that no pixel has
    data = written(values, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(
        np.stack(list(recognise.open_scan(ScanBytes(data, "a")).frames())), 255 - values
    )
    colours[0, values[0, 0, 0]] ^= 1
    data = written(values, photometric="palette", colormap=colours)
    with pytest.raises(Refused, match=r"not_oct: page 1: \d+ of 480 pixels are in colour"):
        list(recognise.open_scan(ScanBytes(data, "a")).frames())
