"""Which volumes a run validates on, and what each is held against: the same for every batch and process.

All of it follows from the table of samples, before a voxel is read.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.config.train import TrainConfig
from octshard.imaging.volume import Shape, product
from octshard.models import position
from octshard.rng import rng_for
from octshard.stream import loader
from octshard.stream.index import SampleIndex, SampleRef, token_grid
from octshard.train.objectives import footprints
from octshard.train.objectives.build import objective_class
from octshard.train.objectives.position_only import MIN_VOLUMES

BYTES = 128_000_000  # of the features that are kept for the position-only predictor
LEAST_POSITIONS = 64  # for more volumes than fit beside as many, evenly spread ones stand for all
LOOK_AHEAD = 256  # volumes: how far a fitting other one is looked for


@dataclass(frozen=True, eq=False)
class ValSet:
    """V volumes in their order. others_V: of each, the volume whose context is tried in place of its own;
    rows_V: which of the R rows of kept features is the volume's, -1 for none; second_R: it is of the second
    half; positions_P: the tokens of the grid whose features are kept, ascending.
    """

    numbers_V: np.ndarray
    others_V: np.ndarray
    rows_V: np.ndarray
    second_R: np.ndarray
    positions_P: np.ndarray
    participants: int
    has_skill: bool  # enough volumes in both halves
    digest: str  # of the volumes and of what hides their tokens: skills of another one are no match


def val_set(index: SampleIndex, cfg: TrainConfig) -> ValSet:
    """run.val_samples volumes of `index` (all, if there are fewer), evenly spread over it."""
    count = min(cfg.run.val_samples, len(index.samples))
    numbers_V = loader.evenly_spread(len(index.samples), cfg.run.val_samples)[:count]
    samples = [index.samples[number] for number in numbers_V]
    grids = [token_grid(sample.shape, cfg) for sample in samples]
    token_bytes = 4 * objective_class(cfg).target_width(cfg)
    kept_R = loader.evenly_spread(count, max(1, BYTES // (LEAST_POSITIONS * token_bytes)))
    rows_V = np.full(count, -1)
    rows_V[kept_R] = np.arange(len(kept_R))
    second_R = _second_half([samples[v].row.participant for v in kept_R])
    shared_P = _shared([grids[v] for v in kept_R], second_R, position.grid_of(cfg.model))
    most = max(1, BYTES // (max(1, len(kept_R)) * token_bytes))
    chosen_P = np.sort(rng_for("positions of validation").permutation(shared_P)[:most])
    return ValSet(
        numbers_V,
        numbers_V[_others(samples, grids)],
        rows_V,
        second_R,
        chosen_P if len(chosen_P) else np.zeros(1, int),  # shapes stay
        len({sample.row.participant for sample in samples}),
        len(chosen_P) > 0,
        _digest(samples, cfg),
    )


def _digest(samples: Sequence[SampleRef], cfg: TrainConfig) -> str:
    volumes = [[sample.row.key, sample.row.sha256] for sample in samples]
    parts = [volumes, [dataclasses.asdict(mask_set) for mask_set in cfg.objective.masks]]
    if footprints.is_coarse(cfg):
        parts.append(list(cfg.objective.context_scale))
    text = json.dumps(parts)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _others(samples: Sequence[SampleRef], grids: Sequence[Shape]) -> list[int]:
    """Of each volume the next one of another participant that is at least as large, so that its context is
    there; else the next of another participant; else the next. The last is followed by the first.
    """
    count, others = len(samples), []
    for v, sample in enumerate(samples):
        following = [(v + step) % count for step in range(1, min(count, 1 + LOOK_AHEAD))]
        strangers = [i for i in following if samples[i].row.participant != sample.row.participant]
        as_large = (i for i in strangers if all(a >= b for a, b in zip(grids[i], grids[v], strict=True)))
        others.append(next(itertools.chain(as_large, strangers, following), v))
    return others


def _second_half(participants: Sequence[str]) -> np.ndarray:
    """(R,) bool: every second participant in order of appearance, so that nobody is in both halves."""
    order = {participant: i for i, participant in enumerate(dict.fromkeys(participants))}
    return np.array([order[participant] % 2 == 1 for participant in participants], bool)


def _shared(grids: Sequence[Shape], second_R: np.ndarray, grid: Shape) -> np.ndarray:
    """Numbers of the tokens that at least MIN_VOLUMES of each half hold."""
    counts_2DHW = np.zeros((2, *grid), int)
    for (d, h, w), second in zip(grids, second_R, strict=True):
        counts_2DHW[int(second), :d, :h, :w] += 1
    held_DHW = (counts_2DHW >= MIN_VOLUMES).all(0)
    return np.arange(product(grid))[held_DHW.ravel()]
