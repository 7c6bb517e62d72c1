"""The paired permutation test: would the difference be as great if it did not matter which side said what?

Swapped participant by participant: for classes the ranks within each side (Venkatraman and Begg 1996), for
ordered classes the most probable class, for numbers the squared error.
"""

from collections.abc import Sequence

import numpy as np

from octshard.probes.metrics import BLOCK, ratio
from octshard.probes.predictions import Predictions
from octshard.probes.targets import NUMBERS, ORDINAL

ROUNDING = 1e-9


def swap_p(
    first: Predictions | Sequence[Predictions],
    second: Predictions | Sequence[Predictions],
    swaps: int,
    rng: np.random.Generator,
) -> float:
    """p of the difference in macro AUROC, quadratic kappa or R2, two-sided; nan where it is not defined.

    Of several seeds every one of the first meets every one of the second, under the same swaps.
    """
    firsts, seconds = ([side] if isinstance(side, Predictions) else list(side) for side in (first, second))
    participants = firsts[0].participants
    _, owner_P = np.unique(np.asarray(participants, object), return_inverse=True)
    swap_RP = (rng.random((swaps, owner_P.max() + 1)) < 0.5)[:, owner_P]
    swap_RP = np.concatenate([np.zeros((1, len(owner_P)), bool), swap_RP])  # the first row: as observed
    of_kind = {NUMBERS: _numbers, ORDINAL: _levels}.get(firsts[0].kind, _ranked)
    differences = [of_kind(one, other, swap_RP) for one in firsts for other in seconds]
    observed, *difference_R = np.mean(differences, axis=0)
    if not np.isfinite(observed):
        return float("nan")
    reached = int((np.abs(difference_R) >= abs(observed) - ROUNDING * max(abs(observed), 1)).sum())
    return (1 + reached) / (1 + swaps)


def _numbers(first: Predictions, second: Predictions, swap_RP: np.ndarray) -> np.ndarray:
    """Difference in R2: of squared errors, over the squared distance from the mean."""
    y_P = first.y_P
    gain_P = (second.p_PC[:, 0] - y_P) ** 2 - (first.p_PC[:, 0] - y_P) ** 2
    spread = np.full(len(swap_RP), ((y_P - y_P.mean()) ** 2).sum())
    return ratio(np.where(swap_RP, -gain_P, gain_P).sum(axis=1), spread)


def _levels(first: Predictions, second: Predictions, swap_RP: np.ndarray) -> np.ndarray:
    """Difference in quadratic kappa."""
    level_2P = np.stack([side.p_PC.argmax(axis=1) for side in (first, second)]).astype(float)
    y_P = first.y_P.astype(float)
    values = [_quadratic_kappa(np.where(swap_RP, level_2P[1 - side], level_2P[side]), y_P) for side in (0, 1)]
    return values[0] - values[1]


def _quadratic_kappa(level_RP: np.ndarray, y_P: np.ndarray) -> np.ndarray:
    """1 - mean (level - y)^2 / what it is if they are independent: variances, squared distance of means."""
    apart_R = ((level_RP - y_P) ** 2).mean(axis=1)
    chance_R = level_RP.var(axis=1) + y_P.var() + (level_RP.mean(axis=1) - y_P.mean()) ** 2
    return 1 - ratio(apart_R, chance_R)


def _ranked(first: Predictions, second: Predictions, swap_RP: np.ndarray) -> np.ndarray:
    """Difference in macro AUROC of the swapped ranks, over the classes that some, but not all, have."""
    difference_R = np.zeros(len(swap_RP))
    scored = [c for c in range(first.p_PC.shape[1]) if 0 < (first.y_P == c).sum() < len(first.y_P)]
    for c in scored:
        positive_P, ranks_2P = first.y_P == c, np.stack([_ranks(x.p_PC[:, c]) for x in (first, second)])
        for block in np.array_split(np.arange(len(swap_RP)), -(-swap_RP.size // BLOCK)):
            swapped_2RP = np.where(swap_RP[block], ranks_2P[::-1, None], ranks_2P[:, None])
            aurocs_2R = [_auroc_of_ranks(positive_P, rank_RP) for rank_RP in swapped_2RP]
            difference_R[block] += aurocs_2R[0] - aurocs_2R[1]
    return difference_R / len(scored) if scored else np.full(len(swap_RP), np.nan)


def _ranks(score_P: np.ndarray) -> np.ndarray:
    """Twice the mean rank of each score, from 1: whole numbers below 2 P + 1, the same for ties."""
    sorted_P = np.sort(score_P)
    sides = (np.searchsorted(sorted_P, score_P, side) for side in ("left", "right"))
    return np.asarray(sum(sides)) + 1


def _auroc_of_ranks(positive_P: np.ndarray, rank_RP: np.ndarray) -> np.ndarray:
    """AUROC of rows of small whole numbers (R,), by counting."""
    rows, bins = len(rank_RP), 2 * len(positive_P) + 1
    cell_RP = rank_RP + bins * np.arange(rows)[:, None]
    positive_RX, negative_RX = (
        np.bincount(cell_RP[:, kind].ravel(), minlength=rows * bins).reshape(rows, bins)
        for kind in (positive_P, ~positive_P)
    )
    below_RX = np.cumsum(negative_RX, axis=1) - negative_RX
    wins_R = (positive_RX * (below_RX + negative_RX / 2)).sum(axis=1)
    return ratio(wins_R, np.full(rows, positive_P.sum() * (~positive_P).sum()))
