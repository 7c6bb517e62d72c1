"""Predicts targets from context features: a transformer (`vjepa2`, `vjepa2_1`, `mae`) or an MLP (`byol`).

All hold the learned vector that stands for hidden tokens; none reads a voxel.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from octshard.config.train import TrainConfig
from octshard.imaging.volume import triple
from octshard.models import attention, position
from octshard.models.blocks import BlockStack, Readers
from octshard.models.divided import WHOLE, Layout, divided, divided_over
from octshard.models.position import FINE
from octshard.models.vit import INIT_STD, LAYER_NORM_EPS, Block, init_weights
from octshard.train.objectives.token_counts import draws_of_sets

LEVELS = 4  # of the encoder that `vjepa2_1` predicts


class Predictor(nn.Module):
    """V-JEPA 2's predictor: context features and mask tokens, each with its position, through narrow blocks.

    One mask token per mask set, for all its draws: short-range and long-range sets differ. width_out: numbers
    of a prediction.
    """

    def __init__(self, cfg: TrainConfig, width_out: int) -> None:
        super().__init__()
        width, heads = cfg.predictor.width, cfg.predictor.heads
        self.proj_in = nn.Linear(cfg.model.width, width)
        self.set_of = [i for i, draws in enumerate(draws_of_sets(cfg)) for _ in range(draws)]
        self.tokens_SF = nn.Parameter(torch.zeros(len(cfg.objective.masks), width))
        self.divided = cfg.model.attention == "divided"
        self.grid, self.scale = position.grid_of(cfg.model), triple(cfg.objective.context_scale)
        place_N3 = position.coordinates(self.grid)
        self.first_context = 0  # row of the positions of the context's first token
        if self.scale != FINE:
            self.first_context = len(place_N3)
            coarse_M3 = position.coordinates(position.coarser(self.grid, self.scale), self.scale)
            place_N3 = np.concatenate([place_N3, coarse_M3])
        self.position = position.Position(cfg.model.position, place_N3, width, heads)
        blocks = [Block(cfg.model, width, heads) for _ in range(cfg.predictor.depth)]
        self.blocks = BlockStack(blocks, checkpointing=cfg.model.checkpointing)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.proj_out = nn.Linear(width, width_out)
        init_weights(self, self.blocks)
        nn.init.trunc_normal_(self.tokens_SF, std=INIT_STD)

    def forward(
        self,
        z_BKF: Tensor,
        context_BK: Tensor,
        target_BT: Tensor,
        set_index: int,
        layout: Layout = WHOLE,
    ) -> Tensor:
        """(B, T, X): of tokens target_BT, predicted from z_BKF, the features of tokens context_BK.

        Both by their numbers, the context's in its own grid (`objective.context_scale`). layout: of K + T.
        """
        z_BNF = self.blocks_out(z_BKF, context_BK, target_BT, set_index, layout)
        return self.proj_out(self.norm(z_BNF[:, context_BK.shape[1] :]))

    def blocks_out(
        self,
        z_BKF: Tensor,
        context_BK: Tensor,
        target_BT: Tensor,
        set_index: int,
        layout: Layout = WHOLE,
    ) -> Tensor:
        """(B, K + T, predictor.width): what the blocks make of context and targets, not normed."""
        context = self.proj_in(z_BKF)
        batch, targets = target_BT.shape
        mask_tokens = self.tokens_SF[self.set_of[set_index]].to(context.dtype).expand(batch, targets, -1)
        place_BK = context_BK + self.first_context if self.first_context else context_BK
        index_BN = torch.cat([place_BK, target_BT], dim=1)
        z_BNF, packing = torch.cat([context, mask_tokens], dim=1), layout.packing
        if packing is not None:
            z_BNF, index_BN = packing.pack(z_BNF), packing.pack(index_BN)
        attend = self._attend(context_BK, target_BT, layout)
        z_BNF = self.position.add_sincos(z_BNF, index_BN)
        z_BNF = self.blocks(z_BNF, self.position.rotary(index_BN), attend)
        return z_BNF if packing is None else packing.unpack(z_BNF)

    def _attend(self, context_BK: Tensor, target_BT: Tensor, layout: Layout) -> Readers:
        if layout.packing is not None:
            return layout.packing.attend()
        if not self.divided:
            return attention.no_padding(layout.padding_BN)
        if self.scale != FINE:
            return divided_over(context_BK, target_BT, self.grid, self.scale, layout.padding_BN)
        return divided(torch.cat([context_BK, target_BT], dim=1), self.grid, layout)


class LevelPredictor(nn.Module):
    """The predictor of `vjepa2_1`: several levels of the encoder in, joined by an MLP, and as many out, of
    targets and of context.

    The MLP ends with `proj_in` of the transformer that it feeds. Norms are here and not in the encoder, whose
    weights are those of any objective; its last level is normed already.
    """

    def __init__(self, cfg: TrainConfig) -> None:
        super().__init__()
        width = cfg.model.width
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=LAYER_NORM_EPS) for _ in range(LEVELS - 1))
        self.fusion = nn.Sequential(nn.Linear(LEVELS * width, width), nn.GELU())
        self.transformer = Predictor(cfg, LEVELS * width)
        self.proj_context = nn.Linear(cfg.predictor.width, LEVELS * width)
        for part in (self.fusion, self.proj_context):
            init_weights(part, nn.ModuleList())

    def forward(
        self,
        levels: Sequence[Tensor],
        context_BK: Tensor,
        target_BT: Tensor,
        set_index: int,
        layout: Layout = WHOLE,
    ) -> tuple[Tensor, Tensor]:
        """(B, K, X) and (B, T, X): all levels, one behind the other, of context_BK and of target_BT; levels:
        of context_BK, (B, K, F) each. layout as for `Predictor`.
        """
        normed = [norm(level) for norm, level in zip(self.norms, levels[:-1], strict=True)]
        z_BKF = self.fusion(torch.cat([*normed, levels[-1]], dim=-1))
        z_BNF = self.transformer.blocks_out(z_BKF, context_BK, target_BT, set_index, layout)
        z_BNF, size = self.transformer.norm(z_BNF), context_BK.shape[1]
        return self.proj_context(z_BNF[:, :size]), self.transformer.proj_out(z_BNF[:, size:])


class MlpPredictor(nn.Module):
    """The predictor of `byol`: Linear, BatchNorm, GELU, Linear on each token. BYOL (Grill et al. 2020) has a
    ReLU.

    The encoder reads `token_F` in place of every token that is not context.
    """

    def __init__(self, cfg: TrainConfig) -> None:
        super().__init__()
        width, hidden = cfg.model.width, cfg.predictor.width
        self.token_F = nn.Parameter(torch.zeros(width))
        self.proj_in = nn.Linear(width, hidden)
        self.norm = nn.BatchNorm1d(hidden, track_running_stats=False)
        self.proj_out = nn.Linear(hidden, width)
        init_weights(self, nn.ModuleList())
        nn.init.trunc_normal_(self.token_F, std=INIT_STD)

    def forward(self, z_BTF: Tensor, padding_BT: Tensor | None = None) -> Tensor:
        """(B, T, F) -> (B, T, F); statistics in float32, in training over all B x T rows of the batch: of a
        volume with fewer targets these repeat.

        In evaluation over the targets of each volume: its loss must not depend on the others of its batch.
        padding_BT: rows that repeat.
        """
        hidden_BTF = self.proj_in(z_BTF)
        if self.training:
            hidden_BTF = self.norm(hidden_BTF.flatten(0, 1).float()).unflatten(0, tuple(z_BTF.shape[:2]))
        else:
            hidden_BTF = self._normalise_volumes(hidden_BTF.float(), padding_BT)
        return self.proj_out(functional.gelu(hidden_BTF))

    def _normalise_volumes(self, hidden_BTF: Tensor, padding_BT: Tensor | None) -> Tensor:
        if padding_BT is None:
            mean_B1F = hidden_BTF.mean(1, keepdim=True)
            var_B1F = hidden_BTF.var(1, keepdim=True, correction=0)
        else:
            weight_BT1 = (~padding_BT).float().unsqueeze(-1)
            weight_BT1 = weight_BT1 / weight_BT1.sum(1, keepdim=True)
            mean_B1F = (hidden_BTF * weight_BT1).sum(1, keepdim=True)
            var_B1F = ((hidden_BTF - mean_B1F).square() * weight_BT1).sum(1, keepdim=True)
        return (hidden_BTF - mean_B1F) * (var_B1F + self.norm.eps).rsqrt() * self.norm.weight + self.norm.bias
