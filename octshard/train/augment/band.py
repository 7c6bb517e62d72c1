"""The retinal band of a volume as its views show it: flips, zoom, shift and tilt move it with the voxels."""

import numpy as np
import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.imaging.retina_band import BLOCK, NOT_FOUND, token_flags
from octshard.imaging.volume import valid_tokens
from octshard.models import position
from octshard.stream.batch import Batch
from octshard.train.augment.affine import rise, source_of
from octshard.train.augment.views import ViewParams


def tokens_in_band(cfg: TrainConfig, batch: Batch, params: ViewParams | None) -> list[np.ndarray | None]:
    """Of each volume bool (d, h, w): which of its valid tokens hold a voxel of the band in its views; None if
    none does. params: None where the views are the crop itself, as in validation.
    """
    if batch.band_BDQ2 is None:
        return [None] * len(batch.keys)
    image_size, patch = position.shape_of(cfg.model)
    rows_BDQ2 = move(batch.band_BDQ2, batch.valid_B3, params) if params else batch.band_BDQ2
    flags: list[np.ndarray | None] = []
    for rows_DQ2, extent in zip(rows_BDQ2.numpy(), batch.valid_B3.tolist(), strict=True):
        flags_dhw = token_flags(rows_DQ2, valid_tokens(tuple(extent), image_size, patch), patch)
        flags.append(flags_dhw if flags_dhw.any() else None)
    return flags


def move(band_BDQ2: Tensor, valid_B3: Tensor, params: ViewParams) -> Tensor:
    """int16 (B, D, Q, 2): the band of the views. Each block takes the rows of the block and the B-scan that
    its middle shows, so that it may be off by half a block and half a B-scan; rows are exact to rounding.
    """
    source = source_of(valid_B3, params.flip_d_B, params.flip_w_B, params.affine)
    _, depth, blocks, _ = band_BDQ2.shape
    width_B1 = valid_B3[:, 2:] - 1
    middle_BQ = torch.minimum(torch.arange(blocks) * BLOCK + (BLOCK - 1) / 2, width_B1)
    plane_BD = _read(source, 0, torch.arange(depth).expand(len(band_BDQ2), -1)).round().long()
    block_BQ = (_read(source, 2, middle_BQ) / BLOCK).long()
    batch_B11 = torch.arange(len(band_BDQ2))[:, None, None]
    rows_BDQ2 = band_BDQ2[batch_B11, plane_BD[:, :, None], block_BQ[:, None]].float()
    # an edge lies half a voxel before the middle of its row
    centre_B, start_B, scale_B = (value[:, 1, None, None, None] for value in source[:3])
    moved_BDQ2 = (rows_BDQ2 - 0.5 - centre_B) / scale_B + start_B + 0.5
    if params.affine is not None:
        size = (depth, blocks * BLOCK)
        rise_BDW = rise(params.affine.tilt_B2, valid_B3, size)
        moved_BDQ2 = moved_BDQ2 + rise_BDW.unflatten(2, (blocks, BLOCK)).mean(3, keepdim=True)
    height_B = valid_B3[:, 1, None, None, None]
    moved_BDQ2 = torch.minimum(moved_BDQ2.round().clamp(min=0), height_B)
    seen_BDQ = (rows_BDQ2[..., 0] >= 0) & (moved_BDQ2[..., 0] < moved_BDQ2[..., 1])
    shown_BDQ = (torch.arange(depth)[:, None] < valid_B3[:, :1, None]) & (
        torch.arange(blocks) * BLOCK < valid_B3[:, 2:, None]
    )
    return torch.where((seen_BDQ & shown_BDQ).unsqueeze(3), moved_BDQ2, NOT_FOUND).to(torch.int16)


def _read(source: tuple[Tensor, ...], axis: int, place_BN: Tensor) -> Tensor:
    """(B, N): the position in the volume that the views show at these places along an axis."""
    centre_B1, start_B1, scale_B1, valid_B1 = (value[:, axis : axis + 1] for value in source)
    return torch.minimum((centre_B1 + (place_BN - start_B1) * scale_B1).clamp(min=0), valid_B1 - 1.0)
