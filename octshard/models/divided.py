"""Divided attention: tokens of one plane read each other, then those of one column along depth.

Divided space-time attention (TimeSformer, Bertasius et al. 2021), where a plane, all tokens of the same
B-scans, is in the place of a frame, and depth D in that of time. Each has weights and a norm of its own.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import register_dataclass

from octshard.imaging.volume import Shape, product
from octshard.models import position
from octshard.models.attention import Attend, SomeKeys, every_token
from octshard.models.packing import Packing


class Layout(NamedTuple):
    """How a list of tokens lies. padding_BN: bool, those that only pad it; box: tokens along D, H, W of the
    part of the grid, at the low end of each axis, that holds them all; None: all of it. packing: how they are
    computed in one sequence without the padding, where attention is joint.
    """

    padding_BN: Tensor | None = None
    box: Shape | None = None
    packing: Packing | None = None


WHOLE = Layout()


class Divided(NamedTuple):
    """Which tokens read each other in a plane, and along depth."""

    plane: Attend
    depth: Attend


class Groups(NamedTuple):
    """So many groups of tokens, each with so many places."""

    number: int
    size: int

    def gathered(self, tokens: float) -> bool:
        """Whether `tokens` tokens are gathered into the groups, which have a place for each that the box can
        hold: where that computes fewer pairs than a mask over all of them. Shapes alone decide.
        """
        return self.number * self.size**2 < tokens**2

    def pairs(self, tokens: float) -> float:
        """Of tokens, that attention computes."""
        return self.number * self.size**2 if self.gathered(tokens) else tokens**2


def planes(box: Shape) -> Groups:
    """Of all tokens with the same d."""
    return Groups(box[0], box[1] * box[2])


def columns(box: Shape) -> Groups:
    """Of all tokens with the same h and w."""
    return Groups(box[1] * box[2], box[0])


def pairs(tokens: float, box: Shape) -> float:
    """Of tokens, that a block computes for a list of `tokens`, padding included."""
    return planes(box).pairs(tokens) + columns(box).pairs(tokens)


def divided(index_BN: Tensor, grid: Shape, layout: Layout) -> Divided:
    """For lists of any tokens of the grid, in any order; who only pads a list is read by no other.

    Tokens are gathered into groups, and go back to their lists, or masked where that is less (`Groups`).
    """
    box = layout.box or grid
    number_BN = position.in_box(index_BN, grid, box)
    row_BN, column_BN = number_BN // (box[1] * box[2]), number_BN % (box[1] * box[2])
    by_column_BN = column_BN * box[0] + row_BN
    return Divided(
        _attend(planes(box), row_BN, number_BN, layout.padding_BN),
        _attend(columns(box), column_BN, by_column_BN, layout.padding_BN),
    )


def divided_over(
    coarse_BK: Tensor, fine_BT: Tensor, grid: Shape, scale: Shape, padding_BN: Tensor | None
) -> Divided:
    """For tokens of a coarser grid, each over `scale` of the grid's own, and behind them some of these: those
    whose footprints share a plane, and a column. Always masked.
    """
    coarse_grid = position.coarser(grid, scale)
    coarse_D_BK, coarse_H_BK, coarse_W_BK = _along_axes(coarse_BK, coarse_grid)
    d_BT, h_BT, w_BT = _along_axes(fine_BT, grid)
    plane_BT, column_BT = d_BT // scale[0], h_BT // scale[1] * coarse_grid[2] + w_BT // scale[2]
    return Divided(
        _overlap((coarse_D_BK, plane_BT), d_BT, padding_BN),
        _overlap((coarse_H_BK * coarse_grid[2] + coarse_W_BK, column_BT), h_BT * grid[2] + w_BT, padding_BN),
    )


@dataclass(frozen=True, eq=False)
class SameGroup:
    """An Attend: those of the same group. A tree of tensors too, as `SomeKeys`.

    token_BP: which token stands at each place, group after group, any where none does; place_BN: where each
    token stands; key_BGS: whether one stands there; in groups without any all True, as a softmax wants one.
    """

    token_BP: Tensor
    place_BN: Tensor
    key_BGS: Tensor

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        batch, groups, _ = self.key_BGS.shape
        parts = (
            _at(part, self.token_BP).unflatten(2, (groups, -1)).transpose(1, 2).flatten(0, 1)
            for part in (query, key, value)
        )
        mixed = SomeKeys(self.key_BGS.flatten(0, 1)[:, None, None])(*parts)
        return _at(mixed.unflatten(0, (batch, groups)).transpose(1, 2).flatten(2, 3), self.place_BN)


register_dataclass(SameGroup)


def _attend(groups: Groups, group_BN: Tensor, place_BN: Tensor, padding_BN: Tensor | None) -> Attend:
    """place_BN: of each token, in groups of all places."""
    batch, tokens = place_BN.shape
    if groups.number == 1 and padding_BN is None:
        return every_token
    if not groups.gathered(tokens):
        if padding_BN is not None:
            group_BN = group_BN.masked_fill(padding_BN, -1)  # which read each other: a softmax wants a key
        return SomeKeys((group_BN[:, :, None] == group_BN[:, None, :])[:, None])
    places = product(groups)
    # padding is written to one place more, behind the last
    written_BN = place_BN if padding_BN is None else place_BN.masked_fill(padding_BN, places)
    number_BN = torch.arange(tokens, device=place_BN.device).expand(batch, -1)
    token_BP = torch.zeros_like(place_BN[:, :1]).repeat(1, places + 1).scatter(1, written_BN, number_BN)
    held_BP = torch.zeros_like(token_BP, dtype=torch.bool).scatter(1, written_BN, True)
    held_BGS = held_BP[:, :-1].unflatten(1, groups)
    return SameGroup(token_BP[:, :-1], place_BN, held_BGS | ~held_BGS.any(-1, keepdim=True))


def _overlap(coarse: tuple[Tensor, Tensor], own_BT: Tensor, padding_BN: Tensor | None) -> Attend:
    """Tokens of the same coarse group, of coarse ones and of fine ones; fine ones read each other only if
    their own group is the same.
    """
    coarse_BK, coarse_BT = coarse
    group_BN = torch.cat([coarse_BK, coarse_BT], 1)
    own_BN = torch.cat([torch.full_like(coarse_BK, -1), own_BT], 1)
    if padding_BN is not None:
        group_BN = group_BN.masked_fill(padding_BN, -1)
    is_coarse_BN = own_BN < 0
    same_BNN = (own_BN[:, :, None] == own_BN[:, None]) | is_coarse_BN[:, :, None] | is_coarse_BN[:, None]
    return SomeKeys((same_BNN & (group_BN[:, :, None] == group_BN[:, None]))[:, None])


def _along_axes(index_BN: Tensor, grid: Shape) -> tuple[Tensor, Tensor, Tensor]:
    _, height, width = grid
    return index_BN // (height * width), index_BN // width % height, index_BN % width


def _at(x_BHNF: Tensor, index_BX: Tensor) -> Tensor:
    index_BHXF = index_BX[:, None, :, None].expand(-1, x_BHNF.shape[1], -1, x_BHNF.shape[3])
    return x_BHNF.gather(2, index_BHXF)
