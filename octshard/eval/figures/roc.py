"""ROC curves with a band: what shares of the positives are recognised at each share of false alarms."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from octshard.probes.scores import COVERAGE
from octshard.report.chart import Chart
from octshard.report.plots import Band, line_plot

FALSE_POSITIVE_RATES = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, eq=False)
class RocCurve:
    """True positive rates at FALSE_POSITIVE_RATES: of all people, and the band over resamples of them."""

    tpr_X: np.ndarray
    low_X: np.ndarray
    high_X: np.ndarray


def roc_curve(positive_P: np.ndarray, score_SP: np.ndarray, weight_RP: np.ndarray) -> RocCurve:
    """One class against the rest, mean over S runs. weight_RP: how often a person counts in each resample.

    The band is pointwise: the 95 % percentile interval of the true positive rate at each false positive rate
    (vertical averaging, Fawcett 2006). ValueError without both kinds of people.
    """
    if positive_P.all() or not positive_P.any():
        raise ValueError("ROC curve: people of one kind, want positive and negative ones")
    once_1P = np.ones((1, len(positive_P)))
    tpr_1X, tpr_RX = (
        np.mean([_tpr(positive_P, score_P, weight) for score_P in score_SP], axis=0)
        for weight in (once_1P, weight_RP)
    )
    low_X, high_X = np.nanquantile(tpr_RX, ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2), axis=0)
    return RocCurve(tpr_1X[0], low_X, high_X)


def roc_chart(curves: Mapping[str, RocCurve], banded: Collection[str]) -> Chart:
    """Name -> its curve, beside the diagonal of chance. banded: those that have a band."""
    lines = {name: (FALSE_POSITIVE_RATES.tolist(), curve.tpr_X.tolist()) for name, curve in curves.items()}
    bands = {
        name: Band(curve.low_X.tolist(), curve.high_X.tolist())
        for name, curve in curves.items()
        if name in banded
    }
    return line_plot(lines, "false positive rate", "true positive rate", bands, diagonal=True)


def _tpr(positive_P: np.ndarray, score_P: np.ndarray, weight_RP: np.ndarray) -> np.ndarray:
    """(R, X): the curve of each resample, straight between its corners; nan without both kinds of people."""
    order_P = np.argsort(-score_P, kind="stable")
    positive_P, score_P = positive_P[order_P], score_P[order_P]
    ends_G = np.flatnonzero(np.r_[score_P[1:] != score_P[:-1], True])  # people of one score come in together
    tpr_RX = np.full((len(weight_RP), len(FALSE_POSITIVE_RATES)), np.nan)
    for r, weight_P in enumerate(weight_RP[:, order_P].astype(float)):
        hits_G = np.r_[0.0, np.cumsum(weight_P * positive_P)[ends_G]]
        alarms_G = np.r_[0.0, np.cumsum(weight_P * ~positive_P)[ends_G]]
        if hits_G[-1] > 0 and alarms_G[-1] > 0:
            tpr_RX[r] = np.interp(FALSE_POSITIVE_RATES, *_upper(alarms_G / alarms_G[-1], hits_G / hits_G[-1]))
    return tpr_RX


def _upper(fpr_G: np.ndarray, tpr_G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners with one value at each false positive rate: the highest, where the curve rises steeply."""
    last_G = np.r_[fpr_G[1:] != fpr_G[:-1], True]
    return fpr_G[last_G], tpr_G[last_G]
