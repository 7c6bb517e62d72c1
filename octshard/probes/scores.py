"""Scores over participants, each with a bootstrap interval. A participant counts once, whatever their scans.

Letters besides those of volume.py: P participants, C classes, R resamples. Every metric takes how often each
participant counts (weight_RP), so the estimate (all ones) and its resamples run through the same lines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.errors import OctshardError

METRICS = ("macro_auroc", "balanced_accuracy", "macro_f1", "kappa", "ece")
ECE_BINS = 10
COVERAGE = 0.95
BLOCK = 2**21  # swapped scores at once, for memory


@dataclass(frozen=True)
class Estimate:
    """A value and its percentile interval at 95 %; nan where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Predictions:
    """Mean probabilities of each participant (p_PC, rows sum to 1) and their true classes (y_P)."""

    participants: tuple[str, ...]
    p_PC: np.ndarray
    y_P: np.ndarray


@dataclass(frozen=True)
class Score:
    """Metrics over participants. `scored`: classes that some, but not all, of them have."""

    participants: int
    scored: tuple[str, ...]
    metrics: Mapping[str, Estimate]
    auroc_of: Mapping[str, Estimate]  # one-vs-rest AUROC of each scored class
    confusion: tuple[tuple[int, ...], ...]  # participants, [true class][predicted class]


def by_participant(p_NC: np.ndarray, y_N: np.ndarray, participants: Sequence[str]) -> Predictions:
    """Averages the probabilities of each participant's scans; participants are in text order.

    OctshardError if the scans of a participant have different classes.
    """
    names, first, owner_N = np.unique(np.asarray(participants), return_index=True, return_inverse=True)
    total_PC = np.zeros((len(names), p_NC.shape[1]))
    np.add.at(total_PC, owner_N, p_NC)
    y_P = y_N[first]
    if not np.array_equal(y_P[owner_N], y_N):
        name = names[owner_N[np.flatnonzero(y_P[owner_N] != y_N)[0]]]
        raise OctshardError(
            f"participant {name}: scans with different classes, want one class per participant"
        )
    return Predictions(tuple(map(str, names)), total_PC / np.bincount(owner_N)[:, None], y_P)


def draw_resamples(y_P: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """weight_RP: how often each participant is drawn, with replacement within its class.

    Stratified, because macro scores are means of per-class quantities, and each must be defined in every
    resample. A class of one participant therefore never varies: the caller reports how small the classes are.
    """
    weight_RP = np.zeros((resamples, len(y_P)), np.int64)
    for label in np.unique(y_P):
        members = np.flatnonzero(y_P == label)
        weight_RP[:, members] = rng.multinomial(
            len(members), np.full(len(members), 1 / len(members)), size=resamples
        )
    return weight_RP


def evaluate(predictions: Predictions, classes: Sequence[str], weight_RP: np.ndarray) -> Score:
    """Every metric of `predictions`, with intervals from the resamples `weight_RP` (`draw_resamples`)."""
    y_P, p_PC = predictions.y_P, predictions.p_PC
    count_C = np.bincount(y_P, minlength=len(classes))
    scored = [c for c in range(len(classes)) if 0 < count_C[c] < len(y_P)]
    once_1P = np.ones((1, len(y_P)), np.int64)
    point, spread = measure(predictions, once_1P), measure(predictions, weight_RP)
    auroc_of = {
        classes[c]: estimate(auroc(y_P == c, p_PC[:, c], once_1P)[0], auroc(y_P == c, p_PC[:, c], weight_RP))
        for c in scored
    }
    confusion_CC = confusion(predictions, once_1P)[0]
    return Score(
        participants=len(y_P),
        scored=tuple(classes[c] for c in scored),
        metrics={name: estimate(point[name][0], spread[name]) for name in METRICS},
        auroc_of=auroc_of,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion_CC),
    )


