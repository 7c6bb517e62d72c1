"""Which tokens are context and which are targets: the config fixes their numbers, K and T, a seed the choice.

Drawn on the host with NumPy for each sample alone, from (seed, epoch, key): independent of the batch.
Targets are hidden tokens, context is not hidden; tokens of pure padding are neither. Where tokens of the
context are coarser (`objective.context_scale`), what is hidden or not are their footprints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from octshard.config.train import MaskSet, TrainConfig
from octshard.errors import OctshardError, UsageError
from octshard.imaging.volume import Shape, product, triple, valid_tokens
from octshard.models import position
from octshard.models.position import FINE
from octshard.rng import rng_for
from octshard.train.objectives import footprints
from octshard.train.objectives.footprints import Cells

_REDRAWS = 16  # draws of a set of blocks before its last blocks are made to fit


class Masks(NamedTuple):
    """Numbers of tokens of one mask set, int64, rows sorted: context in its grid, targets in the image's.

    No target lies in the footprint of a token of the context.
    """

    context_BK: Tensor
    target_BT: Tensor

    def to(self, device: torch.device | str) -> "Masks":
        """The same on `device`."""
        return Masks(
            self.context_BK.to(device, non_blocking=True), self.target_BT.to(device, non_blocking=True)
        )


@dataclass(frozen=True)
class TokenCounts:
    """How many tokens of a volume are context (K) and target (T) in one mask set, and how many tokens of the
    image one of the context covers.
    """

    K: int
    T: int
    covers: int = 1

    @property
    def needed(self) -> int:
        """Valid tokens that a volume needs: so many leave T behind whichever K are seen."""
        return self.K * self.covers + self.T

    @property
    def text(self) -> str:
        """`needed` and its parts."""
        if self.covers == 1:
            return f"K + T = {self.K} + {self.T}"
        return f"{self.covers} K + T = {self.covers} x {self.K} + {self.T}"


class HiddenRange(NamedTuple):
    """How many tokens may be hidden, so that K remain for the context and T of the hidden for the targets."""

    low: int
    high: int


def token_counts(cfg: TrainConfig) -> tuple[TokenCounts, ...]:
    """K and T of every mask set, checked before anything is drawn; UsageError names the key that is wrong."""
    grid, scale = position.grid_of(cfg.model), footprints.scale_of(cfg)
    if not cfg.objective.masks:
        raise UsageError("objective.masks: found none, want at least one mask set")
    counts = tuple(
        _counts_of_set(f"objective.masks[{i}]", mask_set, scale, grid)
        for i, mask_set in enumerate(cfg.objective.masks)
    )
    named = min(product(grid), sum(K_T.T + (K_T.K if scale == FINE else 0) for K_T in counts))
    max_tokens = cfg.objective.max_tokens
    if max_tokens is not None and max_tokens < named:
        raise UsageError(
            f"objective.max_tokens={max_tokens}: the mask sets name up to {named} tokens of a volume, want "
            "at least as many"
        )
    return counts


def needed_tokens(cfg: TrainConfig) -> int:
    """Valid tokens a volume needs, the most of any mask set; the stream leaves smaller ones out."""
    return max(counts.needed for counts in token_counts(cfg))


def draw(
    cfg: TrainConfig,
    counts_of_sets: Sequence[TokenCounts],
    valid_B3: Tensor,
    seed: int,
    epochs: Sequence[int],
    keys: Sequence[str],
) -> list[Masks]:
    """One `Masks` for each mask set, on the host. `valid_B3`: voxels along D, H, W inside image_size.

    OctshardError names a volume with fewer valid tokens than K + T.
    """
    image_size, patch = position.shape_of(cfg.model)
    boxes = [valid_tokens(tuple(extent), image_size, patch) for extent in valid_B3.tolist()]
    cells_B = [footprints.cells_of(cfg, box) for box in boxes]
    sets = []
    for i, (mask_set, counts) in enumerate(zip(cfg.objective.masks, counts_of_sets, strict=True)):
        rows = []
        for cells, epoch, key in zip(cells_B, epochs, keys, strict=True):
            if (valid := cells.target_DHW.size) < counts.needed:
                raise OctshardError(
                    f"{key}: {valid} valid tokens, want {counts.text} (objective.masks[{i}]); leave it out "
                    "or lower context and target"
                )
            rows.append(_draw_set(mask_set, counts, cells, rng_for("masks", i, seed, epoch, key)))
        context, target = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
        sets.append(Masks(context, target))
    return sets


def _counts_of_set(name: str, mask_set: MaskSet, scale: Shape, grid: Shape) -> TokenCounts:
    if mask_set.aspect[0] > mask_set.aspect[1]:
        raise UsageError(f"{name}.aspect={list(mask_set.aspect)}: want [least, greatest]")
    tokens, covers = product(grid), product(scale)
    K, T = (_tokens(f"{name}.{key}", getattr(mask_set, key), tokens) for key in ("context", "target"))
    if covers > 1 and mask_set.context <= 1:  # of the volume, not of its tokens; rounded down, so that T fits
        K = max(1, int(mask_set.context * tokens / covers))
    counts = TokenCounts(K, T, covers)
    if tokens < counts.needed:
        times = f" x {counts.covers}" if counts.covers > 1 else ""
        raise UsageError(
            f"{name}: context {counts.K}{times} + target {counts.T} tokens, want at most the grid's {tokens}"
        )
    return counts


def _tokens(name: str, value: float, tokens: int) -> int:
    if value <= 0 or (value > 1 and value != int(value)):
        raise UsageError(
            f"{name}: found {value}, want a share in (0, 1] of the {tokens} tokens, or a whole number > 1"
        )
    return int(value) if value > 1 else max(1, round(value * tokens))


def _draw_set(
    mask_set: MaskSet, counts: TokenCounts, cells: Cells, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(K,) and (T,) sorted indices, drawn at random from the tokens that are not hidden and that are."""
    hidden_range = HiddenRange(cells.least_hidden(counts.T), cells.context_dhw.size - counts.K)
    draw_hidden = _blocks if mask_set.kind == "blocks" else _cubes
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
