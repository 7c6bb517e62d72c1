"""Geometry of views on the device: flip, zoom, shift and tilt, as products with interpolation matrices.

No gather, which is slow on a TPU, and no grid_sample, which falls back to the host. Shapes follow from the
shape of the batch and `Affine.max_tilt` alone.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from octshard.models.normalize import grey


class Affine(NamedTuple):
    """A small affine map for each sample, about the centre of its valid extent. Last axis: (D, H, W)."""

    zoom_B3: Tensor  # float32, > 1 enlarges
    shift_B3: Tensor  # float32, towards the high end, fraction of the valid extent
    tilt_B2: Tensor  # float32, axial shift at the last plane and at the last column, fraction of the valid H
    max_tilt: float  # upper bound of |tilt_B2|. A Python number, because a shape depends on it


def apply_affine(
    voxels_BDHW: Tensor, valid_B3: Tensor, flip_d_B: Tensor, flip_w_B: Tensor, affine: Affine | None
) -> Tensor:
    """Grey, float32 (B, D, H, W): flipped, then zoomed, shifted and tilted; with `affine` None flipped only.

    Linear interpolation along D, W and H, then along H for the tilt. Positions outside the valid extent read
    its border, so no padding comes in; results outside the valid extent are undefined. Flips alone are exact.
    """
    _, depth, height, width = voxels_BDHW.shape
    source = source_of(valid_B3, flip_d_B, flip_w_B, affine)
    with torch.autocast(voxels_BDHW.device.type, enabled=False):  # bf16 would round the weights
        d_BDD = _matrix(source, 0, range(depth), depth)
        w_BWW = _matrix(source, 2, range(width), width)
        x_BDHW = torch.bmm(d_BDD, grey(voxels_BDHW).flatten(2)).unflatten(2, (height, width))
        x_BDHW = torch.bmm(x_BDHW.flatten(1, 2), w_BWW.mT).unflatten(1, (depth, height))
        if affine is None:
            return x_BDHW
        margin = math.ceil(2 * affine.max_tilt * height)  # rows on each side, for the tilt
        h_BNH = _matrix(source, 1, range(-margin, height + margin + 1), height)
        x_BDNW = torch.matmul(h_BNH.unsqueeze(1), x_BDHW)
    return _slide(x_BDNW, margin - rise(affine.tilt_B2, valid_B3, (depth, width)), 2 * margin)


class Source(NamedTuple):
    """Output voxel p reads position `centre + (p - start) * scale`, within [0, valid - 1]."""

    centre_B3: Tensor
    start_B3: Tensor
    scale_B3: Tensor
    valid_B3: Tensor


def source_of(valid_B3: Tensor, flip_d_B: Tensor, flip_w_B: Tensor, affine: Affine | None) -> Source:
    """Where voxels of the result come from, before the tilt."""
    flip_B3 = torch.stack([flip_d_B, torch.zeros_like(flip_d_B), flip_w_B], 1)
    centre_B3 = (valid_B3.float() - 1) / 2
    source = Source(centre_B3, centre_B3, 1 - 2 * flip_B3.float(), valid_B3)
    if affine is None:
        return source
    return source._replace(
        start_B3=centre_B3 + affine.shift_B3 * valid_B3, scale_B3=source.scale_B3 / affine.zoom_B3
    )


def _matrix(source: Source, axis: int, voxels: range, size: int) -> Tensor:
    """(B, N, size): in the row of each output voxel the weights of linear interpolation."""
    centre_B1, start_B1, scale_B1, valid_B1 = (value[:, axis : axis + 1] for value in source)
    voxel_N, column_X = (_float(indices, valid_B1) for indices in (voxels, range(size)))
    position_BN = torch.minimum((centre_B1 + (voxel_N - start_B1) * scale_B1).clamp(min=0), valid_B1 - 1.0)
    return (1 - (position_BN.unsqueeze(2) - column_X).abs()).clamp(min=0)


def rise(tilt_B2: Tensor, valid_B3: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, D, W): rows by which an A-scan moves towards the high end of H; 0 at the centre."""
    edge_B2 = tilt_B2 * valid_B3[:, 1:2]
    rises = []
    for i, axis in enumerate((0, 2)):
        half_B1 = (valid_B3[:, axis : axis + 1].float() - 1) / 2
        along_BN = (_float(range(size[i]), valid_B3) - half_B1) / half_B1.clamp(min=0.5)
        rises.append(along_BN.clamp(-1, 1) * edge_B2[:, i : i + 1])
    return rises[0].unsqueeze(2) + rises[1].unsqueeze(1)


def _slide(x_BDNW: Tensor, start_BDW: Tensor, max_start: int) -> Tensor:
    """(B, D, N - max_start - 1, W): row h is read at h + start, which is in [0, max_start] for each A-scan.

    The whole part is a barrel shift: each round halves the largest shift that may remain.
    """
    start_BD1W = start_BDW.unsqueeze(2)
    whole_BD1W = start_BD1W.floor().clamp(0, max_start)
    part_BD1W = (start_BD1W - whole_BD1W).clamp(0, 1)
    while max_start:
        step = (max_start + 1) // 2
        max_start -= step
        rows = x_BDNW.shape[2] - step
        shift_BD1W = whole_BD1W >= step
        whole_BD1W = whole_BD1W - shift_BD1W * step
        x_BDNW = torch.where(shift_BD1W, x_BDNW.narrow(2, step, rows), x_BDNW.narrow(2, 0, rows))
    return torch.lerp(x_BDNW[:, :, :-1], x_BDNW[:, :, 1:], part_BD1W)


def _float(voxels: range, like: Tensor) -> Tensor:
    """(N,) float32 on the device of `like`."""
    return torch.arange(voxels.start, voxels.stop, dtype=torch.float32, device=like.device)
