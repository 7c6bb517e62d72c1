"""An encoder with a head on the mean and spread of its tokens, for classes, ordered levels or numbers."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from octshard.models.tokens import Tokens, pool
from octshard.models.vit import Encoder
from octshard.probes.targets import CLASSES, NUMBERS, ORDINAL

HEAD_STD = 2e-5  # of its first weights, so that all classes begin alike: MAE, He et al. 2022
EPS = 1e-6  # of a variance under its root
FAR = 1e3  # a threshold that no score reaches


class Target(NamedTuple):
    """kind; levels: classes or ordered levels, 1 for numbers; mean, std: of the numbers of train."""

    kind: str
    levels: int
    mean: float = 0.0
    std: float = 1.0


class FinetuneOutput(NamedTuple):
    """The weighted mean loss (0-d), and of each volume probabilities (B, C) or a number (B, 1)."""

    loss: Tensor
    values_BC: Tensor


class FinetuneModel(nn.Module):
    """`torch.manual_seed` determines the head; the encoder's weights are as they are."""

    def __init__(self, encoder: Encoder, target: Target) -> None:
        super().__init__()
        self.encoder, self.target = encoder, target
        width = 2 * encoder.norm.normalized_shape[0]
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.head = nn.Linear(width, target.levels if target.kind == CLASSES else 1)
        nn.init.trunc_normal_(self.head.weight, std=HEAD_STD)
        nn.init.zeros_(self.head.bias)
        if target.kind == ORDINAL:
            odds = torch.arange(1, target.levels) / target.levels
            threshold_K = torch.log(odds / (1 - odds))
            self.first_1 = nn.Parameter(threshold_K[:1].clone())
            self.log_steps = nn.Parameter(threshold_K.diff().log())

    def forward(self, x_BCDHW: Tensor, tokens: Tokens, y_B: Tensor, weight_B: Tensor) -> FinetuneOutput:
        """y_B: classes or levels (int64), or numbers (float32); weight_B: of each volume in the loss."""
        z_BVF = self.encoder(x_BCDHW, *tokens)
        score_BC = self.head(self.norm(mean_and_std(z_BVF, tokens.padding_BV))).float()
        loss_B, values_BC = self._loss(score_BC, y_B)
        return FinetuneOutput((loss_B * weight_B).mean(), values_BC.detach())

    def _loss(self, score_BC: Tensor, y_B: Tensor) -> tuple[Tensor, Tensor]:
        if self.target.kind == CLASSES:
            return functional.cross_entropy(score_BC, y_B, reduction="none"), score_BC.softmax(1)
        if self.target.kind == NUMBERS:
            numbers_B1 = score_BC * self.target.std + self.target.mean
            return (score_BC[:, 0] - (y_B - self.target.mean) / self.target.std).square(), numbers_B1
        return proportional_odds(score_BC[:, 0], self.thresholds(), y_B)

    def thresholds(self) -> Tensor:
        """Ascending, one fewer than levels."""
        return torch.cumsum(torch.cat([self.first_1, self.log_steps.exp()]), 0)


def mean_and_std(z_BVF: Tensor, padding_BV: Tensor | None) -> Tensor:
    """(B, 2 F) float32, over the tokens of each volume; its gradient is finite where nothing varies."""
    z_BVF = z_BVF.float()
    mean_BF = pool(z_BVF, padding_BV)
    variance_BF = pool((z_BVF - mean_BF.unsqueeze(1)).square(), padding_BV)
    return torch.cat([mean_BF, (variance_BF + EPS).sqrt()], 1)


def proportional_odds(score_B: Tensor, threshold_K: Tensor, y_B: Tensor) -> tuple[Tensor, Tensor]:
    """(-log P of y, P of all levels), where P(y <= k) = sigmoid(threshold_k - score): McCullagh 1980."""
    edge_X = functional.pad(functional.pad(threshold_K, (1, 0), value=-FAR), (0, 1), value=FAR)
    above_B, below_B = edge_X[y_B + 1] - score_B, edge_X[y_B] - score_B
    inside_B = torch.log(-torch.expm1(edge_X[y_B] - edge_X[y_B + 1]))
    loss_B = -(functional.logsigmoid(above_B) + functional.logsigmoid(-below_B) + inside_B)
    return loss_B, torch.sigmoid(edge_X - score_B.unsqueeze(1)).diff(dim=1)
