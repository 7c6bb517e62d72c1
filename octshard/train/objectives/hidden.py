"""Which tokens of a box a mask set hides: blocks through the full depth, or cubes; drawn from a generator.

What is hidden does not depend on what becomes of it: lists of context and targets are `masks`.
"""

from typing import NamedTuple

import numpy as np

from octshard.config.objective import MaskSet
from octshard.imaging.volume import Shape

_REDRAWS = 16  # draws of a set of blocks before its last blocks are made to fit


class HiddenRange(NamedTuple):
    """How many tokens may be hidden, so that K remain for the context and T of the hidden for the targets."""

    low: int
    high: int


def draw_hidden(
    mask_set: MaskSet, hidden_range: HiddenRange, box: Shape, rng: np.random.Generator
) -> np.ndarray:
    """(d, h, w) bool: which tokens of a box the set hides, as many as `hidden_range` allows."""
    draw_kind = blocks if mask_set.kind == "blocks" else cubes
    return draw_kind(mask_set, hidden_range, box, rng)


def blocks(mask_set: MaskSet, hidden_range: HiddenRange, box: Shape, rng: np.random.Generator) -> np.ndarray:
    """(d, h, w) bool: V-JEPA 2's multi-block set, rectangles of the valid plane through the full depth.

    Drawn again until `hidden_range` holds, at most _REDRAWS times; then `_fit` makes the last draw fit.
    """
    depth, height, width = box
    for _ in range(_REDRAWS):
        edges = _rectangles(mask_set, height, width, rng)
        hidden_HW = _inside(edges, height, width)
        if hidden_range.low <= depth * int(hidden_HW.sum()) <= hidden_range.high:
            return np.broadcast_to(hidden_HW, box)
    return _fit(edges, hidden_range, box, rng)


def plane(mask_set: MaskSet, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width) bool: what one draw of blocks hides, whether it fits or not."""
    return _inside(_rectangles(mask_set, height, width, rng), height, width)


def _inside(edges: np.ndarray, height: int, width: int) -> np.ndarray:
    hidden_HW = np.zeros((height, width), bool)
    for top, bottom, left, right in edges.tolist():
        hidden_HW[top:bottom, left:right] = True
    return hidden_HW


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


def cubes(mask_set: MaskSet, hidden_range: HiddenRange, box: Shape, rng: np.random.Generator) -> np.ndarray:
    """(d, h, w) bool: cubes of a grid at a random offset, in random order until `ratio` of the box is hidden.

    Whole cubes, but the last is cut, or further ones are added, where `hidden_range` requires it.
    """
    cube_order = cube_order_of(mask_set, box, rng).ravel()
    sizes = np.bincount(cube_order).cumsum()
    count = int(sizes[np.searchsorted(sizes, mask_set.ratio * cube_order.size)])
    hidden = np.zeros(cube_order.size, bool)
    order = np.argsort(cube_order + rng.random(cube_order.size))
    hidden[order[: min(max(count, hidden_range.low), hidden_range.high)]] = True
    return hidden.reshape(box)


def cube_order_of(mask_set: MaskSet, box: Shape, rng: np.random.Generator) -> np.ndarray:
    """(d, h, w) int: when the cube of each token is hidden, in an order drawn at random."""
    cells = [(np.arange(n) + rng.integers(side)) // side for n, side in zip(box, mask_set.cube, strict=True)]
    d, h, w = (int(cell[-1]) + 1 for cell in cells)
    cell_DHW = (cells[0][:, None, None] * h + cells[1][:, None]) * w + cells[2]
    order_DHW: np.ndarray = rng.permutation(d * h * w)[cell_DHW]
    return order_DHW
