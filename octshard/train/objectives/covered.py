"""What the target encoder makes of the tokens that one of the context covers, where that one is coarser."""

import torch
from torch import Tensor

from octshard.imaging.volume import Shape
from octshard.models import position
from octshard.models.tokens import Tokens


@torch.no_grad()
def covered_tokens(context_BK: Tensor, tokens: Tokens, grid: Shape, scale: Shape) -> Tensor:
    """(B, K, V) bool: the token of the context covers this one of the list. context_BK: numbers in the grid
    of the context, of which one covers `scale` tokens of `grid`.
    """
    _, height, width = position.coarser(grid, scale)
    d_BV, h_BV, w_BV = (
        at_BV // step
        for at_BV, step in zip(position.coordinates_of(tokens.index_BV, grid), scale, strict=True)
    )
    cell_BV = (d_BV * height + h_BV) * width + w_BV
    covered_BKV = context_BK.unsqueeze(2) == cell_BV.unsqueeze(1)
    return covered_BKV if tokens.padding_BV is None else covered_BKV & ~tokens.padding_BV.unsqueeze(1)


@torch.no_grad()
def mean_of_covered(target_BVX: Tensor, covered_BKV: Tensor) -> Tensor:
    """(B, K, X): the mean of the targets of the tokens that each one covers; 0 where none is in the list.

    A product, not a sum by index: CUDA sums the latter in any order.
    """
    count_BK1 = covered_BKV.sum(2, keepdim=True).clamp(min=1)
    return torch.bmm(covered_BKV.to(target_BVX.dtype), target_BVX) / count_BK1.to(target_BVX.dtype)
