"""What objectives with a target encoder share: its features are the targets, and it follows the encoder.

A joint-embedding predictive architecture: from the visible part of a volume, predict the target encoder's
features of the rest. The target encoder is a moving average of the encoder and gets no gradient.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from octshard.config.train import TrainConfig
from octshard.imaging.volume import triple
from octshard.models import position
from octshard.models.tokens import Tokens, pool
from octshard.models.vit import Encoder
from octshard.train.objectives import collapse
from octshard.train.objectives.objective import Objective, ObjectiveOutput, mean_errors
from octshard.train.objectives.places import Places


class Jepa(Objective):
    """Encoder and target encoder. A subclass sets `predictor` and `distance`, and predicts."""

    predictor: nn.Module
    has_target_encoder = True
    collapse_advice = "lower optim.base_lr or raise objective.ema_start"

    def __init__(self, cfg: TrainConfig, predictor: Callable[[TrainConfig], nn.Module]) -> None:
        super().__init__()
        self.encoder = Encoder(cfg.model)
        self.predictor = predictor(cfg)
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.encoder.read_at(triple(cfg.objective.context_scale))

    def predict(self, context_BCDHW: Tensor, tokens: Tokens, places: Places, set_index: int) -> Tensor:
        """(B, T, X): predicted features at the targets of mask set `set_index`, from context tokens alone."""
        raise NotImplementedError

    def forward(
        self,
        context_BCDHW: Tensor,
        target_BCDHW: Tensor,
        tokens: Tokens,
        place_sets: Sequence[Places],
        progress_1: Tensor | None = None,
    ) -> ObjectiveOutput:
        """As `Objective.forward`; the target encoder reads all V tokens once for all sets."""
        target_BVX = self.targets(target_BCDHW, tokens)
        errors = self.errors(context_BCDHW, target_BVX, tokens, place_sets)
        return self.output(errors, target_BVX, tokens, place_sets)

    def output(
        self, errors: Sequence[Tensor], target_BVX: Tensor, tokens: Tokens, place_sets: Sequence[Places]
    ) -> ObjectiveOutput:
        """Of a forward with these `errors` and `targets`; the collapse statistics are of `encoded`."""
        target_BVF = self.encoded(target_BVX)
        pooled_BF = pool(target_BVF, tokens.padding_BV)
        errors_SB = mean_errors(errors, place_sets)
        losses_S = errors_SB.mean(1)
        tokens_RF = collapse.subsample_tokens(position.gather_tokens(target_BVF, place_sets[0].target_BT))
        losses_B, no_loss = errors_SB.detach().mean(0), losses_S.new_zeros(())
        return ObjectiveOutput(losses_S.mean(), losses_S, losses_B, tokens_RF, pooled_BF, no_loss)

    @torch.no_grad()
    def targets(self, target_BCDHW: Tensor, tokens: Tokens) -> Tensor:
        """(B, V, F): what the target encoder makes of the volumes."""
        return self.target_encoder(target_BCDHW, *tokens)  # type: ignore[no-any-return]

    def encoded(self, target_BVX: Tensor) -> Tensor:
        """(B, V, F): the part of `targets` that is the target encoder's output."""
        return target_BVX

    def errors(
        self, context_BCDHW: Tensor, target_BVX: Tensor, tokens: Tokens, place_sets: Sequence[Places]
    ) -> list[Tensor]:
        """As `Objective.errors`."""
        return [
            self.error(self.predict(context_BCDHW, tokens, places, set_index), target_BVX, places.target_BT)
            for set_index, places in enumerate(place_sets)
        ]

    def error(self, predicted_BTX: Tensor, target_BVX: Tensor, place_BT: Tensor) -> Tensor:
        """(B, T), float32: `distance` of predictions and the targets at these places."""
        compared_BTX = self.distance.as_compared(position.gather_tokens(target_BVX, place_BT))
        return self.distance.error(predicted_BTX, compared_BTX)

    @torch.no_grad()
    def update(self, momentum_1: Tensor) -> None:
        """target <- momentum * target + (1 - momentum) * encoder.

        A tensor, because a Python number would be compiled into the XLA graph; exact when momentum is 1.
        """
        targets: list[Tensor] = list(self.target_encoder.parameters())
        sources: list[Tensor] = list(self.encoder.parameters())
        change = list(torch._foreach_sub(sources, targets))
        torch._foreach_mul_(change, 1 - momentum_1.reshape(()))
        torch._foreach_add_(targets, change)

    @property
    def judged(self) -> Encoder:
        """The target encoder."""
        return self.target_encoder

    @staticmethod
    def target_width(cfg: TrainConfig) -> int:
        """That of the encoder."""
        return cfg.model.width
