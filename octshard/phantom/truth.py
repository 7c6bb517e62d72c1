"""The columns of truth.parquet, both directions: measures, layer boundaries, lesion masks and vessels seen
from above, of one scan.

The file is beside manifest.tsv, for tests and figures; training and evaluation do not read it.
"""

import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from octshard.phantom.eye import BM, BOUNDARIES, GCL, ILM, SUB, Eye
from octshard.phantom.scan import Picture

SIXTEENTHS = 16  # boundary rows are kept in sixteenths of a voxel
ROWS = (-512.0, 1535.0)  # rows are cut to these: frames have at most 1024, and differences must fit int16
FULL_FLOW_MM = 0.1  # a vessel so high, or higher, is 255 in `vessels`
CLEAR_OF_DISC = 1.5  # disc radii: closer, nerve fibres belong to the disc


def measure(eye: Eye, picture: Picture) -> dict[str, Any]:
    """The truth of a picture, as columns. Lesion volumes of a pattern without a slice step are 0."""
    rows, grid = picture.rows_KDW, picture.grid
    step, dy, dx = (mm / n for mm, n in zip(picture.extent_mm, picture.voxels_DHW.shape, strict=True))
    away = np.hypot(grid.x_DW - eye.disc.x_mm, grid.y_DW - eye.disc.y_mm)
    fibres = (rows[GCL] - rows[ILM])[away > CLEAR_OF_DISC * eye.disc.radius_mm]
    drusen, fluid = (int(np.bitwise_count(bits).sum()) for bits in (picture.drusen_DB, picture.fluid_DB))
    return {
        "nerve_fibres_um": float(fibres.mean() * dy * 1000) if fibres.size else 0.0,
        "rpe_lift_um": float((rows[BM] - rows[SUB]).max() * dy * 1000),
        "drusen_mm3": drusen * step * dy * dx,
        "fluid_mm3": fluid * step * dy * dx,
        "boundaries": _pack_rows(rows),
        "drusen": zlib.compress(picture.drusen_DB.tobytes(), 6),
        "fluid": zlib.compress(picture.fluid_DB.tobytes(), 6),
        "vessels": _pack_vessels(eye.tree.chord(grid.x_DW, grid.y_DW)),
    }


def boundaries_of(packed: bytes, shape: Iterable[int]) -> np.ndarray:
    """rows_KDW (float32, rows of `eye.BOUNDARIES`) from the column `boundaries`; shape is (D, H, W)."""
    d, _, w = shape
    steps = np.frombuffer(zlib.decompress(packed), "<i2").reshape(len(BOUNDARIES), d, w)
    return np.cumsum(steps, axis=2, dtype=np.int32).astype(np.float32) / SIXTEENTHS


def mask_of(packed: bytes, shape: Iterable[int]) -> np.ndarray:
    """Boolean lesion mask (D, H, W) from the columns `drusen` or `fluid`."""
    d, h, w = shape
    bits = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(d, -1)
    return np.unpackbits(bits, axis=1, count=h * w).reshape(d, h, w).astype(bool)


def vessels_of(packed: bytes, shape: Iterable[int]) -> np.ndarray:
    """uint8 (D, W) from the column `vessels`: the lumen over each A-scan, 255 from FULL_FLOW_MM on."""
    d, _, w = shape
    return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(d, w)


def _pack_vessels(chord_DW: np.ndarray) -> bytes:
    return zlib.compress(np.rint(np.minimum(chord_DW / FULL_FLOW_MM, 1) * 255).astype(np.uint8).tobytes(), 6)


def _pack_rows(rows_KDW: np.ndarray) -> bytes:
    """Differences between neighbouring A-scans as int16 sixteenths: small, so they compress well."""
    rows = np.rint(np.clip(rows_KDW, *ROWS) * SIXTEENTHS).astype(np.int32)
    return zlib.compress(np.diff(rows, axis=2, prepend=0).astype("<i2").tobytes(), 6)
