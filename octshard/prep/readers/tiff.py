"""TIFF stacks, page by page through tifffile: each page is a B-scan.

Spacing is that of OME-XML, of ImageJ's description, or of the resolution tags where these are no screen's.
"""

import logging
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from octshard.imaging.volume import product
from octshard.prep.readers import array_scan, grey, tiff_directory, tiff_spacing, value_bytes
from octshard.prep.readers.array_scan import ArrayScan, Stack
from octshard.prep.readers.missing_library import missing_library
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
AXES = "dhw"  # pages, rows, columns
MINISWHITE, MINISBLACK = 0, 1  # PhotometricInterpretation of grey levels
RGB, PALETTE = 2, 3  # and of what may be grey: of three equal channels, or by equal colours of a table
SAMPLES = {MINISWHITE: 1, MINISBLACK: 1, RGB: 3, PALETTE: 1}
AXES_OF = {RGB: ("YXS", "SYX")}  # in the library's letters; of the others YX
COLOURS = {RGB: (np.uint8, np.uint16), PALETTE: (np.uint8,)}  # types of what may be grey
UNPACKED = 1  # Compression of values as they are
# what tifffile and its codecs raise on damaged files
DAMAGE = (
    ValueError, TypeError, LookupError, ArithmeticError, AttributeError, OSError, EOFError, RuntimeError,
    AssertionError, struct.error,
)  # fmt: skip
CODEC = re.compile(r"requires? the 'imagecodecs'")

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its notes on damage are ours to tell


@dataclass(frozen=True, eq=False)
class Pages:
    """The pages as a stack; decoded one at a time."""

    pages: Sequence[Any]

    def __getitem__(self, index: int, /) -> np.ndarray:
        """As `Stack`."""
        page = self.pages[index]
        try:
            values = np.asarray(page.asarray(maxworkers=1)).reshape(page.shape)
            return _grey(values, page)
        except DAMAGE as error:
            text = " ".join(str(error).split())
            if CODEC.search(text):
                raise missing_library("imagecodecs", "tiff") from None
            detail = f"page {index + 1}: {type(error).__name__}: {text[:150]}"
            raise Refused("decoder_error", detail, (text[:150],)) from None
        except Refused as refusal:
            raise refusal.behind(f"page {index + 1}: ") from None


def _grey(values: np.ndarray, page: Any) -> np.ndarray:
    """Values (H, W) of a page; Refused `not_oct` if it is in colour."""
    if page.photometric == RGB:
        return grey.of_channels(values if page.axes == "YXS" else np.moveaxis(values, 0, 2))
    if page.photometric == PALETTE:
        colours_HWC = np.moveaxis(page.colormap[:, values], 0, 2)
        return (grey.of_channels(colours_HWC) >> 8).astype(np.uint8)
    return np.invert(values) if page.photometric == MINISWHITE else values


def is_one(file: ScanBytes) -> bool:
    """True for TIFF and BigTIFF."""
    return bytes(file.data[:4]) in STARTS


def open_scan(file: ScanBytes) -> ArrayScan:
    """The stack; Refused if it cannot be a scan."""
    tifffile = _tifffile()
    try:
        pages = _pages(tifffile, file)
        for number, page in enumerate(pages, 1):
            _check(page, number, pages[0], len(file.data))
        told = tiff_spacing.spacing(pages[0], len(pages))
    except (*DAMAGE, tifffile.TiffFileError) as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        raise Refused("unreadable", f"the directory of a page is damaged ({text})", (text,)) from None
    stack = Pages(pages)
    shape, dtype = (len(pages), pages[0].imagelength, pages[0].imagewidth), pages[0].dtype
    axes = array_scan.volume_axes(shape, file.axes or AXES)

    def load() -> Stack:
        if axes == (0, 1, 2):
            return stack
        return array_scan.to_volume(np.stack([stack[index] for index in range(len(pages))]), axes)

    measures = array_scan.file_measures([told.mm[axis] for axis in axes])
    if told.is_screen:
        measures = replace(measures, pixel_mm=None, invented_mm=measures.pixel_mm)
    facts = array_scan.array_facts(array_scan.volume_shape(shape, axes), dtype, [measures])
    return ArrayScan(facts, dtype, load)


def _pages(tifffile: Any, file: ScanBytes) -> list[Any]:
    """The pages of full size. No file that the content names is opened."""
    count = len(tiff_directory.page_offsets(file.data))
    source = value_bytes.open_buffer(file.data)
    # makers' own layouts, which would be read from other places than the pages
    opened = tifffile.TiffFile(source, _multifile=False, is_lsm=False, is_scanimage=False, is_ndpi=False)
    pages = [page for page in map(opened.pages.__getitem__, range(count)) if not page.is_reduced]
    if not pages:
        raise Refused("no_pixel_data", "there is no page with an image")
    return pages


def _check(page: Any, number: int, first: Any, size: int) -> None:
    """Refused if a page is no B-scan like the first, or has other bytes than declared. size: of the file."""
    if SAMPLES.get(page.photometric) != page.samplesperpixel:
        what = f"{page.samplesperpixel} samples a pixel, PhotometricInterpretation {int(page.photometric)}"
        raise Refused("not_oct", f"page {number} is in colour ({what}), want grey levels")
    if page.dtype is None or page.axes not in AXES_OF.get(page.photometric, ("YX",)):
        raise Refused("unreadable", f"page {number} is no image of rows and columns of numbers")
    array_scan.check_dtype(page.dtype)
    if page.photometric in (RGB, PALETTE) and page.dtype not in COLOURS[page.photometric]:
        raise Refused("not_oct", f"page {number} is in colour, of {page.dtype}, want grey levels")
    if page.photometric == MINISWHITE and page.dtype.kind != "u":
        raise Refused("unreadable", "less is brighter (WhiteIsZero) in values that are no plain grey levels")
    if (page.shape, page.dtype, page.photometric) != (first.shape, first.dtype, first.photometric):
        detail = f"page {number} is {page.shape} of {page.dtype}, the first is {first.shape} of {first.dtype}"
        raise Refused("unreadable", f"{detail}; want pages that are alike")
    _check_bytes(page, number, size)


def _check_bytes(page: Any, number: int, size: int) -> None:
    """Memory is taken for what there is, not for what is declared."""
    spans = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    declared, stored = product(page.shape) * page.dtype.itemsize, sum(page.databytecounts)
    if declared and not stored:
        raise Refused("no_pixel_data", f"page {number} has no pixels")
    if any(offset + count > size for offset, count in spans):
        raise Refused("truncated", f"pixels of page {number} lie beyond the end of the file")
    if page.compression == UNPACKED and stored < declared and page.bitspersample % 8 == 0:
        raise Refused("truncated", f"page {number}: {stored} bytes of values, want {declared}")
    value_bytes.check_ratio(
        stored, max(declared, product(page.chunks) * page.dtype.itemsize), f"page {number}: "
    )


def _tifffile() -> Any:
    try:
        import tifffile
    except ImportError:
        raise missing_library("tifffile", "tiff") from None
    return tifffile
