"""A .vol file, written byte by byte from the vendor's table of offsets, as eyepy repeats it."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.prep.dicom.writer import Scan

INVALID = np.finfo(np.float32).max  # "3.402823466E+38": no value at this pixel
NAMES = {"L": "OS", "R": "OD"}


@dataclass(frozen=True)
class Vol:
    """What of a .vol file a test chooses. lines: StartX, StartY, EndX, EndY of each B-scan, mm."""

    scan: Scan
    lines: Sequence[tuple[float, float, float, float]]
    pattern: int = 3
    frame_header_bytes: int = 256 + 17 * 4 * 24  # 17 layers of as many floats as a B-scan has columns
    slo: tuple[int, int] = (30, 20)  # SizeXSlo, SizeYSlo


def lines_of(scan: Scan) -> list[tuple[float, float, float, float]]:
    """Those of straight frame locations, of which a pixel is 1 um."""
    return [(a[1] / 1e3, a[0] / 1e3, b[1] / 1e3, b[0] / 1e3) for a, b in scan.locations]


def reflectance(voxels_DHW: np.ndarray) -> np.ndarray:
    """What the vendor's display shows as these grey levels: it takes the fourth root."""
    return ((voxels_DHW.astype(np.float64) / 255) ** 4).astype(np.float32)


def write(vol: Vol, reflectance_DHW: np.ndarray | None = None) -> bytes:
    """The file; pixels are those of the scan unless they are given."""
    scan = vol.scan
    values = reflectance(scan.voxels_DHW) if reflectance_DHW is None else reflectance_DHW
    frames, rows, cols = values.shape
    dy, dx = scan.pixel_spacing_mm or (0.0, 0.0)
    header = bytearray(2048)
    for offset, form, value in (
        (0, "12s", b"HSF-OCT-103"),
        (12, "<i", cols),
        (16, "<i", frames),
        (20, "<i", rows),
        (24, "<d", dx),
        (32, "<d", scan.slice_thickness_mm or 0.0),
        (40, "<d", dy),
        (48, "<i", vol.slo[0]),
        (52, "<i", vol.slo[1]),
        (56, "<d", 0.0114),
        (64, "<d", 0.0114),
        (72, "<i", 30),
        (76, "<d", 0.25),
        (84, "4s", NAMES.get(scan.eye, "").encode()),
        (88, "<Q", 131_000_000_000_000_000),
        (96, "<i", vol.pattern),
        (100, "<i", vol.frame_header_bytes),
        (104, "16s", b"2390"),
        (136, "<i", 77),
        (140, "21s", b"PATIENT-ID"),
        (164, "<d", 20_000.0),
    ):
        struct.pack_into(form, header, offset, value)
    parts = [bytes(header), bytes(i % 256 for i in range(vol.slo[0] * vol.slo[1]))]
    for line, frame_HW in zip(vol.lines, values, strict=True):
        frame = bytearray(vol.frame_header_bytes)
        for offset, form, value in (
            (0, "12s", b"HSF-BS-103"),
            (12, "<i", vol.frame_header_bytes),
            (16, "<4d", line),
            (48, "<i", 17),
            (52, "<i", 256),
            (56, "<f", 27.5),
        ):
            struct.pack_into(form, frame, offset, *(value if isinstance(value, tuple) else (value,)))
        parts += [bytes(frame), frame_HW.astype("<f4").tobytes()]
    return b"".join(parts)
