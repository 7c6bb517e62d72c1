"""Tokens of a volume -> one row of numbers: mean, standard deviation and maximum of every feature.

Taken tile by tile where a volume has several, and merged exactly; that of one tile is not changed by it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from octshard.models.tokens import pool

MEAN, MEAN_STD, MAX = "mean", "mean_std", "max"
POOLINGS = (MEAN, MEAN_STD, MAX)


class Summary(NamedTuple):
    """Of the valid tokens of each tile, float32: mean, population variance, maximum. None: not asked for."""

    mean_BF: Tensor
    variance_BF: Tensor | None
    max_BF: Tensor | None


class TileSummary(NamedTuple):
    """As `Summary`, of one tile, on the host. tokens: how many are valid, at least one."""

    tokens: int
    mean_F: np.ndarray
    variance_F: np.ndarray | None
    max_F: np.ndarray | None


def summarize(z_BVF: Tensor, padding_BV: Tensor | None, poolings: Sequence[str]) -> Summary:
    """What these poolings need."""
    z_BVF = z_BVF.float()
    mean_BF = pool(z_BVF, padding_BV)
    variance_BF = max_BF = None
    if MEAN_STD in poolings:
        variance_BF = pool((z_BVF - mean_BF.unsqueeze(1)).square(), padding_BV)
    if MAX in poolings:
        held_BVF = z_BVF if padding_BV is None else z_BVF.masked_fill(padding_BV.unsqueeze(-1), -torch.inf)
        max_BF = held_BVF.amax(1)
    return Summary(mean_BF, variance_BF, max_BF)


def of_tile(summary: Summary, place: int, tokens: int) -> TileSummary:
    """That of one tile; summary is on the host."""
    return TileSummary(tokens, *(None if t is None else t[place].numpy() for t in summary))  # type: ignore[arg-type]


def merge(pooling: str, tiles: Sequence[TileSummary]) -> np.ndarray:
    """float32 (F,), or (2 F,) for mean_std: mean, then std. All tokens of all tiles count alike."""
    if pooling == MAX:
        return np.max([tile.max_F for tile in tiles], axis=0)  # type: ignore[no-any-return, arg-type]
    share_T1 = np.array([[tile.tokens] for tile in tiles]) / sum(tile.tokens for tile in tiles)
    mean_TF = np.array([tile.mean_F for tile in tiles], np.float64)
    mean_F = (share_T1 * mean_TF).sum(0)
    if pooling == MEAN:
        return mean_F.astype(np.float32)
    variance_TF = np.array([tile.variance_F for tile in tiles], np.float64)
    variance_F = (share_T1 * (variance_TF + (mean_TF - mean_F) ** 2)).sum(0)
    return np.concatenate([mean_F, np.sqrt(variance_F)]).astype(np.float32)
