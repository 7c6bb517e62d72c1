"""Every metric of predictions in many resamples at once.

Letters: P rows of predictions, C classes, R resamples. Every metric takes how often each row counts
(weight_RP), so the estimate (all ones) and its resamples run through the same lines.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from octshard.probes.predictions import Predictions
from octshard.probes.targets import CLASSES, NUMBERS, ORDINAL

ECE_BINS = 10
BLOCK = 2**21  # weights at once, for memory
_OF_CLASSES = ("macro_auroc", "macro_auprc", "balanced_accuracy", "macro_f1", "kappa", "ece", "brier")
METRICS: Mapping[
    str, tuple[str, ...]
] = {  # kind of target -> the names of its metrics, the first one decides
    CLASSES: _OF_CLASSES,
    ORDINAL: ("quadratic_kappa", "mae", *_OF_CLASSES),
    NUMBERS: ("r2", "mae"),
}


@dataclass(frozen=True, eq=False)
class Measures:
    """values: metric -> (R,); auroc_RC and auprc_RC: of each class against the rest, nan without both."""

    values: Mapping[str, np.ndarray]
    auroc_RC: np.ndarray
    auprc_RC: np.ndarray


def measure(predictions: Predictions, weight_RP: np.ndarray) -> dict[str, np.ndarray]:
    """Metric -> its value in each resample (R,)."""
    return dict(measures(predictions, weight_RP).values)


def measures(predictions: Predictions, weight_RP: np.ndarray) -> Measures:
    """All metrics of the kind of target. A class that a resample lacks is not part of its mean.

    macro AUROC and AUPRC: means over the classes; AUPRC is average precision, sum of precision x step in
    recall; balanced accuracy: mean recall; macro F1: mean of 2 TP / (2 TP + FP + FN), both over the classes
    present; kappa: Cohen 1960; quadratic kappa: Cohen 1968; ece: Guo et al. 2017, 10 equal bins of the
    greatest probability; brier: Brier 1950, squared error summed over classes, 0 to 2; r2: 1 - squared error
    / squared distance from the mean; mae: mean absolute error, of ordered classes in levels.
    """
    blocks = np.array_split(np.arange(len(weight_RP)), -(-max(weight_RP.size, 1) // BLOCK))
    function = _numbers if predictions.kind == NUMBERS else _classes
    parts = [function(predictions, weight_RP[block[0] : block[-1] + 1].T.astype(float)) for block in blocks]
    return Measures(
        {name: np.concatenate([part.values[name] for part in parts]) for name in METRICS[predictions.kind]},
        np.concatenate([part.auroc_RC for part in parts]),
        np.concatenate([part.auprc_RC for part in parts]),
    )


def confusion(predictions: Predictions, weight_RP: np.ndarray) -> np.ndarray:
    """(R, C, C) counts of rows, [true class, most probable class]; a tie goes to the first class."""
    classes = predictions.p_PC.shape[1]
    cell_P = predictions.y_P * classes + predictions.p_PC.argmax(axis=1)
    onehot_PX = np.eye(classes * classes)[cell_P]
    return np.asarray((weight_RP.astype(float) @ onehot_PX).reshape(-1, classes, classes))


def auroc(positive_P: np.ndarray, score_P: np.ndarray, weight_RP: np.ndarray) -> np.ndarray:
    """P(positive scores above negative) + P(equal) / 2 in each resample (R,); nan without both kinds."""
    return _ranking(positive_P, score_P, weight_RP.T.astype(float))[0]


def auprc(positive_P: np.ndarray, score_P: np.ndarray, weight_RP: np.ndarray) -> np.ndarray:
    """Average precision in each resample (R,); nan without a positive."""
    return _ranking(positive_P, score_P, weight_RP.T.astype(float))[1]


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, nan where bottom is 0."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def _numbers(predictions: Predictions, weight_PR: np.ndarray) -> Measures:
    y_P, error_P = predictions.y_P, predictions.p_PC[:, 0] - predictions.y_P
    centred_P = y_P - y_P.mean()  # against rounding of squares
    columns_XP = np.stack([np.ones(len(y_P)), centred_P, centred_P**2, error_P**2, np.abs(error_P)])
    total_R, sum_R, squares_R, error_R, absolute_R = columns_XP @ weight_PR
    spread_R = squares_R - ratio(sum_R**2, total_R)
    spread_R = np.where(spread_R > 1e-12 * np.maximum(squares_R, 1e-300), spread_R, 0)  # all are one number
    none_RC = np.zeros((len(total_R), 0))
    return Measures({"r2": 1 - ratio(error_R, spread_R), "mae": ratio(absolute_R, total_R)}, none_RC, none_RC)


def _classes(predictions: Predictions, weight_PR: np.ndarray) -> Measures:
    y_P, p_PC = predictions.y_P, predictions.p_PC
    ranked = [_ranking(y_P == c, p_PC[:, c], weight_PR) for c in range(p_PC.shape[1])]
    auroc_RC, auprc_RC = (np.stack(columns, axis=1) for columns in zip(*ranked, strict=True))
    both_RC = np.isfinite(auroc_RC)
    confusion_RCC = confusion(predictions, weight_PR.T)
    hit_RC = np.diagonal(confusion_RCC, axis1=1, axis2=2)
    true_RC, predicted_RC = confusion_RCC.sum(axis=2), confusion_RCC.sum(axis=1)
    squared_P = ((p_PC - np.eye(p_PC.shape[1])[y_P]) ** 2).sum(axis=1)
    total_R = weight_PR.sum(axis=0)
    values = {
        "macro_auroc": _mean_where(auroc_RC, both_RC),
        "macro_auprc": _mean_where(auprc_RC, both_RC),
        "balanced_accuracy": _mean_where(ratio(hit_RC, true_RC), true_RC > 0),
        "macro_f1": _mean_where(ratio(2 * hit_RC, true_RC + predicted_RC), true_RC > 0),
        "kappa": _kappa(confusion_RCC, 1 - np.eye(p_PC.shape[1])),
        "ece": _calibration_error(predictions, weight_PR),
        "brier": ratio(squared_P @ weight_PR, total_R),
    }
    if predictions.ordered:
        distance_CC = np.abs(np.subtract.outer(*2 * (np.arange(p_PC.shape[1], dtype=float),)))
        values["quadratic_kappa"] = _kappa(confusion_RCC, distance_CC**2)
        values["mae"] = ratio((confusion_RCC * distance_CC).sum(axis=(1, 2)), total_R)
    return Measures(values, auroc_RC, auprc_RC)


def _ranking(
    positive_P: np.ndarray, score_P: np.ndarray, weight_PR: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(AUROC, average precision) in each resample.

    Each positive meets the negatives below it and half of its ties (Mann-Whitney), and is retrieved with
    everything that scores as high.
    """
    positives, negatives = (
        np.flatnonzero(kind)[np.argsort(-score_P[kind], kind="stable")] for kind in (positive_P, ~positive_P)
    )
    weight_XR = weight_PR[positives]
    positive_XR, negative_XR = _running_sum(weight_XR), _running_sum(weight_PR[negatives])
    score_X = -score_P[positives]
    above_X, reached_X = (np.searchsorted(-score_P[negatives], score_X, side) for side in ("left", "right"))
    retrieved_XR = positive_XR[np.searchsorted(score_X, score_X, "right")]
    reached_XR = negative_XR[reached_X]
    lost_R = np.einsum("xr,xr->r", weight_XR, negative_XR[above_X] + reached_XR) / 2
    total_R, others_R = positive_XR[-1], negative_XR[-1]
    reached_XR += retrieved_XR
    precision_XR = np.divide(retrieved_XR, reached_XR, out=retrieved_XR, where=reached_XR > 0)
    auprc_R = ratio(np.einsum("xr,xr->r", weight_XR, precision_XR), total_R)
    return 1 - ratio(lost_R, total_R * others_R), auprc_R


