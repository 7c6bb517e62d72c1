"""Grey levels of a volume: its histogram, the moments that a shard records, and the mapping to 8 bits."""

from typing import NamedTuple

import numpy as np

from octshard.imaging.jit import compiled
from octshard.imaging.volume import Volume

LEVELS = 2**16
DARK, BRIGHT = 0.001, 0.999  # shares of the voxels whose levels become 0 and 255


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


def moments(counts: np.ndarray) -> Moments:
    """Mean, population std, 1st and 99th percentile (inverted CDF), exact from a histogram."""
    levels, total = np.arange(float(len(counts))), float(counts.sum())
    mean = float((counts * levels).sum() / total)
    std = float(np.sqrt((counts * (levels - mean) ** 2).sum() / total))
    return Moments(mean, std, _level_at(counts, 0.01), _level_at(counts, 0.99))


def to_uint8(volume: Volume) -> tuple[Volume, tuple[float, float]]:
    """Maps the levels at p0.1 and p99.9 of a wider volume to 0 and 255, linearly; uint8 passes unchanged.

    Returns the two levels too.
    """
    voxels = volume.voxels_DHW
    if voxels.dtype == np.uint8:
        return volume, (0.0, 255.0)
    counts = histogram(voxels)
    low, high = _level_at(counts, DARK), _level_at(counts, BRIGHT)
    span = max(high - low, 1.0)
    table = np.clip(np.rint((np.arange(LEVELS) - low) * (255.0 / span)), 0, 255).astype(np.uint8)
    return Volume(volume.key, table[voxels], volume.spacing_mm, volume.geometry), (low, high)


def _level_at(counts: np.ndarray, share: float) -> float:
    """The lowest level that at least `share` of the voxels do not exceed."""
    below = np.cumsum(counts)
    return float(np.searchsorted(below, share * float(below[-1])))


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
