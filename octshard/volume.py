"""What an OCT volume is, and what can be done to one without I/O.

Letters that arrays wear, everywhere in octshard: B batch, C channels, D B-scans (slow axis), H axial depth
(rows), W A-scans (columns, fast axis), N tokens, K context tokens, T target tokens, F features.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy import sparse

from octshard.errors import OctshardError

DEVICES = ("heidelberg_spectralis", "topcon_maestro2", "topcon_triton", "zeiss_cirrus")
GEOMETRIES = ("raster", "radial", "circle", "line", "uneven", "mixed", "unknown")
REASONS = (
    "missing_file", "not_dicom", "truncated", "no_pixel_data", "frame_count", "unreadable", "decoder_error",
    "decoder_crash", "decoder_timeout", "unsupported_syntax", "geometry_radial", "geometry_circle",
    "geometry_line", "geometry_uneven", "geometry_mixed", "not_oct", "too_large", "empty", "duplicate",
)  # fmt: skip
Spacing = tuple[float, float, float]
Shape = tuple[int, int, int]


class Refused(Exception):
    """An input file that cannot become a sample: becomes a row with status `refused`, never a crash."""

    def __init__(self, reason: str, detail: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"refusal reason {reason!r} is not one of {REASONS}")
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.reason, self.detail)


@dataclass(frozen=True)
class SampleKey:
    """Names one scan. Its text form has no dot, because WebDataset splits a member name at its first dot."""

    participant: str
    device: str
    protocol: str
    eye: str
    digest: str

    @staticmethod
    def of(participant: str, device: str, protocol: str, eye: str, sop_instance_uid: str) -> "SampleKey":
        """The key of a scan; `digest` is sha256(SOPInstanceUID)[:10] in hex."""
        digest = hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:10]
        return SampleKey(participant, device, protocol, eye, digest)

    def __str__(self) -> str:
        parts = (self.participant, self.device, self.protocol[:40], self.eye, self.digest)
        return "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", part).strip("_") or "x" for part in parts)


@dataclass(frozen=True, eq=False)
class Volume:
    """One raster scan: voxels_DHW uint8 or uint16 (made read-only), spacing_mm (dz, dy, dx)."""

    key: SampleKey
    voxels_DHW: np.ndarray
    spacing_mm: Spacing
    geometry: str = field(default="raster")

    def __post_init__(self) -> None:
        voxels = self.voxels_DHW
        if voxels.ndim != 3 or voxels.dtype not in (np.uint8, np.uint16) or 0 in voxels.shape:
            raise OctshardError(
                f"{self.key}: voxels {voxels.dtype}{voxels.shape}, want uint8 or uint16 (D, H, W)"
            )
        if not all(np.isfinite(s) and s > 0 for s in self.spacing_mm):
            raise OctshardError(f"{self.key}: spacing {self.spacing_mm} mm, want all three > 0")
        voxels.flags.writeable = False


class Moments(NamedTuple):
    """What a shard records of a volume's intensities: over all stored voxels, population std."""

    mean: float
    std: float
    p01: float
    p99: float


def resampled_shape(shape: Shape, spacing_mm: Spacing, target_mm: Spacing) -> Shape:
    """n_out = max(1, round(n * spacing / target)) for each axis (half rounds up)."""
    d, h, w = (
        max(1, int(np.floor(n * s / t + 0.5))) for n, s, t in zip(shape, spacing_mm, target_mm, strict=True)
    )
    return d, h, w


def axis_weights(n_in: int, n_out: int) -> sparse.csr_array:
    """Weights (n_out, n_in) that resample one axis of the same physical extent, rows sum to 1.

    Voxel edges coincide: output voxel j covers input coordinates [j, j+1) * n_in / n_out. Shrinking averages
    that interval (area kernel, so it is its own anti-alias filter); growing interpolates linearly between
    voxel centres, edge voxels held. Float64.
    """
    scale = n_in / n_out
    if n_in == n_out:
        return sparse.eye_array(n_in, format="csr")
    j = np.arange(n_out)
    if n_out < n_in:
        low, high = j * scale, np.minimum((j + 1) * scale, n_in)
        taps = int(np.ceil(scale)) + 1
        column = np.floor(low).astype(int)[:, None] + np.arange(taps)
        cover = np.minimum(column + 1, high[:, None]) - np.maximum(column, low[:, None])
        weight = np.clip(cover, 0, None)
    else:
        centre = np.clip((j + 0.5) * scale - 0.5, 0, n_in - 1)
        left = np.minimum(np.floor(centre).astype(int), max(0, n_in - 2))
        column = left[:, None] + np.arange(2)
        weight = np.stack([left + 1 - centre, centre - left], axis=1)
    weight = weight / weight.sum(axis=1, keepdims=True)
    keep = (weight > 0) & (column < n_in)
    rows = np.broadcast_to(j[:, None], column.shape)
    return sparse.csr_array((weight[keep], (rows[keep], column[keep])), shape=(n_out, n_in))


