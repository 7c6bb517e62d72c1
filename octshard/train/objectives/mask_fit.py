"""Do K and T of a mask set fit what its draws hide? By drawing, before a run finds out.

Blocks that hide too much or too little are drawn again, and cubes are cut: then a set hides another share
than its config says.
"""

from collections.abc import Iterator

import numpy as np

from octshard.config.objective import MaskSet
from octshard.config.train import TrainConfig
from octshard.imaging.volume import Shape, product, triple
from octshard.rng import rng_for
from octshard.train.objectives import curriculum, footprints, hidden, token_counts
from octshard.train.objectives.hidden import HiddenRange

DRAWS = 400
LEAST = 0.8  # of the draws should fit, or a warning says so
NEARLY_ALL = 0.95  # of the draws are what the advice is for


def lines(cfg: TrainConfig, valid: Shape) -> Iterator[str]:
    """A warning for each mask set of which fewer than LEAST of the draws fit volumes of `valid` tokens."""
    for stage in curriculum.stages(cfg):
        warnings = [line for i in range(len(cfg.objective.masks)) if (line := _line(stage, i, valid))]
        if warnings:
            yield from warnings
            return


def fit_of(hidden_X: np.ndarray, limits: HiddenRange) -> float:
    """The share of the draws that hide no less and no more than they may."""
    return float(((limits.low <= hidden_X) & (hidden_X <= limits.high)).mean())


def hidden_counts(mask_set: MaskSet, box: Shape, draws: int) -> np.ndarray:
    """(draws,): how many tokens of a box single draws hide. Of cubes it is `ratio`, to a cube."""
    if mask_set.kind != "blocks":
        return np.array([round(mask_set.ratio * product(box))])
    rngs = (rng_for("mask fit", number) for number in range(draws))
    depth, height, width = box
    return np.array([depth * int(hidden.plane(mask_set, height, width, rng).sum()) for rng in rngs])


def _line(cfg: TrainConfig, i: int, valid: Shape) -> str:
    mask_set, cells = cfg.objective.masks[i], footprints.cells_of(cfg, valid)
    counts = token_counts.counts_of_set(cfg, i, product(valid))
    limits = HiddenRange(cells.least_hidden(counts.T), cells.context_dhw.size - counts.K)
    hidden_X = hidden_counts(mask_set, triple(cells.context_dhw.shape), DRAWS)
    fit = fit_of(hidden_X, limits)
    if fit >= LEAST:
        return ""
    advice = ""
    if not footprints.is_coarse(cfg):
        seen, target = (
            np.quantile(x / product(valid), 1 - NEARLY_ALL) for x in (product(valid) - hidden_X, hidden_X)
        )
        advice = (
            f"; {NEARLY_ALL:.0%} of them leave context {seen:.2f} and hide target {target:.2f} of the tokens"
        )
    return (
        f"objective.masks[{i}]: {1 - fit:.0%} of its draws do not fit K = {counts.K} and T = {counts.T} of "
        f"{product(valid):,} valid tokens, and are drawn again or cut until they do{advice}"
    )
