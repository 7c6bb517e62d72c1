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

from octshard.config.objective import MaskSet
from octshard.config.train import TrainConfig
from octshard.errors import OctshardError
from octshard.imaging.volume import triple, valid_tokens
from octshard.models import position
from octshard.rng import rng_for
from octshard.train.objectives import footprints, retina, token_counts
from octshard.train.objectives.footprints import Cells
from octshard.train.objectives.hidden import HiddenRange, draw_hidden
from octshard.train.objectives.token_counts import ListLengths, TokenCounts


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


def draw(
    cfg: TrainConfig,
    lengths_of_draws: Sequence[ListLengths],
    valid_B3: Tensor,
    seed: int,
    epochs: Sequence[int],
    keys: Sequence[str],
    bands_B: Sequence[np.ndarray | None] | None = None,
) -> list[Masks]:
    """One `Masks` for each draw of each mask set, on the host, in lists of these lengths. `valid_B3`: voxels
    along D, H, W inside image_size. bands_B: of each volume which of its valid tokens lie in the retinal
    band; None where it is not known: there `retina` draws as `cubes`.

    OctshardError names a volume with fewer valid tokens than K + T.
    """
    image_size, patch = position.shape_of(cfg.model)
    boxes = [valid_tokens(tuple(extent), image_size, patch) for extent in valid_B3.tolist()]
    cells_B = [footprints.cells_of(cfg, box) for box in boxes]
    bands = bands_B or [None] * len(boxes)
    draws = [(i, n) for i, draws in enumerate(token_counts.draws_of_sets(cfg)) for n in range(draws)]
    sets = []
    for place, ((i, number), lengths) in enumerate(zip(draws, lengths_of_draws, strict=True)):
        rows = []
        for cells, epoch, key, band_dhw in zip(cells_B, epochs, keys, bands, strict=True):
            valid = cells.target_DHW.size
            counts = token_counts.counts_of(cfg, valid)[place]
            if valid < counts.needed:
                raise OctshardError(
                    f"{key}: {valid} valid tokens, want {counts.text} (objective.masks[{i}]); leave it out "
                    "or lower context and target"
                )
            rng = rng_for("masks", i, seed, epoch, key, *([number] if number else []))
            mask_set = cfg.objective.masks[i]
            if mask_set.kind == "retina" and band_dhw is not None:
                rows.append(_draw_retina(mask_set, counts, cells, band_dhw, rng))
            else:
                rows.append(_draw_set(mask_set, counts, cells, rng))
        sets.append(_as_masks(rows, lengths))
    return sets


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


def _draw_retina(
    mask_set: MaskSet, counts: TokenCounts, cells: Cells, band_dhw: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """As `_draw_set`, with targets in the band."""
    choice = retina.draw(mask_set, counts, band_dhw, rng)
    context = rng.permutation(cells.context_dhw[~choice.hidden_dhw])[: counts.K]
    return np.sort(context), cells.target_DHW[choice.target_dhw]


def _draw_set(
    mask_set: MaskSet, counts: TokenCounts, cells: Cells, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(K,) and (T,) sorted indices, drawn at random from the tokens that are not hidden and that are."""
    hidden_range = HiddenRange(cells.least_hidden(counts.T), cells.context_dhw.size - counts.K)
    hidden_dhw = draw_hidden(mask_set, hidden_range, triple(cells.context_dhw.shape), rng)
    context = rng.permutation(cells.context_dhw[~hidden_dhw])[: counts.K]
    target = rng.permutation(cells.targets_in(hidden_dhw))[: counts.T]
    return np.sort(context), np.sort(target)
