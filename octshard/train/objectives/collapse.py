"""Has the encoder collapsed? The spread of target features over tokens, and between volumes.

Features that say only where a token lies are spread over tokens, but pooled they are the same for every
volume. The effective rank only describes them: better runs may have the lower one.
"""

from typing import NamedTuple

import torch
from torch import Tensor

ROWS = 1024  # tokens of a batch that the rank is measured on: it depends on their number, so that is fixed
_EPS = 1e-7  # RankMe, Garrido et al. 2023


def subsample_tokens(z_BTF: Tensor) -> Tensor:
    """(R, F) float32: evenly spaced tokens of each sample, about ROWS of them or all there are."""
    batch, tokens, width = z_BTF.shape
    per_sample = min(tokens, max(1, ROWS // batch))
    evenly_spaced = z_BTF[:, :: tokens // per_sample][:, :per_sample]
    return evenly_spaced.detach().float().reshape(batch * per_sample, width)


def feature_std(features_RF: Tensor) -> Tensor:
    """The standard deviation of a feature over the rows, averaged over features; 0 means collapse. 0-d."""
    return features_RF.float().std(dim=0, correction=0).mean()


class VolumeSpread(NamedTuple):
    """How far pooled features lie from those of the volume before: squares_F summed over `pairs` of volumes.

    Half the mean square is their variance between volumes. Neighbours are compared, so that what the weights
    change from step to step is not taken for it, and one volume at a time is enough.
    """

    squares_F: Tensor
    pairs: Tensor
    last_F: Tensor  # of the volume before
    has_last: Tensor  # 0 or 1


def no_spread(width: int) -> VolumeSpread:
    """That of no volumes, on the host."""
    return VolumeSpread(torch.zeros(width), torch.zeros(()), torch.zeros(width), torch.zeros(()))


def add_volumes(spread: VolumeSpread, pooled_BF: Tensor) -> VolumeSpread:
    """With the pooled features of further volumes. All shapes stay; 0-d and (F,) tensors on one device."""
    pooled_BF = pooled_BF.detach().float()
    before_BF = torch.cat([spread.last_F.unsqueeze(0), pooled_BF[:-1]])
    squares_BF = (pooled_BF - before_BF).square()
    squares_F = squares_BF[1:].sum(0) + spread.has_last * squares_BF[0]
    pairs = spread.pairs + (len(pooled_BF) - 1) + spread.has_last
    return VolumeSpread(spread.squares_F + squares_F, pairs, pooled_BF[-1], torch.ones_like(spread.has_last))


def rankme(features_RF: Tensor) -> Tensor:
    """Effective rank: exp of the entropy of the normalised singular values, between 1 and min(R, F). 0-d.

    RankMe, Garrido et al. 2023 (features as they are, not centred).
    """
    values = torch.linalg.svdvals(features_RF.float())
    p = values / (values.sum() + _EPS) + _EPS
    return torch.exp(-(p * p.log()).sum())
