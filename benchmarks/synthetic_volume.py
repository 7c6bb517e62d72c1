"""A synthetic volume with known noise-free values: layers with curved boundaries, then speckle on top."""

from dataclasses import dataclass

import numpy as np

from octshard.imaging.volume import Shape, Spacing
from octshard.rng import rng_for

DEPTHS_MM = (0.70, 0.78, 0.83, 0.90, 1.02, 1.06, 1.11)  # of the boundaries, for a cube 2.6 mm deep
STEPS = (
    90.0,
    -35.0,
    25.0,
    -55.0,
    70.0,
    -20.0,
    -60.0,
)  # grey levels by which each boundary changes the picture
BASE, EDGE_MM, NOISE = 50.0, 0.003, 18.0  # grey above the retina; width of a boundary; std of the speckle


@dataclass(frozen=True)
class Grid:
    """Voxel centres: the first at first_mm, then every spacing_mm, both along (D, H, W)."""

    first_mm: Spacing
    spacing_mm: Spacing
    shape: Shape


def edges_at_zero(spacing_mm: Spacing, shape: Shape) -> Grid:
    """The grid whose first voxel begins at 0."""
    d, h, w = (mm / 2 for mm in spacing_mm)
    return Grid((d, h, w), spacing_mm, shape)


def truth(grid: Grid, extent_mm: Spacing, samples: int) -> np.ndarray:
    """Noise-free grey (D, H, W) float32: the mean over `samples` points along each voxel's depth.

    One is the value at the centre. Along D and W boundaries hardly move within a voxel: one point is enough.
    """
    depth, height, width = grid.shape
    offsets = (np.arange(samples) + 0.5) / samples - 0.5
    y_HS = grid.first_mm[1] + (np.arange(height)[:, None] + offsets) * grid.spacing_mm[1]
    x_W = (grid.first_mm[2] + np.arange(width) * grid.spacing_mm[2]) / extent_mm[2]
    out_DHW = np.empty(grid.shape, np.float32)
    for i in range(depth):
        z = (grid.first_mm[0] + i * grid.spacing_mm[0]) / extent_mm[0]
        sway = 0.08 * np.sin(2 * np.pi * (x_W + 0.3 * z)) + 0.03 * np.cos(5 * np.pi * x_W) * np.cos(
            3 * np.pi * z
        )
        scale = extent_mm[1] / 2.6
        grey_HW = np.full((height, width), BASE, np.float32)
        for at, step in zip(DEPTHS_MM, STEPS, strict=True):
            below_HSW = (y_HS[:, :, None] - scale * (at + sway)).astype(np.float32) / np.float32(EDGE_MM)
            grey_HW += np.float32(step / 2) * (1 + np.tanh(below_HSW)).mean(axis=1)
        out_DHW[i] = grey_HW
    return out_DHW


def picture(spacing_mm: Spacing, shape: Shape, noise: float) -> np.ndarray:
    """What a device would show: the truth at voxel centres plus white noise of that std, uint8."""
    d, h, w = (n * mm for n, mm in zip(shape, spacing_mm, strict=True))
    shown_DHW = truth(edges_at_zero(spacing_mm, shape), (d, h, w), 1)
    rng = rng_for("benchmark cube")
    for plane_HW in shown_DHW:
        plane_HW += noise * rng.standard_normal(plane_HW.shape, dtype=np.float32)
    return np.clip(np.rint(shown_DHW, out=shown_DHW), 0, 255).astype(np.uint8)


def blob(spacing_mm: Spacing, shape: Shape, place: float) -> np.ndarray:
    """One soft spot at the same share of each extent, uint8 on black: its centroid shows any shift."""
    n_D, n_H, n_W = (np.exp(-0.5 * (((np.arange(n) + 0.5) / n - place) * 16) ** 2) for n in shape)
    return np.rint(250 * n_D[:, None, None] * n_H[:, None] * n_W).astype(np.uint8)
