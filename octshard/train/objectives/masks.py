"""Which tokens are context and which are targets: `token_counts` has their numbers, a seed the choice.

Drawn on the host with NumPy for each sample alone, from (seed, epoch, key): independent of the batch.
Targets are hidden tokens, context is not hidden; tokens of pure padding are neither. Where tokens of the
context are coarser (`objective.context_scale`), what is hidden or not are their footprints.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from octshard.config.train import MaskSet, TrainConfig
from octshard.errors import OctshardError
from octshard.imaging.volume import Shape, triple, valid_tokens
from octshard.models import position
from octshard.rng import rng_for
from octshard.train.objectives import footprints, token_counts
from octshard.train.objectives.footprints import Cells
from octshard.train.objectives.token_counts import ListLengths, TokenCounts

_REDRAWS = 16  # draws of a set of blocks before its last blocks are made to fit


class Masks(NamedTuple):
    """Numbers of tokens of a draw of a mask set, int64, rows sorted: context in its grid, targets in the
    image's.

    No target lies in the footprint of a token of the context. padding: bool, True behind the last number of a
    volume that has fewer than K or T, where its own repeat; None if none has fewer.
    """

    context_BK: Tensor
    target_BT: Tensor
    context_padding_BK: Tensor | None = None
    target_padding_BT: Tensor | None = None


class HiddenRange(NamedTuple):
    """How many tokens may be hidden, so that K remain for the context and T of the hidden for the targets."""

    low: int
    high: int


def draw(
    cfg: TrainConfig,
    lengths_of_draws: Sequence[ListLengths],
    valid_B3: Tensor,
    seed: int,
    epochs: Sequence[int],
    keys: Sequence[str],
) -> list[Masks]:
    """One `Masks` for each draw of each mask set, on the host, in lists of these lengths. `valid_B3`: voxels
    along D, H, W inside image_size.

    OctshardError names a volume with fewer valid tokens than K + T.
    """
    image_size, patch = position.shape_of(cfg.model)
    boxes = [valid_tokens(tuple(extent), image_size, patch) for extent in valid_B3.tolist()]
    cells_B = [footprints.cells_of(cfg, box) for box in boxes]
    draws = [(i, n) for i, draws in enumerate(token_counts.draws_of_sets(cfg)) for n in range(draws)]
    sets = []
    for place, ((i, number), lengths) in enumerate(zip(draws, lengths_of_draws, strict=True)):
        rows = []
        for cells, epoch, key in zip(cells_B, epochs, keys, strict=True):
            valid = cells.target_DHW.size
            counts = token_counts.counts_of(cfg, valid)[place]
            if valid < counts.needed:
                raise OctshardError(
                    f"{key}: {valid} valid tokens, want {counts.text} (objective.masks[{i}]); leave it out "
                    "or lower context and target"
                )
            rng = rng_for("masks", i, seed, epoch, key, *([number] if number else []))
            rows.append(_draw_set(cfg.objective.masks[i], counts, cells, rng))
        sets.append(_as_masks(rows, lengths))
    return sets


def draw_hidden(
    mask_set: MaskSet, hidden_range: HiddenRange, box: Shape, rng: np.random.Generator
) -> np.ndarray:
    """(d, h, w) bool: which tokens of a box the set hides, as many as `hidden_range` allows."""
    draw_kind = _blocks if mask_set.kind == "blocks" else _cubes
    return draw_kind(mask_set, hidden_range, box, rng)


def _as_masks(rows: Sequence[tuple[np.ndarray, np.ndarray]], lengths: ListLengths) -> Masks:
    context, target = zip(*rows, strict=True)
    context_BK, context_padding_BK = _as_lists(context, lengths.most.K, lengths.least.K)
    target_BT, target_padding_BT = _as_lists(target, lengths.most.T, lengths.least.T)
    return Masks(context_BK, target_BT, context_padding_BK, target_padding_BT)


def _as_lists(rows: Sequence[np.ndarray], most: int, least: int) -> tuple[Tensor, Tensor | None]:
    """Each row repeated up to a length of `most`, and which places repeat; None if all rows are so long."""
    index_BX = np.stack([np.resize(row, most) for row in rows])
    padding_BX = np.stack([np.arange(most) >= len(row) for row in rows])
    return torch.from_numpy(index_BX), torch.from_numpy(padding_BX) if least < most else None


def _draw_set(
    mask_set: MaskSet, counts: TokenCounts, cells: Cells, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(K,) and (T,) sorted indices, drawn at random from the tokens that are not hidden and that are."""
    hidden_range = HiddenRange(cells.least_hidden(counts.T), cells.context_dhw.size - counts.K)
    hidden_dhw = draw_hidden(mask_set, hidden_range, triple(cells.context_dhw.shape), rng)
    context = rng.permutation(cells.context_dhw[~hidden_dhw])[: counts.K]
    target = rng.permutation(cells.targets_in(hidden_dhw))[: counts.T]
    return np.sort(context), np.sort(target)


