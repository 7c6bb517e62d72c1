"""The method: from the visible part of a volume, predict the target encoder's features of the rest.

`vjepa2`: transformer predictor, L1 on layer-normed targets. `byol`: mask tokens inside the encoder, MLP
predictor, normalised MSE. The target encoder is a moving average of the encoder and gets no gradient.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from octshard.config import fields
from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.models import position
from octshard.models.tokens import Tokens, pool
from octshard.models.vit import LAYER_NORM_EPS, Encoder, MaskToken
from octshard.rng import seed_for
from octshard.train.objectives import collapse, masks
from octshard.train.objectives.places import Places
from octshard.train.objectives.predictor import MlpPredictor, Predictor


class JepaOut(NamedTuple):
    """One forward: the loss (0-d), those of mask sets and of volumes (these without a gradient), and target
    features for the collapse statistics.
    """

    loss: Tensor
    losses_S: Tensor
    losses_B: Tensor
    tokens_RF: Tensor
    pooled_BF: Tensor


class Jepa(nn.Module):
    """Encoder, predictor and target encoder; `build` makes one."""

    def __init__(self, cfg: TrainConfig) -> None:
        super().__init__()
        self.objective = cfg.objective.name
        self.encoder = Encoder(cfg.model)
        self.predictor: Predictor | MlpPredictor
        self.predictor = Predictor(cfg) if self.objective == "vjepa2" else MlpPredictor(cfg)
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)

    def forward(
        self, context_BCDHW: Tensor, target_BCDHW: Tensor, tokens: Tokens, place_sets: Sequence[Places]
    ) -> JepaOut:
        """The loss averaged over mask sets; the target encoder reads all V tokens once for all sets."""
        target_BVF = self.targets(target_BCDHW, tokens)
        pooled_BF = pool(target_BVF, tokens.padding_BV)
        errors = self.errors(context_BCDHW, target_BVF, tokens, place_sets)
        losses_S = torch.stack([error.mean() for error in errors])
        tokens_RF = collapse.subsample_tokens(position.gather_tokens(target_BVF, place_sets[0].target_BT))
        return JepaOut(losses_S.mean(), losses_S, losses_of_volumes(errors), tokens_RF, pooled_BF)

    @torch.no_grad()
    def targets(self, target_BCDHW: Tensor, tokens: Tokens) -> Tensor:
        """(B, V, F): what the target encoder makes of the volumes."""
        return self.target_encoder(target_BCDHW, *tokens)  # type: ignore[no-any-return]

    def errors(
        self, context_BCDHW: Tensor, target_BVF: Tensor, tokens: Tokens, place_sets: Sequence[Places]
    ) -> list[Tensor]:
        """Of every mask set (B, T, F) or (B, T): what its loss is the mean of."""
        return [
            self._error(
                self.predict(context_BCDHW, tokens, places, set_index),
                position.gather_tokens(target_BVF, places.target_BT),
            )
            for set_index, places in enumerate(place_sets)
        ]

    def predict(self, context_BCDHW: Tensor, tokens: Tokens, places: Places, set_index: int) -> Tensor:
        """(B, T, F): predicted features at the targets of mask set `set_index`, from context tokens alone."""
        if isinstance(self.predictor, Predictor):
            context_BK, target_BT = (tokens.index_BV.gather(1, place_BX) for place_BX in places)
            return self.predictor(self.encoder(context_BCDHW, context_BK), context_BK, target_BT, set_index)
        all_BV = torch.ones_like(tokens.index_BV, dtype=torch.bool)
        hidden = MaskToken(all_BV.scatter(1, places.context_BK, False), self.predictor.token_F)
        z_BVF = self.encoder(context_BCDHW, *tokens, hidden)
        return self.predictor(position.gather_tokens(z_BVF, places.target_BT))

    def _error(self, predicted_BTF: Tensor, target_BTF: Tensor) -> Tensor:
        if self.objective == "vjepa2":
            return normed_l1(predicted_BTF, target_BTF)
        return normalised_mse(predicted_BTF, target_BTF)


def build(cfg: TrainConfig) -> Jepa:
    """A Jepa on the CPU, its weights a function of run.seed; all checks run before anything is allocated."""
    check(cfg)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("model", cfg.run.seed))
        return Jepa(cfg)


def check(cfg: TrainConfig) -> None:
    """UsageError for values out of bounds, and for mask sets or model sizes that cannot be built."""
    fields.check(cfg)
    masks.token_counts(cfg)
    for group, width in (("model", cfg.model.width), ("predictor", cfg.predictor.width)):
        if int(width * cfg.model.mlp_ratio) < 1:
            raise UsageError(
                f"model.mlp_ratio={cfg.model.mlp_ratio}: {group}.width {width} gives an MLP of no width"
            )
    position.check("model", cfg.model.position, cfg.model.width, cfg.model.heads)
    if cfg.objective.name == "vjepa2":
        position.check("predictor", cfg.model.position, cfg.predictor.width, cfg.predictor.heads)


def losses_of_volumes(errors: Sequence[Tensor]) -> Tensor:
    """(B,): the loss of each volume, without a gradient, from the `errors` of all mask sets."""
    return torch.stack([error.detach().flatten(1).mean(1) for error in errors]).mean(0)


def as_compared(target_BTF: Tensor, objective: str) -> Tensor:
    """Target features as the loss compares them, float32: layer-normed, or of length 1."""
    if objective == "vjepa2":
        return functional.layer_norm(target_BTF.float(), target_BTF.shape[-1:], eps=LAYER_NORM_EPS)
    return functional.normalize(target_BTF.float(), dim=-1)


def normed_l1(predicted_BTF: Tensor, target_BTF: Tensor) -> Tensor:
    """(B, T, F): |z - layer_norm(h)| in float32, the norm over F without affine; its mean is the loss.

    V-JEPA 2, Assran et al. 2025.
    """
    return (predicted_BTF.float() - as_compared(target_BTF, "vjepa2")).abs()


def normalised_mse(predicted_BTF: Tensor, target_BTF: Tensor) -> Tensor:
    """(B, T): squared distance of unit vectors, 2 - 2 cos, in float32; its mean is the loss.

    BYOL, Grill et al. 2020.
    """
    cosine_BT = functional.cosine_similarity(predicted_BTF.float(), target_BTF.float(), dim=-1)
    return 2 - 2 * cosine_BT


@torch.no_grad()
def update_target(jepa: Jepa, momentum: Tensor) -> None:
    """target <- momentum * target + (1 - momentum) * encoder. `momentum`: one element on the weights' device.

    A tensor, because a Python number would be compiled into the XLA graph; exact when momentum is 1.
    """
    targets: list[Tensor] = list(jepa.target_encoder.parameters())
    sources: list[Tensor] = list(jepa.encoder.parameters())
    change = list(torch._foreach_sub(sources, targets))
    torch._foreach_mul_(change, 1 - momentum.reshape(()))
    torch._foreach_add_(targets, change)
