"""A Bioptigen .OCT file, written as the vendor's MATLAB reader reads it."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Oct:
    """size_mm: along the slow axis, in depth, along a B-scan; header: fields that are others."""

    voxels_DHW: np.ndarray
    size_mm: tuple[float, float, float]
    header: Mapping[str, bytes | None] = field(default_factory=dict)  # None: left out


def number(value: int) -> bytes:
    return struct.pack("<I", value)


def _field(key: str, content: bytes, size: int | None = None) -> bytes:
    return number(len(key)) + key.encode() + number(len(content) if size is None else size) + content


def write(oct: Oct) -> bytes:
    """The file."""
    frames, rows, cols = oct.voxels_DHW.shape
    slow, depth, fast = (struct.pack("<d", mm) for mm in oct.size_mm)
    header: dict[str, bytes | None] = {
        "FRAMECOUNT": number(frames), "LINECOUNT": number(cols), "LINELENGTH": number(rows),
        "SAMPLEFORMAT": number(2), "DESCRIPTION": b"PATIENT-ID JANE DOE",
        "XMIN": bytes(8), "XMAX": depth, "XCAPTION": b"mm", "YMIN": bytes(8), "YMAX": fast, "YCAPTION": b"mm",
        "SCANTYPE": number(1), "SCANDEPTH": depth, "SCANLENGTH": fast, "AZSCANLENGTH": fast,
        "ELSCANLENGTH": slow, "OBJECTDISTANCE": bytes(8), "SCANANGLE": bytes(8), "SCANS": number(frames),
        "FRAMES": number(1), "DOPPLERFLAG": number(0), "CONFIG": bytes(100),
        **oct.header,
    }  # fmt: skip
    fields = b"".join(_field(key, content) for key, content in header.items() if content is not None)
    out = (
        struct.pack("<IH", 0xCEFAEDFE, 0x0101) + _field("FRAMEHEADER", b"", len(fields)) + fields + number(0)
    )
    for frame_HW in oct.voxels_DHW.astype("<u2"):
        lines = b"".join(frame_HW[:, w].tobytes() for w in range(cols))
        inner = (
            _field("FRAMEDATETIME", struct.pack("<8H", 2010, 10, 2, 26, 9, 30, 5, 7))
            + _field("FRAMETIMESTAMP", struct.pack("<d", 1.5))
            + _field("FRAMELINES", number(cols))
            + _field("FRAMESAMPLES", lines)
        )
        out += _field("FRAMEDATA", b"", len(inner)) + inner + number(0)
    return out