def resample_to_shape(volume: Volume, shape: Shape) -> Volume:
    """The same physical extent on another grid: spacing_out = extent / n_out. The integer type stays.

    Separable and anti-aliased (see `axis_weights`); computed in float32 frame by frame, so that the whole
    volume never stands in float; at most one level from a float64 computation.
    """
    if shape == volume.voxels_DHW.shape:
        return volume
    voxels = resample_frames(iter(volume.voxels_DHW), volume.voxels_DHW.shape, shape)  # type: ignore[arg-type]
    spacing = tuple(
        s * n / m for s, n, m in zip(volume.spacing_mm, volume.voxels_DHW.shape, shape, strict=True)
    )
    return Volume(volume.key, voxels, spacing, volume.geometry)  # type: ignore[arg-type]


def resample_frames(frames_HW: Iterator[np.ndarray], shape_in: Shape, shape_out: Shape) -> np.ndarray:
    """Resamples D frames (uint8 or uint16) as they come, without ever holding the input volume."""
    (d_in, h_in, w_in), (d_out, h_out, w_out) = shape_in, shape_out
    along_d = axis_weights(d_in, d_out).astype(np.float32).tocsc()
    along_h = axis_weights(h_in, h_out).astype(np.float32)
    along_w = axis_weights(w_in, w_out).astype(np.float32)
    total_DHW = np.zeros(shape_out, np.float32)
    count, dtype = 0, np.dtype(np.uint8)
    for count, frame in enumerate(frames_HW, start=1):
        dtype = frame.dtype
        plane_HW = (along_w @ (along_h @ frame.astype(np.float32)).T).T
        start, stop = along_d.indptr[count - 1], along_d.indptr[count]
        for row, weight in zip(along_d.indices[start:stop], along_d.data[start:stop], strict=True):
            total_DHW[row] += weight * plane_HW
    if count != d_in:
        raise OctshardError(f"resample: {count} frames came, want {d_in}")
    np.clip(np.rint(total_DHW, out=total_DHW), 0, np.iinfo(dtype).max, out=total_DHW)
    return total_DHW.astype(dtype)


def resample(volume: Volume, target_mm: Spacing) -> Volume:
    """`volume` at (about) `target_mm`: physical extent is kept exactly, so the spacing is extent / n_out."""
    return resample_to_shape(volume, resampled_shape(volume.voxels_DHW.shape, volume.spacing_mm, target_mm))  # type: ignore[arg-type]


def to_uint8(volume: Volume) -> tuple[Volume, tuple[float, float]]:
    """Maps [p0.1, p99.9] of a wider volume to [0, 255]; uint8 passes unchanged. Returns the range used."""
    voxels = volume.voxels_DHW
    if voxels.dtype == np.uint8:
        return volume, (0.0, 255.0)
    low, high = (float(p) for p in np.percentile(voxels, (0.1, 99.9)))
    span = max(high - low, 1.0)
    mapped = np.clip(np.rint((voxels.astype(np.float32) - low) * (255.0 / span)), 0, 255).astype(np.uint8)
    return Volume(volume.key, mapped, volume.spacing_mm, volume.geometry), (low, high)


def moments(voxels_DHW: np.ndarray) -> Moments:
    """Mean, population std, 1st and 99th percentile of uint8 voxels, exact from their histogram."""
    counts = np.bincount(voxels_DHW.ravel(), minlength=256).astype(np.float64)
    levels, total = np.arange(256.0), float(voxels_DHW.size)
    mean = float((counts * levels).sum() / total)
    std = float(np.sqrt((counts * (levels - mean) ** 2).sum() / total))
    below = np.cumsum(counts)
    p01, p99 = (float(np.searchsorted(below, share * total)) for share in (0.01, 0.99))
    return Moments(mean, std, p01, p99)


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
