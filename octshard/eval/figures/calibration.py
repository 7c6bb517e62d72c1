"""Calibration: how often a class is right that is given a probability, in bins of that probability."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from octshard.probes.scores import COVERAGE, ECE_BINS, Predictions
from octshard.report.chart import Chart
from octshard.report.plots import Band, line_plot


@dataclass(frozen=True, eq=False)
class CalibrationCurve:
    """Of the bins that hold people: their mean greatest probability, the share of them that is right, its
    band over resamples, and their number.
    """

    confidence_B: np.ndarray
    accuracy_B: np.ndarray
    low_B: np.ndarray
    high_B: np.ndarray
    people_B: np.ndarray


def calibration_curve(predictions: Predictions, weight_RP: np.ndarray) -> CalibrationCurve:
    """A reliability diagram (Guo et al. 2017) in the bins of the calibration error that the scores hold."""
    confidence_P = predictions.p_PC.max(axis=1)
    right_P = (predictions.p_PC.argmax(axis=1) == predictions.y_P).astype(float)
    bin_P = np.minimum((confidence_P * ECE_BINS).astype(int), ECE_BINS - 1)
    member_PB = np.eye(ECE_BINS)[bin_P]
    people_B = member_PB.sum(axis=0)
    some_B = np.flatnonzero(people_B)
    member_PB, people_B = member_PB[:, some_B], people_B[some_B]
    total_RB = weight_RP @ member_PB
    right_RB = weight_RP @ (member_PB * right_P[:, None])
    share_RB = np.divide(right_RB, total_RB, out=np.full(total_RB.shape, np.nan), where=total_RB > 0)
    low_B, high_B = np.nanquantile(share_RB, ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2), axis=0)
    return CalibrationCurve(
        confidence_P @ member_PB / people_B,
        right_P @ member_PB / people_B,
        low_B,
        high_B,
        people_B.astype(int),
    )


def calibration_chart(curves: Mapping[str, CalibrationCurve]) -> Chart:
    """Name -> its curve, beside the diagonal of perfect calibration."""
    lines = {name: (curve.confidence_B.tolist(), curve.accuracy_B.tolist()) for name, curve in curves.items()}
    bands = {name: Band(curve.low_B.tolist(), curve.high_B.tolist()) for name, curve in curves.items()}
    return line_plot(lines, "greatest probability", "share that is right", bands, diagonal=True)
