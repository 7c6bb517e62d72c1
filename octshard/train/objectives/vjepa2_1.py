"""V-JEPA 2.1 (Mur-Labadia et al. 2026): four levels of the encoder are predicted, of context tokens too.

The method of V-JEPA 2 (Assran et al. 2025) for the features after a quarter, half, three quarters and all of
the blocks. The error at a context token counts 1 / sqrt(its distance to the nearest target), so that
neighbours of what is hidden keep what lies there, and farther ones may be other things too. The target of a
coarser context token (`objective.context_scale`) is the mean of those of the tokens that it covers.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.imaging.volume import Shape, triple
from octshard.models import flops, position
from octshard.models.flops import StepReading
from octshard.models.position import FINE
from octshard.models.tokens import Tokens
from octshard.models.vit import LAYER_NORM_EPS
from octshard.train.objectives import footprints
from octshard.train.objectives.covered import covered_tokens, mean_of_covered
from octshard.train.objectives.distance import NORMED_L1
from octshard.train.objectives.jepa import Jepa
from octshard.train.objectives.objective import KeptTokens, ObjectiveOutput, StepFlops, mean_error
from octshard.train.objectives.places import Places, joint_layout, token_numbers
from octshard.train.objectives.predictor import LEVELS, LevelPredictor
from octshard.train.objectives.token_counts import TokenCounts
from octshard.train.objectives.vjepa2 import VJepa2


def level_depths(depth: int) -> list[int]:
    """Blocks below each level: i / 4 of the depth, rounded down."""
    return [depth * i // LEVELS for i in range(1, LEVELS + 1)]


def layer_normed_levels(target_BTX: Tensor) -> Tensor:
    """Each level by itself over its features, without affine."""
    levels_BTLF = target_BTX.float().unflatten(-1, (LEVELS, -1))
    return functional.layer_norm(levels_BTLF, levels_BTLF.shape[-1:], eps=LAYER_NORM_EPS).flatten(-2)


@torch.no_grad()
def nearness(
    context_BK: Tensor, target_BT: Tensor, grid: Shape, padding_BT: Tensor | None, scale: Shape = FINE
) -> Tensor:
    """(B, K) float32: 1 / sqrt(d) of each context token, d the distance of its middle to that of the nearest
    target that is no padding: Euclidean, a token of `grid` is 1 long on each axis. Tokens by their numbers in
    the grid, those of the context in the one whose tokens cover `scale` of it.
    """
    context_at = position.coordinates_of(context_BK, position.coarser(grid, scale))
    sides = zip(context_at, position.coordinates_of(target_BT, grid), scale, strict=True)
    square_BKT = torch.zeros((), device=context_BK.device)
    for context_at_BK, target_at_BT, step in sides:
        if step > 1:
            context_at_BK = context_at_BK * step + (step - 1) / 2
        square_BKT = square_BKT + (context_at_BK.unsqueeze(2) - target_at_BT.unsqueeze(1)).float().square()
    if padding_BT is not None:
        square_BKT = square_BKT.masked_fill(padding_BT.unsqueeze(1), torch.inf)
    return square_BKT.amin(2).sqrt().rsqrt()


def ramp_at(progress: Tensor, ramp: tuple[float, ...]) -> Tensor:
    """From 0 to 1 between two shares of the budget, on the device of `progress` (0-d)."""
    start, end = ramp
    if start == end:
        return (progress >= end).float()
    return ((progress - start) / (end - start)).clamp(0, 1)


class VJepa21(Jepa):
    """As `VJepa2`, X = four levels of F features, one behind the other, the last one the encoder's output."""

    predictor: LevelPredictor
    distance = NORMED_L1._replace(as_compared=layer_normed_levels)
    has_context_loss = True
    keys = ("objective.context_weight", "objective.context_ramp")

    def __init__(self, cfg: TrainConfig) -> None:
        super().__init__(cfg, LevelPredictor)
        self.depths, self.scale = level_depths(cfg.model.depth), triple(cfg.objective.context_scale)
        self.context_weight, self.context_ramp = (
            cfg.objective.context_weight,
            tuple(cfg.objective.context_ramp),
        )

    def forward(
        self,
        context_BCDHW: Tensor,
        target_BCDHW: Tensor,
        tokens: Tokens,
        place_sets: Sequence[Places],
        progress_1: Tensor | None = None,
    ) -> ObjectiveOutput:
        """As `Objective.forward`. The loss has the context's errors too; all else is of targets alone."""
        target_BVX = self.targets(target_BCDHW, tokens)
        errors: list[Tensor] = []
        context_errors: list[Tensor] = []
        for set_index, places in enumerate(place_sets):
            context_BKX, predicted_BTX = self._predict_both(context_BCDHW, tokens, places, set_index)
            errors.append(self.error(predicted_BTX, target_BVX, places.target_BT))
            error_BK = self._context_error(context_BKX, target_BVX, tokens, places)
            context_errors.append(mean_error(error_BK, places.context_padding_BK).mean())
        out = self.output(errors, target_BVX, tokens, place_sets)
        context_loss = torch.stack(context_errors).mean()
        loss = out.loss + self._weight_at(progress_1) * context_loss
        # torch.compile does not trace _replace
        return ObjectiveOutput(loss, *out[1:-1], context_loss.detach())

    def predict(self, context_BCDHW: Tensor, tokens: Tokens, places: Places, set_index: int) -> Tensor:
        """As `Jepa.predict`."""
        return self._predict_both(context_BCDHW, tokens, places, set_index)[1]

    def _predict_both(
        self, context_BCDHW: Tensor, tokens: Tokens, places: Places, set_index: int
    ) -> tuple[Tensor, Tensor]:
        """(B, K, X) and (B, T, X): of context and of targets, from context tokens alone."""
        context_BK, target_BT = token_numbers(tokens, places)
        context = Tokens(context_BK, places.context_padding_BK, places.context_packing)
        levels = self.encoder.levels(context_BCDHW, context, self.depths, places.scale_BLR)
        return self.predictor(levels, context_BK, target_BT, set_index, joint_layout(places))  # type: ignore[no-any-return]

    def _context_error(
        self, predicted_BKX: Tensor, target_BVX: Tensor, tokens: Tokens, places: Places
    ) -> Tensor:
        """(B, K): weighted by nearness; 0 where nothing that the token covers is in the list."""
        grid, numbers = self.target_encoder.grid, token_numbers(tokens, places)
        weight_BK = nearness(*numbers, grid, places.target_padding_BT, self.scale)
        if not places.coarse:
            return weight_BK * self.error(predicted_BKX, target_BVX, places.context_BK)
        covered_BKV = covered_tokens(numbers[0], tokens, grid, self.scale)
        compared_BKX = self.distance.as_compared(mean_of_covered(target_BVX, covered_BKV))
        return weight_BK * covered_BKV.any(2) * self.distance.error(predicted_BKX, compared_BKX)

    def _weight_at(self, progress_1: Tensor | None) -> Tensor | float:
        """Of the context's errors. On the device: a Python number would be compiled into the XLA graph."""
        if progress_1 is None:
            return self.context_weight
        return self.context_weight * ramp_at(progress_1.reshape(()), self.context_ramp)

    @staticmethod
    def ramps(cfg: TrainConfig, progress: float) -> Mapping[str, float]:
        """As `Objective.ramps`."""
        ramp = ramp_at(torch.tensor(progress), tuple(cfg.objective.context_ramp))
        return {"context_weight": cfg.objective.context_weight * float(ramp)}

    @torch.no_grad()
    def targets(self, target_BCDHW: Tensor, tokens: Tokens) -> Tensor:
        """(B, V, X): all levels."""
        return torch.cat(self.target_encoder.levels(target_BCDHW, tokens, self.depths), dim=-1)

    def encoded(self, target_BVX: Tensor) -> Tensor:
        """As `Jepa.encoded`: the last level."""
        return target_BVX.unflatten(-1, (LEVELS, -1))[..., -1, :]

    @staticmethod
    def check(cfg: TrainConfig) -> None:
        """As `Objective.check`."""
        VJepa2.check(cfg)
        if cfg.model.depth < LEVELS:
            raise UsageError(
                f"model.depth={cfg.model.depth}: objective.name=vjepa2_1 predicts {LEVELS} levels of blocks, "
                f"want at least {LEVELS}"
            )
        if cfg.objective.context_ramp[0] > cfg.objective.context_ramp[1]:
            raise UsageError(f"objective.context_ramp={list(cfg.objective.context_ramp)}: want [from, to]")

    @staticmethod
    def target_width(cfg: TrainConfig) -> int:
        """Of all levels."""
        return LEVELS * cfg.model.width

    @staticmethod
    def step_flops(cfg: TrainConfig, reading: StepReading) -> StepFlops:
        """As `Objective.step_flops`."""
        width, width_out = cfg.model.width, VJepa21.target_width(cfg)
        predictor = sum(
            3 * flops.linear(draw.K, width_out, width)
            + flops.trained_predictor(cfg, draw, width_out)
            + 3 * flops.linear(draw.K, cfg.predictor.width, width_out)
            for draw in reading.draws
        )
        step = VJepa2.step_flops(cfg, reading)._replace(predictor=predictor)
        if not footprints.is_coarse(cfg):
            return step
        means = sum(flops.linear(reading.V, draw.K, width_out) for draw in reading.draws)
        return step._replace(target=step.target + means)

    @staticmethod
    def kept_tokens(cfg: TrainConfig, encoded: int, counts: Sequence[TokenCounts]) -> KeptTokens:
        """As `Objective.kept_tokens`."""
        return VJepa2.kept_tokens(cfg, encoded, counts)

    @staticmethod
    def predictor_weights(cfg: TrainConfig) -> int:
        """As `Objective.predictor_weights`."""
        width, narrow, width_out = cfg.model.width, cfg.predictor.width, VJepa21.target_width(cfg)
        around = width_out * width + width * narrow + 2 * narrow * width_out
        return VJepa2.predictor_weights(cfg) + around
