"""Calibration curves: bins by hand, and as far from the diagonal as the calibration error says."""

import numpy as np
import pytest

from octshard.eval.figures.calibration import calibration_chart, calibration_curve
from octshard.probes import scores
from octshard.probes.scores import Predictions
from octshard.rng import rng_for


def predictions_of(p_P: np.ndarray, y_P: np.ndarray) -> Predictions:
    return Predictions(tuple(map(str, range(len(y_P)))), np.stack([1 - p_P, p_P], axis=1), y_P)


def test_by_hand() -> None:
    """Two people at 0.75 and one at 0.95, one of the two right: 0.5 of a bin, all of the other."""
    predictions = predictions_of(np.array([0.75, 0.75, 0.05]), np.array([1, 0, 0]))
    curve = calibration_curve(predictions, np.ones((5, 3), np.int64))
    np.testing.assert_allclose(curve.confidence_B, [0.75, 0.95])
    np.testing.assert_allclose(curve.accuracy_B, [0.5, 1])
    np.testing.assert_array_equal(curve.people_B, [2, 1])
    np.testing.assert_allclose([curve.low_B, curve.high_B], [[0.5, 1], [0.5, 1]])
    assert calibration_chart({"a": curve}).rows == (("a", 0.75, 0.5, 0.5, 0.5), ("a", 0.95, 1, 1, 1))


def test_the_distance_from_the_diagonal_is_the_calibration_error() -> None:
    rng = rng_for("calibration")
    p_P = rng.random(500)
    y_P = (rng.random(500) < p_P**2).astype(int)
    predictions = predictions_of(p_P, y_P)
    weight_RP = scores.draw_resamples(y_P, 200, rng)
    curve = calibration_curve(predictions, weight_RP)
    error = (np.abs(curve.accuracy_B - curve.confidence_B) * curve.people_B).sum() / 500
    assert error == pytest.approx(scores.measure(predictions, np.ones((1, 500), np.int64))["ece"][0])
    assert ((curve.low_B <= curve.accuracy_B) & (curve.accuracy_B <= curve.high_B)).all()
