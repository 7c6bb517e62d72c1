"""BYOL (Grill et al. 2020) of masked tokens: the encoder itself reads mask tokens, an MLP predicts.

Its loss is the squared distance of unit vectors, 2 - 2 cos.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.models import flops, position
from octshard.models.flops import StepReading
from octshard.models.tokens import Tokens
from octshard.models.vit import MaskToken
from octshard.train.objectives import footprints
from octshard.train.objectives.distance import NORMALISED_MSE
from octshard.train.objectives.jepa import Jepa
from octshard.train.objectives.objective import KeptTokens, StepFlops
from octshard.train.objectives.places import Places
from octshard.train.objectives.predictor import MlpPredictor
from octshard.train.objectives.token_counts import TokenCounts

_MLP = "the predictor of byol is an MLP of predictor.width"


class Byol(Jepa):
    """The encoder reads all tokens, a learned vector in place of each that is not context."""

    predictor: MlpPredictor
    distance = NORMALISED_MSE
    batch_statistics = True
    token_per_set = False
    fingerprint = {"activation": "gelu"}  # octshard 0.1 had ReLU
    idle = {"predictor.depth": _MLP, "predictor.heads": _MLP}

    def __init__(self, cfg: TrainConfig) -> None:
        super().__init__(cfg, MlpPredictor)

    def predict(self, context_BCDHW: Tensor, tokens: Tokens, places: Places, set_index: int) -> Tensor:
        """As `Jepa.predict`."""
        all_BV = torch.ones_like(tokens.index_BV, dtype=torch.bool)
        hidden = MaskToken(all_BV.scatter(1, places.context_BK, False), self.predictor.token_F)
        z_BVF = self.encoder(context_BCDHW, *tokens, hidden, places.scale_BLR)
        z_BTF = position.gather_tokens(z_BVF, places.target_BT)
        return self.predictor(z_BTF, places.target_padding_BT)  # type: ignore[no-any-return]

    @staticmethod
    def check(cfg: TrainConfig) -> None:
        """As `Objective.check`."""
        footprints.refuse_coarse(cfg, "its encoder reads context and mask tokens in one grid")

    @staticmethod
    def step_flops(cfg: TrainConfig, reading: StepReading) -> StepFlops:
        """As `Objective.step_flops`."""
        width, hidden = cfg.model.width, cfg.predictor.width
        encoder = len(reading.draws) * flops.trained_encoder(cfg.model, reading.tokens)
        predictor = sum(3 * 2 * flops.linear(draw.T, width, hidden) for draw in reading.draws)
        return StepFlops(flops.encoder(cfg.model, reading.tokens), encoder, predictor)

    @staticmethod
    def kept_tokens(cfg: TrainConfig, encoded: int, counts: Sequence[TokenCounts]) -> KeptTokens:
        """As `Objective.kept_tokens`."""
        return KeptTokens(len(counts) * encoded, 0)

    @staticmethod
    def predictor_weights(cfg: TrainConfig) -> int:
        """As `Objective.predictor_weights`."""
        return 2 * cfg.model.width * cfg.predictor.width