def difference(first: Predictions, second: Predictions, weight_RP: np.ndarray) -> dict[str, Estimate]:
    """first - second for each metric over the same participants and the same resamples (paired bootstrap)."""
    if first.participants != second.participants or not np.array_equal(first.y_P, second.y_P):
        raise OctshardError("paired difference: the two sets of participants differ, want the same in both")
    once_1P = np.ones((1, len(first.y_P)), np.int64)
    points = measure(first, once_1P), measure(second, once_1P)
    spreads = measure(first, weight_RP), measure(second, weight_RP)
    return {
        name: estimate(points[0][name][0] - points[1][name][0], spreads[0][name] - spreads[1][name])
        for name in METRICS
    }


def swap_p(first: Predictions, second: Predictions, swaps: int, rng: np.random.Generator) -> float:
    """p of the difference in macro AUROC if it did not matter which of the two each participant came from.

    Two-sided permutation test of paired scores: ranks within each set, swapped participant by participant
    (Venkatraman and Begg 1996). nan without a scored class.
    """
    difference_R, observed = np.zeros(swaps), 0.0
    swap_RP = rng.random((swaps, len(first.y_P))) < 0.5
    scored = [c for c in range(first.p_PC.shape[1]) if 0 < (first.y_P == c).sum() < len(first.y_P)]
    for c in scored:
        positive_P, ranks_2P = first.y_P == c, np.stack([_ranks(x.p_PC[:, c]) for x in (first, second)])
        observed += float(np.subtract(*_auroc_of_ranks(positive_P, ranks_2P)))
        for block in np.array_split(np.arange(swaps), -(-swap_RP.size // BLOCK)):
            swapped_2RP = np.where(swap_RP[block], ranks_2P[::-1, None], ranks_2P[:, None])
            aurocs_2R = [_auroc_of_ranks(positive_P, rank_RP) for rank_RP in swapped_2RP]
            difference_R[block] += aurocs_2R[0] - aurocs_2R[1]
    if not scored:
        return float("nan")
    reached = int((np.abs(difference_R) >= abs(observed) - 1e-9).sum())
    return (1 + reached) / (1 + swaps)


def macro_auroc(predictions: Predictions) -> float:
    """Mean one-vs-rest AUROC over the classes that some, but not all, participants have; nan without any."""
    return float(measure(predictions, np.ones((1, len(predictions.y_P)), np.int64))["macro_auroc"][0])


def r2(predictions: Predictions) -> float:
    """1 - squared error of p_P1 / squared distance of y_P from its mean; nan if all y are one."""
    error = float(((predictions.p_PC[:, 0] - predictions.y_P) ** 2).sum())
    spread = float(((predictions.y_P - predictions.y_P.mean()) ** 2).sum())
    return 1 - error / spread if spread > 0 else float("nan")


def measure(predictions: Predictions, weight_RP: np.ndarray) -> dict[str, np.ndarray]:
    """Metric -> its value in each resample (R,). A class that a resample lacks is not part of its mean.

    balanced accuracy: mean recall; macro F1: mean of 2 TP / (2 TP + FP + FN), both over the classes present;
    kappa: Cohen 1960; ece: Guo et al. 2017, 10 equal bins of the greatest probability.
    """
    y_P, p_PC = predictions.y_P, predictions.p_PC
    auroc_RC = np.stack([auroc(y_P == c, p_PC[:, c], weight_RP) for c in range(p_PC.shape[1])], axis=1)
    confusion_RCC = confusion(predictions, weight_RP).astype(float)
    hit_RC = np.diagonal(confusion_RCC, axis1=1, axis2=2)
    true_RC, predicted_RC = confusion_RCC.sum(axis=2), confusion_RCC.sum(axis=1)
    total_R = true_RC.sum(axis=1)
    agreement_R, chance_R = hit_RC.sum(axis=1) / total_R, (true_RC * predicted_RC).sum(axis=1) / total_R**2
    return {
        "macro_auroc": _mean_where(auroc_RC, np.isfinite(auroc_RC)),
        "balanced_accuracy": _mean_where(_ratio(hit_RC, true_RC), true_RC > 0),
        "macro_f1": _mean_where(_ratio(2 * hit_RC, true_RC + predicted_RC), true_RC > 0),
        "kappa": _ratio(agreement_R - chance_R, 1 - chance_R),
        "ece": _calibration_error(predictions, weight_RP),
    }


def auroc(positive_P: np.ndarray, score_P: np.ndarray, weight_RP: np.ndarray) -> np.ndarray:
    """P(positive scores above negative) + P(equal) / 2 in each resample (R,); nan without both kinds.

    Mann-Whitney with multiplicities: each positive meets the negatives below it and half of its ties.
    """
    order = np.argsort(score_P, kind="stable")
    sorted_P = score_P[order]
    starts = np.flatnonzero(np.r_[True, sorted_P[1:] != sorted_P[:-1]])
    weight_RP = weight_RP[:, order].astype(float)
    positive_RG = np.add.reduceat(weight_RP * positive_P[order], starts, axis=1)
    negative_RG = np.add.reduceat(weight_RP * ~positive_P[order], starts, axis=1)
    negatives_below_RG = np.cumsum(negative_RG, axis=1) - negative_RG
    wins_R = (positive_RG * (negatives_below_RG + negative_RG / 2)).sum(axis=1)
    return _ratio(wins_R, positive_RG.sum(axis=1) * negative_RG.sum(axis=1))


def _ranks(score_P: np.ndarray) -> np.ndarray:
    """Twice the mean rank of each score, from 1: whole numbers below 2 P + 1, the same for ties."""
    sorted_P = np.sort(score_P)
    sides = (np.searchsorted(sorted_P, score_P, side) for side in ("left", "right"))
    return np.asarray(sum(sides)) + 1


def _auroc_of_ranks(positive_P: np.ndarray, rank_RP: np.ndarray) -> np.ndarray:
    """`auroc` of rows of small whole numbers (R,), by counting."""
    rows, bins = len(rank_RP), 2 * len(positive_P) + 1
    cell_RP = rank_RP + bins * np.arange(rows)[:, None]
    positive_RX, negative_RX = (
        np.bincount(cell_RP[:, kind].ravel(), minlength=rows * bins).reshape(rows, bins)
        for kind in (positive_P, ~positive_P)
    )
    below_RX = np.cumsum(negative_RX, axis=1) - negative_RX
    wins_R = (positive_RX * (below_RX + negative_RX / 2)).sum(axis=1)
    return _ratio(wins_R, np.full(rows, positive_P.sum() * (~positive_P).sum()))


def confusion(predictions: Predictions, weight_RP: np.ndarray) -> np.ndarray:
    """(R, C, C) counts of participants, [true class, most probable class]; a tie goes to the first class."""
    classes = predictions.p_PC.shape[1]
    cell_P = predictions.y_P * classes + predictions.p_PC.argmax(axis=1)
    onehot_PX = np.eye(classes * classes, dtype=np.int64)[cell_P]
    return (weight_RP @ onehot_PX).reshape(-1, classes, classes)


def _calibration_error(predictions: Predictions, weight_RP: np.ndarray) -> np.ndarray:
    confidence_P, correct_P = predictions.p_PC.max(axis=1), predictions.p_PC.argmax(axis=1) == predictions.y_P
    bin_P = np.minimum((confidence_P * ECE_BINS).astype(int), ECE_BINS - 1)
    gap_RX = weight_RP @ ((correct_P - confidence_P)[:, None] * np.eye(ECE_BINS)[bin_P])
    return np.abs(gap_RX).sum(axis=1) / weight_RP.sum(axis=1)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, nan where bottom is 0."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def _mean_where(value_RC: np.ndarray, keep_RC: np.ndarray) -> np.ndarray:
    return _ratio(np.where(keep_RC, value_RC, 0).sum(axis=1), keep_RC.sum(axis=1))


def estimate(value: float, spread_R: np.ndarray) -> Estimate:
    """Percentile interval over the resamples in which the metric is defined."""
    defined = spread_R[np.isfinite(spread_R)]
    if not len(defined):
        return Estimate(float(value), float("nan"), float("nan"))
    low, high = np.quantile(defined, ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2))
    return Estimate(float(value), float(low), float(high))
