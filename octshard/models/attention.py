"""Which tokens read each other: all of a row, those that are no padding, or those of the same volume.

An `Attend` takes queries, keys and values, (B, heads, N, F of a head) each, and returns their mix.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.utils._pytree import register_dataclass

BLOCK = 128  # tokens along each side of what FlexAttention computes, or leaves out, at once

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def every_token(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """An Attend: each token reads all of its row."""
    return functional.scaled_dot_product_attention(query, key, value)


@dataclass(frozen=True, eq=False)
class SomeKeys:
    """An Attend: those where key_B1QN is True; Q: N, or 1 where all queries read the same. A tree of tensors
    too, so that it can go round with a loop.
    """

    key_B1QN: Tensor

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=self.key_B1QN)


register_dataclass(SomeKeys)


def no_padding(padding_BN: Tensor | None) -> Attend:
    """All but those where padding_BN is True; None: there are none."""
    if padding_BN is None:
        return every_token
    return SomeKeys(~padding_BN[:, None, None, :])


def runs(lengths: Sequence[int]) -> Attend:
    """In a single row: those of the same volume, which stand one behind the other, so many of each."""

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        parts = zip(*(part.split(list(lengths), 2) for part in (query, key, value)), strict=True)
        return torch.cat([every_token(*part) for part in parts], 2)

    return attend


def segments(segment_N: Tensor) -> Attend:
    """In a single row: those of the same segment. A block holds one, and behind it -1, which is none.

    By FlexAttention: compiled, it leaves out blocks of two segments; else it computes all, and masks.
    """
    blocks = segment_N.unflatten(0, (-1, BLOCK))
    first, whole = blocks[:, 0], blocks[:, -1] >= 0
    same = (first[:, None] == first[None, :]) & (first >= 0)

    def same_segment(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return segment_N[query] == segment_N[key]

    mask = BlockMask.from_kv_blocks(
        *_listed(same & ~whole),
        *_listed(same & whole),
        BLOCK_SIZE=BLOCK,
        mask_mod=same_segment,
        seq_lengths=(len(segment_N), len(segment_N)),
    )

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mixed = flex_attention(query, key, value, block_mask=mask)
        assert isinstance(mixed, Tensor)
        return mixed

    return attend


def _listed(chosen_QK: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row of blocks: how many are chosen, and which: these first."""
    count_Q = chosen_QK.sum(-1, dtype=torch.int32)
    index_QK = chosen_QK.int().argsort(dim=-1, descending=True, stable=True).int()
    return count_Q[None, None], index_QK[None, None]
