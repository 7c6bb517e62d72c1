"""What a run trains: the protocol that every objective fills, a file each in this folder."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from octshard.config.train import TrainConfig
from octshard.models.flops import StepReading
from octshard.models.tokens import Tokens
from octshard.models.vit import Encoder
from octshard.train.objectives.distance import Distance
from octshard.train.objectives.places import Places
from octshard.train.objectives.token_counts import TokenCounts


class ObjectiveOutput(NamedTuple):
    """One forward: the loss (0-d), mean errors of mask sets and of volumes (these without a gradient), and
    features for the collapse statistics: of some tokens, and the mean of each volume. context_loss: 0-d, that
    of context tokens before it is weighted, part of the loss where `has_context_loss`; else 0.
    """

    loss: Tensor
    losses_S: Tensor
    losses_B: Tensor
    tokens_RF: Tensor
    pooled_BF: Tensor
    context_loss: Tensor


class StepFlops(NamedTuple):
    """Of one volume in a training step: target encoder forward; encoder and predictor with their backward."""

    target: float
    encoder: float
    predictor: float

    @property
    def total(self) -> float:
        """Of the whole step."""
        return sum(self)


class KeptTokens(NamedTuple):
    """Tokens of a volume whose numbers blocks keep for backward: the encoder's, the predictor's."""

    encoder: int
    predictor: int


class Objective(nn.Module):
    """An encoder and what trains it. What stands below is what the trainer asks of every objective."""

    encoder: Encoder
    distance: Distance
    batch_statistics = False  # does the loss of a volume depend on the others of its micro-batch?
    has_target_encoder = False
    encodes_all = True  # does some encoder read all valid tokens of a volume?
    collapse_advice = "lower optim.base_lr"  # for features that have collapsed
    has_context_loss = False  # are context tokens predicted too?
    token_per_set = True  # has each mask set a weight of its own?
    fingerprint: Mapping[str, str] = {}  # what decides its result besides config and data
    keys: Sequence[str] = ()  # of the config, that are for this objective alone, or for some
    idle: Mapping[str, str] = {}  # other keys that change nothing, and why

    def forward(
        self,
        context_BCDHW: Tensor,
        target_BCDHW: Tensor,
        tokens: Tokens,
        place_sets: Sequence[Places],
        progress_1: Tensor | None = None,
    ) -> ObjectiveOutput:
        """The loss averaged over mask sets. progress_1: the share of the run's budget that is spent after
        this step, on the device; None: all of it.
        """
        raise NotImplementedError

    def targets(self, target_BCDHW: Tensor, tokens: Tokens) -> Tensor:
        """(B, V, X): what is to be predicted of every token, without a gradient."""
        raise NotImplementedError

    def errors(
        self, context_BCDHW: Tensor, target_BVX: Tensor, tokens: Tokens, place_sets: Sequence[Places]
    ) -> list[Tensor]:
        """Of every mask set (B, T), float32: `distance` of the prediction and `targets`, of each target."""
        raise NotImplementedError

    def update(self, momentum_1: Tensor) -> None:
        """After an optimizer step. momentum_1: of the target encoder, on the device."""

    @property
    def judged(self) -> Encoder:
        """The encoder that probes and users get."""
        return self.encoder

    @staticmethod
    def check(cfg: TrainConfig) -> None:
        """UsageError for what this objective cannot be built from, beyond the bounds of each key."""

    @staticmethod
    def ramps(cfg: TrainConfig, progress: float) -> Mapping[str, float]:
        """Numbers of the loss that change with the share of the budget that is spent, by name."""
        return {}

    @staticmethod
    def target_width(cfg: TrainConfig) -> int:
        """X of `targets`."""
        raise NotImplementedError

    @staticmethod
    def step_flops(cfg: TrainConfig, reading: StepReading) -> StepFlops:
        """Of one volume."""
        raise NotImplementedError

    @staticmethod
    def kept_tokens(cfg: TrainConfig, encoded: int, counts: Sequence[TokenCounts]) -> KeptTokens:
        """Of one volume, at least; encoded: the tokens that an encoder of all of them reads; counts: how long
        its lists of context and targets are.
        """
        raise NotImplementedError

    @staticmethod
    def predictor_weights(cfg: TrainConfig) -> int:
        """Of what is trained beside the encoder, without biases and norms."""
        raise NotImplementedError


def mean_errors(errors: Sequence[Tensor], place_sets: Sequence[Places]) -> Tensor:
    """(S, B): the mean of the `errors` of each mask set and volume, over its targets."""
    return torch.stack(
        [
            mean_error(error_BT, places.target_padding_BT)
            for error_BT, places in zip(errors, place_sets, strict=True)
        ]
    )


def mean_error(error_BT: Tensor, padding_BT: Tensor | None) -> Tensor:
    """(B,): over the tokens of each volume, without padding."""
    if padding_BT is None:
        return error_BT.mean(1)
    return error_BT.masked_fill(padding_BT, 0).sum(1) / (~padding_BT).sum(1)
