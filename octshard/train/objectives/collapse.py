"""Has the encoder collapsed? Spread and effective rank of target features, from a fixed number of tokens.

Rank and spread of tokens stay high when features depend only on the position of a token; the spread of pooled
features between volumes then falls, so both are logged.
"""

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


def rankme(features_RF: Tensor) -> Tensor:
    """Effective rank: exp of the entropy of the normalised singular values, between 1 and min(R, F). 0-d.

    RankMe, Garrido et al. 2023 (features as they are, not centred).
    """
    values = torch.linalg.svdvals(features_RF.float())
    p = values / (values.sum() + _EPS) + _EPS
    return torch.exp(-(p * p.log()).sum())
