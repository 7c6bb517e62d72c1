"""From stored voxels to both views in float64: flips, gamma, noise of an integer hash, normalisation."""

from typing import NamedTuple

import numpy as np

from tests.support.numpy_step.positions import Grid
from tests.support.numpy_step.weights import Array


class View(NamedTuple):
    """What is drawn for a volume; no zoom, no shift, no tilt."""

    flip_d: bool
    flip_w: bool
    gamma: float
    noise: float
    speckle: float
    hash: int


class Scan(NamedTuple):
    """A volume as it is stored, without padding, and its mean and standard deviation there."""

    voxels_DHW: Array
    mean: float
    std: float
    view: View


def views(scan: Scan, image_size: Grid) -> tuple[Array, Array]:
    """(context, target) over the volume's own voxels."""
    voxels_DHW, mean, std, view = scan
    grey_DHW = voxels_DHW.astype(np.float64)
    grey_DHW = grey_DHW[:: -1 if view.flip_d else 1, :, :: -1 if view.flip_w else 1]
    std = max(std, 1.0)
    intensity_DHW = 255 * (grey_DHW / 255) ** view.gamma
    spread_DHW = np.sqrt((intensity_DHW * view.speckle / std) ** 2 + view.noise**2)
    noise_DHW = hash_noise(view.hash, image_size)[tuple(map(slice, grey_DHW.shape))]
    return (intensity_DHW - mean) / std + noise_DHW * spread_DHW, (grey_DHW - mean) / std


def hash_noise(seed: int, image_size: Grid) -> Array:
    """The four bytes of a 32-bit hash of each voxel's number, summed; mean 0, standard deviation 1."""
    numbers = np.arange(np.prod(image_size), dtype=np.uint32).reshape(image_size)
    bits = _mixed(_mixed(numbers) ^ np.uint32(seed))
    total = sum((bits >> np.uint32(8 * byte) & np.uint32(255)).astype(np.float64) for byte in range(4))
    return (total - 4 * 127.5) / np.sqrt(4 * (256**2 - 1) / 12)


def box_means(x_DHW: Array, scale: Grid) -> Array:
    """The mean of each box of `scale` voxels, at the end of the volume of fewer."""
    shape = [-(-size // step) for size, step in zip(x_DHW.shape, scale, strict=True)]
    means = np.zeros(shape)
    for place in np.ndindex(*shape):
        means[place] = x_DHW[
            tuple(slice(i * s, (i + 1) * s) for i, s in zip(place, scale, strict=True))
        ].mean()
    return means


def patches(x_DHW: Array, patch: Grid, grid: Grid) -> dict[int, Array]:
    """Number in the grid -> voxels, of the tokens that hold one of the volume; 0 beyond its border."""
    counts = [-(-size // side) for size, side in zip(x_DHW.shape, patch, strict=True)]
    room = [(0, n * side - size) for n, side, size in zip(counts, patch, x_DHW.shape, strict=True)]
    x_DHW = np.pad(x_DHW, room)
    pd, ph, pw = patch
    return {
        (d * grid[1] + h) * grid[2] + w: x_DHW[
            d * pd : (d + 1) * pd, h * ph : (h + 1) * ph, w * pw : (w + 1) * pw
        ].ravel()
        for d in range(counts[0])
        for h in range(counts[1])
        for w in range(counts[2])
    }


def _mixed(bits: Array) -> Array:
    for _ in range(2):
        bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x45D9F3B)
    return bits ^ (bits >> np.uint32(16))
