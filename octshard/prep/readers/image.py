"""PNG, BMP and JPEG through Pillow: one B-scan in grey. Nothing that they tell of resolution is believed.

What programs write there (pHYs, JFIF density, a bitmap's dots per metre) is that of a screen or a printer.
"""

import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from octshard.imaging.volume import product
from octshard.prep.readers import array_scan, grey, value_bytes
from octshard.prep.readers.array_scan import ArrayScan, Stack
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
BITMAP = b"BM"
BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes of a bitmap's second header, by its version
AXES = "dhw"
WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes of 16 bits
COLOUR = ("RGB", "RGBA", "RGBX", "LA", "P", "PA")  # that may be grey
SLACK = {"JPEG": 3}  # levels by which channels of grey may differ, after lossy packing
# what Pillow raises on damaged files
DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError,
    RuntimeError, AssertionError, struct.error, zlib.error,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Picture:
    """One frame, decoded when it is asked for."""

    data: Buffer
    axes: tuple[int, int, int]

    def __getitem__(self, index: int, /) -> np.ndarray:
        """As `Stack`."""
        try:
            with _quiet(), _open(self.data) as image:
                image.load()
                values_HW = _grey(image)
        except (*DAMAGE, Image.DecompressionBombError) as error:
            raise _damage(error) from None
        return array_scan.to_volume(values_HW, self.axes)[index]


def is_one(file: ScanBytes) -> bool:
    """True for the beginning of any of the three."""
    head = bytes(file.data[:18])
    if head.startswith((PNG, JPEG)):
        return True
    return head.startswith(BITMAP) and int.from_bytes(head[14:18], "little") in BITMAP_HEADERS


def open_scan(file: ScanBytes) -> ArrayScan:
    """One frame; Refused for what is no grey image."""
    try:
        with _quiet(), _open(file.data) as image:
            mode, (width, height) = image.mode, image.size
            frames = getattr(image, "n_frames", 1) if image.format == "PNG" else 1
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise _damage(error) from None
    if _is_wide_colour(file.data):
        raise Refused("unreadable", "16 bits in each of several channels, want grey levels in one")
    if frames != 1:
        raise Refused("unreadable", f"an animation of {frames} pictures, want one")
    dtype = _dtype(mode)
    shape = height, width
    declared = product(shape) * dtype.itemsize
    value_bytes.check_ratio(len(file.data), declared)
    axes = array_scan.volume_axes(shape, file.axes or AXES)
    stack: Stack = Picture(file.data, axes)
    return ArrayScan(
        array_scan.array_facts(array_scan.volume_shape(shape, axes), dtype), dtype, lambda: stack
    )


def _is_wide_colour(data: Buffer) -> bool:
    """True for a PNG of which Pillow would drop half of the bits. Layout: PNG specification, 11.2.2."""
    depth, colour = bytes(data[24:26]) if bytes(data[:8]) == PNG else (0, 0)
    return depth == 16 and colour != 0


def _dtype(mode: str) -> np.dtype:
    """Of the grey levels; Refused `not_oct` for a mask, or for what is in colour whatever its pixels are."""
    if mode in WIDE:
        return np.dtype(np.uint16)
    if mode == "L" or mode in COLOUR:
        return np.dtype(np.uint8)
    what = "one bit a pixel, as a mask has" if mode == "1" else f"pixels in colour ({mode})"
    raise Refused("not_oct", f"{what}, want grey levels")


def _grey(image: Any) -> np.ndarray:
    """Levels (H, W); Refused `not_oct` if channels, or a palette's colours in use, differ."""
    if image.mode in WIDE:
        return np.asarray(image).astype(np.uint16)
    if image.mode == "L":
        return np.asarray(image)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        channels_HWC = np.asarray(image.convert("RGBA"))
        if (channels_HWC[..., 3] != 255).any():
            raise Refused("not_oct", "some pixels are transparent, want grey levels")
    return grey.of_channels(np.asarray(image.convert("RGB")), SLACK.get(image.format, 0))


def _open(data: Buffer) -> Any:
    return Image.open(value_bytes.open_buffer(data), formats=("PNG", "JPEG", "BMP"))


def _quiet() -> warnings.catch_warnings:
    """Without Pillow's warning of a large image: what is too large is refused by its size."""
    return warnings.catch_warnings(action="ignore")


def _damage(error: BaseException) -> Refused:
    text = " ".join(str(error).split())[:150]
    if "truncated" in text.lower():
        return Refused("truncated", f"the image is cut off ({text})", (text,))
    return Refused("decoder_error", f"{type(error).__name__}: {text}", (text,))
