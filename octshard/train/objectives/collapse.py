"""Has the encoder collapsed? Spread and effective rank of target features, from a fixed number of tokens.

Rank and spread of tokens stay high when features say only where a token stands; the spread of pooled features
between volumes then falls, so both are watched.
"""

import torch
from torch import Tensor

ROWS = 1024  # tokens of a batch that the rank is measured on: it depends on their number, so that is fixed
_EPS = 1e-7  # RankMe, Garrido et al. 2023


def subsample_tokens(z_BTF: Tensor) -> Tensor:
    """(R, F) float32: evenly spaced tokens of each sample, about ROWS of them or all there are."""
    batch, tokens, width = z_BTF.shape
    each = min(tokens, max(1, ROWS // batch))
    return z_BTF[:, :: tokens // each][:, :each].detach().float().reshape(batch * each, width)


def feature_std(features_RF: Tensor) -> Tensor:
    """The standard deviation of a feature over the rows, averaged over features; 0 means collapse. 0-d."""
    return features_RF.float().std(dim=0, correction=0).mean()


def rankme(features_RF: Tensor) -> Tensor:
    """Effective rank: exp of the entropy of the normalised singular values, between 1 and min(R, F). 0-d.

    RankMe, Garrido et al. 2023 (features as they are, not centred).
    """
    values = torch.linalg.svdvals(features_RF.float())
    share = values / (values.sum() + _EPS) + _EPS
    return torch.exp(-(share * share.log()).sum())