def _running_sum(weight_XR: np.ndarray) -> np.ndarray:
    """(X + 1, R): the sum of the first 0, 1, ... X rows."""
    sum_XR = np.zeros((len(weight_XR) + 1, weight_XR.shape[1]))
    np.cumsum(weight_XR, axis=0, out=sum_XR[1:])
    return sum_XR


def _kappa(confusion_RCC: np.ndarray, penalty_CC: np.ndarray) -> np.ndarray:
    """1 - penalty / penalty by chance, of the same marginals."""
    total_R = confusion_RCC.sum(axis=(1, 2))
    chance_RCC = confusion_RCC.sum(axis=2)[:, :, None] * confusion_RCC.sum(axis=1)[:, None, :]
    by_chance_R = ratio((chance_RCC * penalty_CC).sum(axis=(1, 2)), total_R)
    return 1 - ratio((confusion_RCC * penalty_CC).sum(axis=(1, 2)), by_chance_R)


def _calibration_error(predictions: Predictions, weight_PR: np.ndarray) -> np.ndarray:
    confidence_P, correct_P = predictions.p_PC.max(axis=1), predictions.p_PC.argmax(axis=1) == predictions.y_P
    bin_P = np.minimum((confidence_P * ECE_BINS).astype(int), ECE_BINS - 1)
    gap_XR = ((correct_P - confidence_P)[:, None] * np.eye(ECE_BINS)[bin_P]).T @ weight_PR
    return ratio(np.abs(gap_XR).sum(axis=0), weight_PR.sum(axis=0))


def _mean_where(value_RC: np.ndarray, keep_RC: np.ndarray) -> np.ndarray:
    return ratio(np.where(keep_RC, value_RC, 0).sum(axis=1), keep_RC.sum(axis=1))
