"""What guesses the target's features from the context's: a transformer (`vjepa2`) or an MLP (`byol`).

Both own the learned vector that stands for what is hidden; neither sees a voxel.
"""

import torch
from torch import Tensor, nn

from octshard.config.train import TrainConfig
from octshard.models import position
from octshard.models.vit import INIT_STD, LAYER_NORM_EPS, Block, init_weights
from octshard.train.objectives.masks import Masks


class Predictor(nn.Module):
    """V-JEPA 2's predictor: context features and mask tokens, each at its place, through narrow blocks.

    One mask token per mask set, so that it can tell short-range from long-range sets.
    """

    def __init__(self, cfg: TrainConfig) -> None:
        super().__init__()
        own = cfg.predictor
        self.proj_in = nn.Linear(cfg.model.width, own.width)
        self.tokens_SF = nn.Parameter(torch.zeros(len(cfg.objective.masks), own.width))
        self.position = position.Position(
            cfg.model.position, position.grid_of(cfg.model), own.width, own.heads
        )
        self.blocks = nn.ModuleList(
            Block(own.width, own.heads, cfg.model.mlp_ratio) for _ in range(own.depth)
        )
        self.norm = nn.LayerNorm(own.width, eps=LAYER_NORM_EPS)
        self.proj_out = nn.Linear(own.width, cfg.model.width)
        init_weights(self, self.blocks)
        nn.init.trunc_normal_(self.tokens_SF, std=INIT_STD)

    def forward(self, z_BKF: Tensor, masks: Masks, which: int) -> Tensor:
        """(B, T, F): features expected at masks.target_BT, from those at masks.context_BK of set `which`."""
        context = self.proj_in(z_BKF)
        batch, targets = masks.target_BT.shape
        mask_tokens = self.tokens_SF[which].to(context.dtype).expand(batch, targets, -1)
        at_BN = torch.cat([masks.context_BK, masks.target_BT], dim=1)
        z = self.position.add_sincos(torch.cat([context, mask_tokens], dim=1), at_BN)
        rotary = self.position.rotary(at_BN)
        for block in self.blocks:
            z = block(z, rotary)
        return self.proj_out(self.norm(z[:, -targets:]))


class MlpPredictor(nn.Module):
    """The predictor of `byol`, as in BYOL (Grill et al. 2020): Linear, BatchNorm, ReLU, Linear on each token.

    `token_F` is what the encoder is shown in place of every token that is not context.
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

    def forward(self, z_BTF: Tensor) -> Tensor:
        """(B, T, F) -> (B, T, F); batch statistics in float32 over all B x T tokens."""
        hidden = self.norm(self.proj_in(z_BTF).flatten(0, 1).float())
        return self.proj_out(torch.relu(hidden)).unflatten(0, tuple(z_BTF.shape[:2]))