def _blocks(mask_set: MaskSet, hidden_range: HiddenRange, box: Shape, rng: np.random.Generator) -> np.ndarray:
    """(d, h, w) bool: V-JEPA 2's multi-block set, rectangles of the valid plane through the full depth.

    Drawn again until `hidden_range` holds, at most _REDRAWS times; then `_fit` makes the last draw fit.
    """
    depth, height, width = box
    for _ in range(_REDRAWS):
        edges = _rectangles(mask_set, height, width, rng)
        hidden_HW = np.zeros((height, width), bool)
        for top, bottom, left, right in edges.tolist():
            hidden_HW[top:bottom, left:right] = True
        if hidden_range.low <= depth * int(hidden_HW.sum()) <= hidden_range.high:
            return np.broadcast_to(hidden_HW, box)
    return _fit(edges, hidden_range, box, rng)


def _rectangles(mask_set: MaskSet, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """(blocks, 4) top, bottom, left, right. A side longer than the plane is cut, the other one stretched."""
    area = mask_set.scale * height * width
    aspect = np.exp(rng.uniform(np.log(mask_set.aspect[0]), np.log(mask_set.aspect[1]), mask_set.blocks))
    tall = np.clip(np.rint(np.sqrt(area * aspect)), 1, height)
    wide = np.clip(np.rint(area / tall), 1, width)
    tall = np.where(wide == width, np.clip(np.rint(area / wide), 1, height), tall)
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    return np.stack([top, top + tall, left, left + wide], axis=1).astype(int)


def _fit(edges: np.ndarray, hidden_range: HiddenRange, box: Shape, rng: np.random.Generator) -> np.ndarray:
    """Hides columns block by block, each from its centre outwards, as many as `hidden_range` allows.

    Blocks beyond that are left out; if all of them together hide too little, the last one goes on growing. Of
    the one column that would pass the limit only as many tokens as T needs are hidden, at random depths.
    """
    depth, height, width = box
    tall, wide = edges[:, 1] - edges[:, 0], edges[:, 3] - edges[:, 2]
    row = np.arange(height) + 0.5 - ((edges[:, 0] + edges[:, 1]) / 2)[:, None]
    column = np.arange(width) + 0.5 - ((edges[:, 2] + edges[:, 3]) / 2)[:, None]
    # 0 at the centre of a block, 1 at its rim, more outside
    distance = np.maximum(
        2 * np.abs(row / tall[:, None])[:, :, None], 2 * np.abs(column / wide[:, None])[:, None, :]
    )
    inside = distance < 1
    owner_HW = np.where(inside.any(0), inside.argmax(0), len(edges) - 1)
    distance_HW = np.take_along_axis(distance, owner_HW[None], axis=0)[0]
    owner_HW = owner_HW + ~inside.any(0)
    order = np.lexsort((rng.random(height * width), distance_HW.ravel(), owner_HW.ravel()))
    covered = int(inside.any(0).sum())
    whole = min(max(covered, -(-hidden_range.low // depth)), hidden_range.high // depth)
    hidden_DC = np.zeros((depth, height * width), bool)
    hidden_DC[:, order[:whole]] = True
    missing = hidden_range.low - whole * depth
    if missing > 0:
        hidden_DC[rng.permutation(depth)[:missing], order[whole]] = True
    return hidden_DC.reshape(box)


def _cubes(mask_set: MaskSet, hidden_range: HiddenRange, box: Shape, rng: np.random.Generator) -> np.ndarray:
    """(d, h, w) bool: cubes of a grid at a random offset, in random order until `ratio` of the box is hidden.

    Whole cubes, but the last is cut, or further ones are added, where `hidden_range` requires it.
    """
    cells = [(np.arange(n) + rng.integers(side)) // side for n, side in zip(box, mask_set.cube, strict=True)]
    d, h, w = (int(cell[-1]) + 1 for cell in cells)
    cell_DHW = (cells[0][:, None, None] * h + cells[1][:, None]) * w + cells[2]
    cube_order = rng.permutation(d * h * w)[cell_DHW].ravel()  # of each token: when its cube is hidden
    sizes = np.bincount(cube_order, minlength=d * h * w).cumsum()
    count = int(sizes[np.searchsorted(sizes, mask_set.ratio * cube_order.size)])
    hidden = np.zeros(cube_order.size, bool)
    order = np.argsort(cube_order + rng.random(cube_order.size))
    hidden[order[: min(max(count, hidden_range.low), hidden_range.high)]] = True
    return hidden.reshape(box)
