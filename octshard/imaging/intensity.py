"""Grey levels of a volume: histogram, the moments that a shard records, and which levels are black and white.

A volume of 16 bits has levels of its own. Its grey, 0 to 255, is what a volume of 8 bits would hold, but not
rounded.
"""

from typing import NamedTuple

import numpy as np

from octshard.imaging.jit import compiled
from octshard.imaging.volume import Volume

LEVELS = 2**16
DARK, BRIGHT = 0.001, 0.999  # shares of the voxels whose levels become 0 and 255
STEPS = 128  # of one grey level: int16 holds 255 of them, and whole grey levels stay exact


class GreyScale(NamedTuple):
    """The levels that are black (grey 0) and white (255). Grey is linear between them."""

    black: float
    white: float

    def greys(self, levels: int) -> np.ndarray:
        """float64 (levels,): the grey of each level from 0 on."""
        span = max(self.white - self.black, 1.0)
        return np.clip((np.arange(levels) - self.black) * (255.0 / span), 0, 255)


EIGHT_BITS = GreyScale(0.0, 255.0)  # levels of uint8 are grey as they are


class Moments(NamedTuple):
    """Intensity statistics that a shard records: over all stored voxels; std is the population's."""

    mean: float
    std: float
    p01: float
    p99: float


def histogram(voxels: np.ndarray) -> np.ndarray:
    """The number of voxels (uint8 or uint16) at each level: int64 (256,) or (65536,)."""
    counts = np.zeros(256 if voxels.dtype == np.uint8 else LEVELS, np.int64)
    _count(np.ascontiguousarray(voxels).reshape(-1), counts)
    return counts


def moments(counts: np.ndarray, scale: GreyScale | None = None) -> Moments:
    """Mean, population std, 1st and 99th percentile (inverted CDF), exact from a histogram.

    Of the levels themselves, or of their grey by `scale`.
    """
    levels = np.arange(float(len(counts))) if scale is None else scale.greys(len(counts))
    total = float(counts.sum())
    mean = float((counts * levels).sum() / total)
    std = float(np.sqrt((counts * (levels - mean) ** 2).sum() / total))
    p01, p99 = (float(levels[_level_at(counts, share)]) for share in (0.01, 0.99))
    return Moments(mean, std, p01, p99)


def grey_scale(counts: np.ndarray) -> GreyScale:
    """Of a volume with this histogram: of 16 bits the levels at p0.1 and p99.9 are black and white."""
    if len(counts) == 256:
        return EIGHT_BITS
    return GreyScale(float(_level_at(counts, DARK)), float(_level_at(counts, BRIGHT)))


def scale_of(volume: Volume, counts: np.ndarray) -> GreyScale:
    """Of a volume with that histogram: by the rule of its file, or `grey_scale`."""
    if volume.display is None or len(counts) == 256:
        return grey_scale(counts)
    return GreyScale(*volume.display)


def to_uint8(volume: Volume) -> tuple[Volume, GreyScale]:
    """The volume in grey, rounded, and what is black and white in it; uint8 passes unchanged."""
    voxels = volume.voxels_DHW
    if voxels.dtype == np.uint8:
        return volume, EIGHT_BITS
    scale = scale_of(volume, histogram(voxels))
    return Volume(volume.key, grey_uint8(voxels, scale), volume.spacing_mm, volume.geometry), scale


def grey_uint8(voxels: np.ndarray, scale: GreyScale) -> np.ndarray:
    """Grey, rounded, of uint8 or uint16 voxels; those of uint8 as they are."""
    return voxels if voxels.dtype == np.uint8 else np.rint(scale.greys(LEVELS)).astype(np.uint8)[voxels]


def to_grey_steps(levels: np.ndarray, scale: GreyScale) -> None:
    """In place, for contiguous uint16: levels become grey, rounded to 1 / STEPS. What was 0 stays 0.

    Grey near a half is put on the side of it that `grey_uint8` rounds to, so that `nearest_grey` is the same.
    """
    greys = scale.greys(LEVELS)
    middle, half = np.rint(greys) * STEPS, STEPS // 2
    steps = np.clip(np.rint(greys * STEPS), middle - half, middle + half - 1)
    _look_up(levels.reshape(-1), steps.astype(np.uint16))


def grey_steps(voxels: np.ndarray, scale: GreyScale) -> np.ndarray:
    """As in a batch of this volume alone: int16, as `to_grey_steps`; voxels of uint8 as they are."""
    if voxels.dtype == np.uint8:
        return voxels
    levels = voxels.copy(order="C")
    to_grey_steps(levels, scale)
    return levels.view(np.int16)


def nearest_grey(voxels: np.ndarray) -> np.ndarray:
    """Voxels of a batch, rounded to whole grey: uint8, as `grey_uint8`."""
    return voxels if voxels.dtype == np.uint8 else ((voxels + STEPS // 2) // STEPS).astype(np.uint8)


def batch_voxels(volume: Volume, *, keep: bool) -> tuple[np.ndarray, Moments]:
    """What a batch would have of the volume, stored with or without `keep`, and what its row would say."""
    if not keep:
        volume, _ = to_uint8(volume)
    counts = histogram(volume.voxels_DHW)
    scale = scale_of(volume, counts)
    return grey_steps(volume.voxels_DHW, scale), moments(counts, scale)


def _level_at(counts: np.ndarray, share: float) -> int:
    """The lowest level that at least `share` of the voxels do not exceed."""
    below = np.cumsum(counts)
    return int(np.searchsorted(below, share * float(below[-1])))


@compiled
def _look_up(levels, table):  # type: ignore[no-untyped-def]
    for i in range(levels.size):
        levels[i] = table[levels[i]]


@compiled
def _count(voxels, counts):  # type: ignore[no-untyped-def]
    """Four histograms in turn: an increment then does not wait for the one of an equal neighbour."""
    lanes = np.zeros((4, counts.size), np.int64)
    whole = voxels.size // 4 * 4
    for i in range(0, whole, 4):
        lanes[0, voxels[i]] += 1
        lanes[1, voxels[i + 1]] += 1
        lanes[2, voxels[i + 2]] += 1
        lanes[3, voxels[i + 3]] += 1
    for i in range(whole, voxels.size):
        counts[voxels[i]] += 1
    for lane in range(4):
        for level in range(counts.size):
            counts[level] += lanes[lane, level]
