"""A stack of equal blocks with their own weights, run one after the other unless a device has another way."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from octshard.models import attention
from octshard.models.attention import Attend
from octshard.models.divided import Divided

Rotary = tuple[Tensor, Tensor] | None
Readers = Attend | Divided  # which tokens read each other in a block
Scales = Tensor | None  # of each block what its branches are multiplied by, (L, R, B, N or 1, 1); None: 1
Run = Callable[[Sequence[nn.Module], Tensor, Rotary, Readers, Scales], Tensor]


def one_by_one(
    blocks: Sequence[nn.Module], z_BNF: Tensor, rotary: Rotary, attend: Readers, scales: Scales
) -> Tensor:
    """A Run: the loop."""
    for i, block in enumerate(blocks):
        z_BNF = block(z_BNF, rotary, attend, None if scales is None else scales[i])
    return z_BNF


def recomputed(
    blocks: Sequence[nn.Module], z_BNF: Tensor, rotary: Rotary, attend: Readers, scales: Scales
) -> Tensor:
    """A Run: the loop, of which what enters each block is kept for backward, and all else computed again."""
    if not torch.is_grad_enabled():
        return one_by_one(blocks, z_BNF, rotary, attend, scales)
    for i, block in enumerate(blocks):
        inputs = z_BNF, rotary, attend, None if scales is None else scales[i]
        z_BNF = checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)  # none is random
    return z_BNF


class BlockStack(nn.ModuleList):
    """Blocks called as `block(z_BNF, rotary, attend, scales)`, which return what the next one takes.

    checkpointing: as `recomputed`, in whichever way they run.
    """

    run: Run

    def __init__(self, blocks: Sequence[nn.Module], *, checkpointing: bool) -> None:
        super().__init__(blocks)
        self.run = recomputed if checkpointing else one_by_one

    def forward(
        self,
        z_BNF: Tensor,
        rotary: Rotary,
        attend: Readers = attention.every_token,
        scales: Scales = None,
    ) -> Tensor:
        """(B, N, F) -> (B, N, F), through all blocks."""
        return self.run(list(self), z_BNF, rotary, attend, scales)

    def levels(
        self, z_BNF: Tensor, rotary: Rotary, attend: Readers, scales: Scales, depths: Sequence[int]
    ) -> list[Tensor]:
        """What comes out of the first so many blocks, for each of `depths`, which ascend."""
        levels: list[Tensor] = []
        blocks = list(self)
        for start, end in itertools.pairwise((0, *depths)):
            part = None if scales is None else scales[start:end]
            z_BNF = self.run(blocks[start:end], z_BNF, rotary, attend, part)
            levels.append(z_BNF)
        return levels
