"""A stack of equal blocks with their own weights, run one after the other unless a device has another way."""

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from octshard.models import attention
from octshard.models.attention import Attend
from octshard.models.divided import Divided

Rotary = tuple[Tensor, Tensor] | None
Readers = Attend | Divided  # which tokens read each other in a block
Run = Callable[[Sequence[nn.Module], Tensor, Rotary, Readers], Tensor]


def one_by_one(blocks: Sequence[nn.Module], z_BNF: Tensor, rotary: Rotary, attend: Readers) -> Tensor:
    """A Run: the loop."""
    for block in blocks:
        z_BNF = block(z_BNF, rotary, attend)
    return z_BNF


class BlockStack(nn.ModuleList):
    """Blocks called as `block(z_BNF, rotary, attend)`, which return what the next one takes."""

    run: Run

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__(blocks)
        self.run = one_by_one

    def forward(self, z_BNF: Tensor, rotary: Rotary, attend: Readers = attention.every_token) -> Tensor:
        """(B, N, F) -> (B, N, F), through all blocks."""
        return self.run(list(self), z_BNF, rotary, attend)

    def levels(self, z_BNF: Tensor, rotary: Rotary, attend: Readers, depths: Sequence[int]) -> list[Tensor]:
        """What comes out of the first so many blocks, for each of `depths`, which ascend."""
        levels: list[Tensor] = []
        blocks = list(self)
        for start, end in itertools.pairwise((0, *depths)):
            z_BNF = self.run(blocks[start:end], z_BNF, rotary, attend)
            levels.append(z_BNF)
        return levels
