"""ROC curves: the corners by hand, the area that of the scores, the band around the curve."""

import numpy as np
import pytest
from sklearn import metrics

from octshard.eval.figures.roc import FALSE_POSITIVE_RATES, RocCurve, roc_chart, roc_curve
from octshard.probes import scores
from octshard.rng import rng_for

ONCE = np.ones((1, 4), np.int64)


def at(curve: RocCurve, fpr: float) -> float:
    return float(curve.tpr_X[np.flatnonzero(np.isclose(FALSE_POSITIVE_RATES, fpr))[0]])


def test_by_hand() -> None:
    """Ranked + - + -: half at no false alarm, all at half of them."""
    curve = roc_curve(np.array([True, False, True, False]), np.array([[0.9, 0.8, 0.7, 0.1]]), ONCE)
    assert [at(curve, fpr) for fpr in (0, 0.25, 0.5, 1)] == [0.5, 0.5 + 0.25, 1, 1]


def test_several_runs_are_averaged() -> None:
    """The one by hand above, and one that ranks all rightly: at no false alarm (0.5 + 1) / 2."""
    scores_SP = np.array([[0.9, 0.8, 0.7, 0.1], [0.9, 0.2, 0.8, 0.1]])
    curve = roc_curve(np.array([True, False, True, False]), scores_SP, ONCE)
    assert [at(curve, fpr) for fpr in (0, 0.25, 0.5)] == [0.75, (0.75 + 1) / 2, 1]


def test_people_of_one_score_come_in_together() -> None:
    curve = roc_curve(np.array([True, False, True, False]), np.full((1, 4), 0.5), ONCE)
    np.testing.assert_allclose(curve.tpr_X, FALSE_POSITIVE_RATES)


def test_its_area_is_that_of_scikit_learn_and_the_band_holds_the_curve() -> None:
    rng = rng_for("roc")
    positive_P = rng.random(400) < 0.4
    score_P = np.round(rng.normal(size=400) + positive_P, 1)  # with ties
    weight_RP = scores.draw_resamples(positive_P.astype(int), 300, rng)
    curve = roc_curve(positive_P, score_P[None], weight_RP)
    area = np.trapezoid(curve.tpr_X, FALSE_POSITIVE_RATES)
    assert area == pytest.approx(metrics.roc_auc_score(positive_P, score_P), abs=0.005)
    assert (curve.low_X <= curve.tpr_X + 1e-9).all()
    assert (curve.tpr_X <= curve.high_X + 1e-9).all()
    assert 0.05 < (curve.high_X - curve.low_X).max() < 0.3
    chart = roc_chart({"a": curve}, ["a"])
    assert len(chart.rows) == len(FALSE_POSITIVE_RATES)


def test_one_kind_of_people_is_no_curve() -> None:
    with pytest.raises(ValueError, match="people of one kind"):
        roc_curve(np.ones(3, bool), np.arange(3.0)[None], np.ones((1, 3)))
