"""Which tokens of a volume an encoder reads: those that hold a voxel of it, as a list of fixed length.

Padding costs nothing and changes nothing: that of an image is gathered away before the embedding, that of the
lists of smaller volumes is no key of the attention.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from octshard.imaging.volume import Shape, product, triple, valid_tokens
from octshard.models.packing import Packing, pack_closely, pack_in_blocks


class Tokens(NamedTuple):
    """The tokens of each volume of a batch. V is fixed for a run, so that shapes are.

    index_BV: int64, numbers in the grid of the whole image, ascending; behind the last one 0, as padding;
    padding_BV: bool, True there; None if no volume of the run needs any;
    packing: how an encoder computes them without the padding; None: it computes that too.
    """

    index_BV: Tensor
    padding_BV: Tensor | None
    packing: Packing | None = None


def as_tokens(rows: Sequence[np.ndarray], length: int, *, padded: bool = True) -> Tokens:
    """Lists of token numbers, each padded to `length`. padded False: promises that none needs it."""
    index_BV = np.zeros((len(rows), length), np.int64)
    padding_BV = np.ones(index_BV.shape, bool)
    for i, row in enumerate(rows):
        index_BV[i, : len(row)] = row
        padding_BV[i, : len(row)] = False
    return Tokens(torch.from_numpy(index_BV), torch.from_numpy(padding_BV) if padded else None)


def packed_closely(tokens: Tokens) -> Tokens:
    """For kernels that take sequences of any length: no padding is left."""
    if tokens.padding_BV is None or not tokens.padding_BV.any():
        return tokens._replace(padding_BV=None)
    return tokens._replace(packing=pack_closely(tokens.padding_BV))


def packed_in_blocks(tokens: Tokens, lengths: Sequence[int]) -> Tokens:
    """In a sequence of the smallest of `lengths` that holds them, as `packing.pack_in_blocks` has it."""
    if tokens.padding_BV is None:
        return tokens
    return tokens._replace(packing=pack_in_blocks(tokens.padding_BV, lengths))


def valid_ids(grid: Shape, patch: Shape, extent: Shape) -> np.ndarray:
    """(V,) int64: the numbers of the tokens that hold a voxel of a volume of this extent, ascending."""
    image_size = triple([n * p for n, p in zip(grid, patch, strict=True)])
    d, h, w = valid_tokens(extent, image_size, patch)
    return np.arange(product(grid)).reshape(grid)[:d, :h, :w].ravel()


def to_grid(z_BVF: Tensor, tokens: Tokens, grid_tokens: int) -> Tensor:
    """(B, N, F): features at the places of their tokens in the grid of the whole image, 0 elsewhere."""
    index_BV, padding_BV, _ = tokens
    if padding_BV is not None:
        z_BVF = z_BVF.masked_fill(padding_BV.unsqueeze(-1), 0)
    z_BNF = z_BVF.new_zeros(len(z_BVF), grid_tokens, z_BVF.shape[-1])
    return z_BNF.scatter_add(1, index_BV.unsqueeze(-1).expand_as(z_BVF), z_BVF)


def pool(z_BVF: Tensor, padding_BV: Tensor | None) -> Tensor:
    """(B, F) float32: the mean over the tokens of each volume, the input of the probes."""
    if padding_BV is None:
        return z_BVF.float().mean(1)
    weight_BV1 = (~padding_BV).float().unsqueeze(-1)
    return (z_BVF.float() * weight_BV1).sum(1) / weight_BV1.sum(1).clamp(min=1)
