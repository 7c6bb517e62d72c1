"""A masked autoencoder (He et al. 2022; of video, Tong et al. 2022): a transformer predicts hidden voxels.

Its targets are voxels, normalised patch by patch; there is no target encoder, and probes judge the encoder.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.imaging.volume import Shape, product, triple
from octshard.models import flops, position
from octshard.models.flops import StepReading
from octshard.models.tokens import Tokens, pool
from octshard.models.vit import Encoder, token_patches
from octshard.train.objectives import collapse
from octshard.train.objectives.distance import VOXEL_MSE
from octshard.train.objectives.objective import (
    KeptTokens,
    Objective,
    ObjectiveOutput,
    StepFlops,
    mean_errors,
)
from octshard.train.objectives.places import Places, joint_layout, token_numbers
from octshard.train.objectives.predictor import Predictor
from octshard.train.objectives.token_counts import TokenCounts
from octshard.train.objectives.vjepa2 import VJepa2

VARIANCE_EPS = 1e-6  # of a patch's voxels, He et al. 2022: a patch of one grey level has targets of 0
_NO_TARGET_ENCODER = "mae has no target encoder"


class Mae(Objective):
    """The encoder reads context tokens alone; the predictor is the decoder, with a learned token for each
    target. Features for the collapse statistics are the encoder's, of context tokens.
    """

    distance = VOXEL_MSE
    encodes_all = False
    idle = {
        "objective.ema_start": _NO_TARGET_ENCODER,
        "objective.ema_end": _NO_TARGET_ENCODER,
    }

    def __init__(self, cfg: TrainConfig) -> None:
        super().__init__()
        self.encoder = Encoder(cfg.model)
        self.grid = self.encoder.grid
        self.encoder.read_at(triple(cfg.objective.context_scale))
        self.predictor = Predictor(cfg, product(self.encoder.patch))

    def forward(
        self,
        context_BCDHW: Tensor,
        target_BCDHW: Tensor,
        tokens: Tokens,
        place_sets: Sequence[Places],
        progress_1: Tensor | None = None,
    ) -> ObjectiveOutput:
        """As `Objective.forward`."""
        target_BVP = self.targets(target_BCDHW, tokens)
        z_sets = [self._encode(context_BCDHW, tokens, places) for places in place_sets]
        errors = [
            self._error(z_BKF, target_BVP, tokens, places, set_index)
            for set_index, (z_BKF, places) in enumerate(zip(z_sets, place_sets, strict=True))
        ]
        errors_SB = mean_errors(errors, place_sets)
        losses_S = errors_SB.mean(1)
        pooled_BF = pool(z_sets[0].detach(), place_sets[0].context_padding_BK)
        tokens_RF = collapse.subsample_tokens(z_sets[0])
        losses_B, no_loss = errors_SB.detach().mean(0), losses_S.new_zeros(())
        return ObjectiveOutput(losses_S.mean(), losses_S, losses_B, tokens_RF, pooled_BF, no_loss)

    @torch.no_grad()
    def targets(self, target_BCDHW: Tensor, tokens: Tokens) -> Tensor:
        """(B, V, P): the voxels of each patch, normalised by their own mean and spread; NaN where the patch
        hangs over the edge of its volume: nobody predicts padding.
        """
        patches_BVP = token_patches(target_BCDHW, tokens.index_BV, self.encoder.patch, self.grid)
        return normalize_patches(patches_BVP, self.encoder.patch)

    def errors(
        self, context_BCDHW: Tensor, target_BVX: Tensor, tokens: Tokens, place_sets: Sequence[Places]
    ) -> list[Tensor]:
        """As `Objective.errors`."""
        return [
            self._error(self._encode(context_BCDHW, tokens, places), target_BVX, tokens, places, set_index)
            for set_index, places in enumerate(place_sets)
        ]

    def predict(self, context_BCDHW: Tensor, tokens: Tokens, places: Places, set_index: int) -> Tensor:
        """(B, T, P): predicted voxels at the targets of mask set `set_index`, from context tokens alone."""
        z_BKF = self._encode(context_BCDHW, tokens, places)
        return self._decode(z_BKF, tokens, places, set_index)

    def _encode(self, context_BCDHW: Tensor, tokens: Tokens, places: Places) -> Tensor:
        context_BK, _ = token_numbers(tokens, places)
        return self.encoder(  # type: ignore[no-any-return]
            context_BCDHW,
            context_BK,
            places.context_padding_BK,
            places.context_packing,
            scale_BLR=places.scale_BLR,
        )

    def _decode(self, z_BKF: Tensor, tokens: Tokens, places: Places, set_index: int) -> Tensor:
        context_BK, target_BT = token_numbers(tokens, places)
        return self.predictor(z_BKF, context_BK, target_BT, set_index, joint_layout(places))  # type: ignore[no-any-return]

    def _error(
        self, z_BKF: Tensor, target_BVP: Tensor, tokens: Tokens, places: Places, set_index: int
    ) -> Tensor:
        compared_BTP = self.distance.as_compared(position.gather_tokens(target_BVP, places.target_BT))
        return self.distance.error(self._decode(z_BKF, tokens, places, set_index), compared_BTP)

    @staticmethod
    def check(cfg: TrainConfig) -> None:
        """As `Objective.check`."""
        VJepa2.check(cfg)

    @staticmethod
    def target_width(cfg: TrainConfig) -> int:
        """Voxels of a patch."""
        return product(cfg.model.patch)

    @staticmethod
    def step_flops(cfg: TrainConfig, reading: StepReading) -> StepFlops:
        """As `Objective.step_flops`."""
        voxels = product(cfg.model.patch)
        encoder = sum(flops.trained_encoder(cfg.model, draw.context) for draw in reading.draws)
        predictor = sum(flops.trained_predictor(cfg, draw, voxels) for draw in reading.draws)
        return StepFlops(0.0, encoder, predictor)

    @staticmethod
    def kept_tokens(cfg: TrainConfig, encoded: int, counts: Sequence[TokenCounts]) -> KeptTokens:
        """As `Objective.kept_tokens`."""
        return VJepa2.kept_tokens(cfg, encoded, counts)

    @staticmethod
    def predictor_weights(cfg: TrainConfig) -> int:
        """As `Objective.predictor_weights`."""
        return VJepa2.predictor_weights(cfg)


def normalize_patches(patches_BVP: Tensor, patch: Shape) -> Tensor:
    """(x - mean) / sqrt(variance + VARIANCE_EPS) of the voxels of each patch that are real; NaN elsewhere."""
    real_BVP = real_voxels(patches_BVP, patch)
    count_BV1 = real_BVP.sum(-1, keepdim=True).clamp(min=1)
    mean_BV1 = patches_BVP.sum(-1, keepdim=True) / count_BV1  # padding is 0
    centred_BVP = (patches_BVP - mean_BV1).masked_fill(~real_BVP, 0)
    variance_BV1 = centred_BVP.square().sum(-1, keepdim=True) / count_BV1
    return (centred_BVP * (variance_BV1 + VARIANCE_EPS).rsqrt()).masked_fill(~real_BVP, torch.nan)


def real_voxels(patches_BVP: Tensor, patch: Shape) -> Tensor:
    """(B, V, P) bool: the voxel lies in its volume, and not behind its end along some axis.

    By the voxels themselves: views make padding exactly 0, and a volume ends with a plane of its own voxels,
    one of which at least is not its mean. Where none is, as in a blank volume, there is nothing to predict.
    """
    content_BVdhw = patches_BVP.ne(0).unflatten(-1, patch)
    real_BVdhw = torch.ones_like(content_BVdhw)
    for axis, size in enumerate(patch):
        others = [2 + other for other in range(3) if other != axis]
        number_N = torch.arange(1, size + 1, device=patches_BVP.device, dtype=torch.int32)
        plane_BVN = content_BVdhw.int().amax(others)
        extent_BV1 = (plane_BVN * number_N).amax(-1, keepdim=True)
        shape = [1, 1, 1]
        shape[axis] = size
        real_BVdhw = real_BVdhw & (number_N <= extent_BV1).unflatten(-1, shape)
    return real_BVdhw.flatten(-3)
