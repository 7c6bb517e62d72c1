"""An OCT volume, its key, and shapes of volumes, without I/O.

Axis suffixes of array names in all of octshard: B batch, C channels, D B-scans (slow axis), H axial depth
(rows), W A-scans (columns, fast axis), N tokens, K context tokens, T target tokens, F features.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from octshard.errors import OctshardError

DEVICES = ("heidelberg_spectralis", "topcon_maestro2", "topcon_triton", "zeiss_cirrus")
GEOMETRIES = ("raster", "radial", "circle", "line", "uneven", "mixed", "unknown")
KEY_LETTERS = 92  # a member's name in a tar holds 100, and ends in .vol.zst
SENSIBLE_MM = (1e-9, 1e6)  # values outside are no lengths; arithmetic on them could overflow
Number = TypeVar("Number", int, float)
Spacing = tuple[float, float, float]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class SampleKey:
    """The name of one scan; the digest alone is unique.

    The text form has no dot, because WebDataset splits a member name at its first dot, and is cut before the
    digest if it would be too long for the name of a tar member.
    """

    participant: str
    device: str
    protocol: str
    eye: str
    digest: str

    @staticmethod
    def of(participant: str, device: str, protocol: str, eye: str, sop_instance_uid: str) -> "SampleKey":
        """The key of a scan; `digest` is sha256(SOPInstanceUID)[:10] in hex."""
        return SampleKey(participant, device, protocol, eye, uid_digest(sop_instance_uid))

    def __str__(self) -> str:
        parts = (self.participant, self.device, self.protocol[:40], self.eye, self.digest)
        *names, digest = (re.sub(r"[^A-Za-z0-9_]+", "_", part).strip("_") or "x" for part in parts)
        return f"{'-'.join(names)[: KEY_LETTERS - 1 - len(digest)]}-{digest}"


@dataclass(frozen=True, eq=False)
class Volume:
    """One raster scan: voxels_DHW uint8 or uint16 (made read-only), spacing_mm (dz, dy, dx). display: levels
    of uint16 that are black and white by the format's own rule; None: percentiles are (intensity.scale_of).
    """

    key: SampleKey
    voxels_DHW: np.ndarray
    spacing_mm: Spacing
    geometry: str = field(default="raster")
    display: tuple[float, float] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        voxels = self.voxels_DHW
        if voxels.ndim != 3 or voxels.dtype not in (np.uint8, np.uint16) or 0 in voxels.shape:
            raise OctshardError(
                f"{self.key}: voxels {voxels.dtype}{voxels.shape}, want uint8 or uint16 (D, H, W)"
            )
        if not all(np.isfinite(s) and s > 0 for s in self.spacing_mm):
            raise OctshardError(f"{self.key}: spacing {self.spacing_mm} mm, want all three > 0")
        voxels.flags.writeable = False


def uid_digest(sop_instance_uid: str) -> str:
    """The last part of a key: ten hex digits."""
    return hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:10]


def resampled_shape(shape: Shape, spacing_mm: Spacing, target_mm: Spacing) -> Shape:
    """n_out = max(1, round(n * spacing / target)) for each axis (half rounds up)."""
    d, h, w = (
        max(1, int(np.floor(n * s / t + 0.5))) for n, s, t in zip(shape, spacing_mm, target_mm, strict=True)
    )
    return d, h, w


def valid_tokens(shape: Shape, image_size: Shape, patch: Shape) -> Shape:
    """Tokens along (D, H, W) that hold a voxel of a volume cropped and padded (high end) to image_size."""
    d, h, w = (-(-min(n, size) // p) for n, size, p in zip(shape, image_size, patch, strict=True))
    return d, h, w


def product(shape: Iterable[int]) -> int:
    """Number of elements of `shape` as a Python int."""
    total = 1
    for n in shape:
        total *= int(n)
    return total


def triple(values: Sequence[Number]) -> tuple[Number, Number, Number]:
    """A config's list along (D, H, W) as a tuple."""
    d, h, w = values
    return d, h, w


def length_mm(value: float) -> float | None:
    """`value` if it can be a length in mm; None if it is zero, negative, nan or out of SENSIBLE_MM."""
    low, high = SENSIBLE_MM
    return value if low <= value <= high else None
