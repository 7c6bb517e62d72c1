"""A .fda or .fds file, written from the chunks that uocte's wiki and OCT-Converter list."""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from octshard.prep.dicom.writer import Scan

Chunk = tuple[str, bytes]


@dataclass(frozen=True)
class Fda:
    """What of such a file a test chooses. pixels: jp2 | j2k, in @IMG_JPEG, or @IMG_SCAN_03 | @IMG_SCAN_02."""

    scan: Scan
    pixels: str = "j2k"
    mode: int = 2  # 3D
    sizes: str = "@PARAM_SCAN_04"
    voxels_DHW: np.ndarray | None = None  # instead of the scan's

    @property
    def stored(self) -> np.ndarray:
        return self.scan.voxels_DHW if self.voxels_DHW is None else self.voxels_DHW


def write(fda: Fda, more: Sequence[Chunk] = (), *, without: str = "") -> bytes:
    """The file with the chunks of `more` behind its own; without: the name of a chunk that is left out."""
    chunks = [
        ("@HW_INFO_03", b"DRI OCT Triton".ljust(16, b"\0") + b"SERIAL-NO".ljust(16, b"\0") + bytes(150)),
        ("@PATIENT_INFO_02", b"PATIENT-ID".ljust(32, b"\0") + b"JANE".ljust(32, b"\0") + bytes(600)),
        ("@CAPTURE_INFO_02", bytes([{"R": 0, "L": 1}.get(fda.scan.eye, 9), 2]) + bytes(104) + bytes(12)),
        (fda.sizes, _sizes(fda)),
        _pixels(fda),
        *more,
    ]
    kind = b"FDS" if fda.pixels.startswith("@") else b"FDA"
    out = b"FOCT" + kind + struct.pack("<2I", 2, 1000)
    for name, content in chunks:
        if name != without:
            out += bytes([len(name)]) + name.encode() + struct.pack("<I", len(content)) + content
    return out + b"\0"


def _sizes(fda: Fda) -> bytes:
    """Real Scan Length (1) and (2) in mm, then the depth of a pixel in um."""
    frames, _, cols = fda.stored.shape
    dy, dx = fda.scan.pixel_spacing_mm or (0.0, 0.0)
    lengths = struct.pack("<3d", cols * dx, frames * (fda.scan.slice_thickness_mm or 0.0), 1000 * dy)
    return (
        bytes({"@PARAM_SCAN_04": 12, "@PARAM_SCAN_02": 21}[fda.sizes])
        + lengths
        + struct.pack("<2d2B", 1, 1, 0, 1)
    )


def _pixels(fda: Fda) -> Chunk:
    frames, rows, cols = fda.stored.shape
    if fda.pixels.startswith("@"):
        data = fda.stored.astype("<u2").tobytes()
        header = struct.pack("<B4I", fda.mode, cols, rows, 16, frames)
        quality = struct.pack("<d", 55.5) if fda.pixels == "@IMG_SCAN_02" else b""
        return fda.pixels, header + quality + struct.pack("<BI", 0, len(data)) + data
    out = struct.pack("<B2I3I4s", fda.mode, 0, 0, cols, rows, frames, b"\x02\x0a\0\0")
    for frame_HW in fda.stored:
        code = io.BytesIO()
        image = Image.fromarray(frame_HW)
        image.save(code, format="JPEG2000", no_jp2=fda.pixels == "j2k", irreversible=False, num_resolutions=2)
        out += struct.pack("<I", len(code.getvalue())) + code.getvalue()
    return "@IMG_JPEG", out
