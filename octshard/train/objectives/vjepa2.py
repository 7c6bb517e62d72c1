"""V-JEPA 2 (Assran et al. 2025): a transformer predicts the target features, L1 on layer-normed targets."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.models import flops, position
from octshard.models.flops import StepReading
from octshard.models.tokens import Tokens
from octshard.train.objectives.distance import NORMED_L1
from octshard.train.objectives.jepa import Jepa
from octshard.train.objectives.objective import KeptTokens, StepFlops
from octshard.train.objectives.places import Places, joint_layout, token_numbers
from octshard.train.objectives.predictor import Predictor
from octshard.train.objectives.token_counts import TokenCounts


class VJepa2(Jepa):
    """The encoder reads context tokens alone; the predictor adds a learned token for each target."""

    distance = NORMED_L1

    def __init__(self, cfg: TrainConfig) -> None:
        super().__init__(cfg, partial(Predictor, width_out=cfg.model.width))

    def predict(self, context_BCDHW: Tensor, tokens: Tokens, places: Places, set_index: int) -> Tensor:
        """As `Jepa.predict`."""
        context_BK, target_BT = token_numbers(tokens, places)
        z_BKF = self.encoder(
            context_BCDHW,
            context_BK,
            places.context_padding_BK,
            places.context_packing,
            scale_BLR=places.scale_BLR,
        )
        return self.predictor(z_BKF, context_BK, target_BT, set_index, joint_layout(places))  # type: ignore[no-any-return]

    @staticmethod
    def check(cfg: TrainConfig) -> None:
        """As `Objective.check`."""
        position.check("predictor", cfg.model.position, cfg.predictor.width, cfg.predictor.heads)

    @staticmethod
    def step_flops(cfg: TrainConfig, reading: StepReading) -> StepFlops:
        """As `Objective.step_flops`."""
        encoder = sum(flops.trained_encoder(cfg.model, draw.context) for draw in reading.draws)
        predictor = sum(flops.trained_predictor(cfg, draw, cfg.model.width) for draw in reading.draws)
        return StepFlops(flops.encoder(cfg.model, reading.tokens), encoder, predictor)

    @staticmethod
    def kept_tokens(cfg: TrainConfig, encoded: int, counts: Sequence[TokenCounts]) -> KeptTokens:
        """As `Objective.kept_tokens`."""
        return KeptTokens(sum(K_T.K for K_T in counts), sum(K_T.K + K_T.T for K_T in counts))

    @staticmethod
    def predictor_weights(cfg: TrainConfig) -> int:
        """As `Objective.predictor_weights`."""
        return flops.block_weights(cfg.model, cfg.predictor.width) * cfg.predictor.depth
