"""The volumes of a batch one behind the other in one sequence, so that short lists need no padding.

A token reads those of its own volume alone. Sequences are of any length where kernels take any, and of a few
lengths where each of them is compiled.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from octshard.models import attention
from octshard.models.attention import BLOCK, Attend


class Packing(NamedTuple):
    """Where the tokens of lists (B, V) stand in a sequence of L; padding may lie anywhere in a list.

    place_L: which token stands here, by its place in all lists end to end; where none does, 0;
    place_BV: where this token stands; of padding, where one of the same volume does (`_places`);
    lengths: tokens of each volume, if nothing lies between and behind them; else None, and
    segment_L: the volume of each token, -1 where none stands; each volume begins a block.
    """

    place_L: Tensor
    place_BV: Tensor
    lengths: tuple[int, ...] | None
    segment_L: Tensor | None

    def pack(self, values_BVX: Tensor) -> Tensor:
        """(1, L, ...) of (B, V, ...)."""
        return values_BVX.flatten(0, 1).index_select(0, self.place_L).unsqueeze(0)

    def unpack(self, z_1LF: Tensor) -> Tensor:
        """(B, V, F); at padding the numbers of another token of the volume."""
        return z_1LF[0].index_select(0, self.place_BV.flatten()).unflatten(0, tuple(self.place_BV.shape))

    def attend(self) -> Attend:
        """Each volume for itself."""
        if self.segment_L is not None:
            return attention.segments(self.segment_L)
        assert self.lengths is not None
        return attention.runs(self.lengths)


def pack_closely(padding_BV: Tensor) -> Packing:
    """A sequence of the volumes' tokens and nothing else. padding_BV: as in `Tokens`, on the host."""
    counts_B = (~padding_BV).sum(1).tolist()
    starts_B = np.cumsum([0, *counts_B])
    place_L, place_BV, _ = _places(padding_BV, starts_B[:-1], int(starts_B[-1]))
    return Packing(place_L, place_BV, tuple(counts_B), None)


def pack_in_blocks(padding_BV: Tensor, lengths: Sequence[int]) -> Packing:
    """A sequence of the smallest of `lengths` (multiples of BLOCK, ascending) that holds all volumes, each
    from the beginning of a block on.
    """
    blocks_B = [blocks(count) for count in (~padding_BV).sum(1).tolist()]
    starts_B = BLOCK * np.cumsum([0, *blocks_B])
    length = next(each for each in lengths if each >= starts_B[-1])
    place_L, place_BV, segment_L = _places(padding_BV, starts_B[:-1], length)
    return Packing(place_L, place_BV, None, segment_L)


def blocks(count: int) -> int:
    """Of BLOCK tokens, that hold `count`."""
    return -(-count // BLOCK)


def _places(padding_BV: Tensor, starts_B: np.ndarray, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """place_L, place_BV and segment_L: the tokens of volume b stand from starts_B[b] on.

    Padding at place i of a list of n tokens has the place of token i % n: where a list repeats its first
    tokens (as in `Masks`), that of the token that it repeats.
    """
    size = padding_BV.shape[1]
    place_L, segment_L = np.zeros(length, np.int64), np.full(length, -1)
    place_BV = np.zeros(padding_BV.shape, np.int64)
    for i, (start, padding_V) in enumerate(zip(starts_B.tolist(), padding_BV.numpy(), strict=True)):
        held_K = np.flatnonzero(~padding_V)
        count = len(held_K)
        place_L[start : start + count] = i * size + held_K
        segment_L[start : start + count] = i
        if count:
            place_BV[i] = start + np.arange(size) % count
            place_BV[i, held_K] = start + np.arange(count)
    return torch.from_numpy(place_L), torch.from_numpy(place_BV), torch.from_numpy(segment_L)
