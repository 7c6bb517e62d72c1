"""What a token of the context covers: `objective.context_scale` tokens of the image along each axis.

A cell is the footprint of one token of the context. Whole cells are hidden or seen, so that no target shares
a voxel with what the encoder sees; the last cells of a volume hold fewer of its tokens.
"""

from typing import NamedTuple

import numpy as np

from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.imaging.volume import Shape, product, triple
from octshard.models import position
from octshard.models.position import FINE


class Cells(NamedTuple):
    """The cells of a volume. context_dhw: the number of each one's token in the grid of the context;
    target_DHW: numbers of the volume's tokens in the grid of the image, `scale` of them in a cell.
    """

    context_dhw: np.ndarray
    target_DHW: np.ndarray
    scale: Shape

    def least_hidden(self, targets: int) -> int:
        """Of how many cells any choice holds so many targets."""
        sizes_C = np.sort(cell_sizes(triple(self.target_DHW.shape), self.scale).ravel())
        return int(np.searchsorted(np.cumsum(sizes_C), targets)) + 1

    def targets_in(self, hidden_dhw: np.ndarray) -> np.ndarray:
        """Numbers of the tokens in these cells, ascending."""
        ids: np.ndarray = self.target_DHW[spread(hidden_dhw, self.scale, triple(self.target_DHW.shape))]
        return ids


def scale_of(cfg: TrainConfig) -> Shape:
    """objective.context_scale; UsageError if a token would cover more than the image."""
    scale, grid = triple(cfg.objective.context_scale), position.grid_of(cfg.model)
    if any(s > n for s, n in zip(scale, grid, strict=True)):
        raise UsageError(
            f"objective.context_scale={list(scale)}: want at most the tokens of the image along each axis, "
            f"{list(grid)}"
        )
    return scale


def is_coarse(cfg: TrainConfig) -> bool:
    """Has the context a grid of its own?"""
    return triple(cfg.objective.context_scale) != FINE


def refuse_coarse(cfg: TrainConfig, why: str) -> None:
    """UsageError if the context has a grid of its own."""
    if is_coarse(cfg):
        raise UsageError(
            f"objective.context_scale={list(cfg.objective.context_scale)}: objective.name="
            f"{cfg.objective.name} has no coarser context ({why}); want [1, 1, 1] or another objective"
        )


def cells_of(cfg: TrainConfig, valid: Shape) -> Cells:
    """Those of a volume of `valid` tokens of the image."""
    scale, grid = triple(cfg.objective.context_scale), position.grid_of(cfg.model)
    coarse = position.coarser(grid, scale)
    return Cells(_numbers(coarse, position.coarser(valid, scale)), _numbers(grid, valid), scale)


def spread(flags_dhw: np.ndarray, scale: Shape, grid: Shape) -> np.ndarray:
    """(D, H, W), the size of `grid`: what holds for a cell, at each token in it."""
    for axis, (step, size) in enumerate(zip(scale, grid, strict=True)):
        flags_dhw = flags_dhw.repeat(step, axis=axis).take(np.arange(size), axis=axis)
    return flags_dhw


def cell_sizes(valid: Shape, scale: Shape) -> np.ndarray:
    """(d, h, w): how many tokens of a volume lie in each of its cells."""
    d, h, w = (np.diff([*range(0, n, step), n]) for n, step in zip(valid, scale, strict=True))
    return d[:, None, None] * h[:, None] * w  # type: ignore[no-any-return]


def _numbers(grid: Shape, part: Shape) -> np.ndarray:
    """Of the tokens in `part`, which is at the low end of each axis."""
    d, h, w = part
    return np.arange(product(grid)).reshape(grid)[:d, :h, :w]
