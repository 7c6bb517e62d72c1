"""Proportional odds against the definition, minimised by another method, and against logistic regression."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from octshard.probes import ordinal
from octshard.probes.examples import Examples


def made(levels: int, count: int = 60) -> Examples:
    rng = np.random.default_rng(levels)
    x_NF = rng.normal(3, 2, size=(count, 3))
    latent = x_NF @ np.array([1.0, -0.5, 0.0]) + rng.logistic(size=count)
    y_N = np.searchsorted(np.quantile(latent, np.arange(1, levels) / levels), latent)
    return Examples(x_NF, y_N, tuple(map(str, range(count))))


def of_definition(probe: ordinal.OrdinalProbe, x_NF: np.ndarray) -> np.ndarray:
    """Differences of P(y <= k) = sigmoid(threshold_k - x @ weight)."""
    margin_N = ((x_NF - probe.mean_F) / probe.scale_F) @ probe.weight_F
    below = expit(probe.threshold_K - margin_N[:, None])
    return np.diff(np.pad(below, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1))), axis=1)


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_probabilities_are_those_of_the_definition(levels: int) -> None:
    train = made(levels)
    (probe,) = ordinal.path(train, [0.3])
    p_NC = ordinal.predict(probe, train.x_NF)
    np.testing.assert_allclose(p_NC, of_definition(probe, train.x_NF), atol=1e-12)
    np.testing.assert_allclose(p_NC.sum(1), 1)
    assert (np.diff(probe.threshold_K) > 0).all()
    assert probe.converged


def test_it_is_the_least_of_the_penalised_likelihood() -> None:
    """Nelder and Mead on differences of probabilities, levels of the same size and a scan a person."""
    train, strength = made(3), 0.3
    (probe,) = ordinal.path(train, [strength])
    z_NF = (train.x_NF - train.x_NF.mean(0)) / train.x_NF.std(0)

    def loss(values: np.ndarray) -> float:
        below = expit(np.sort(values[3:]) - (z_NF @ values[:3])[:, None])
        p_NC = np.diff(np.pad(below, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1))), axis=1)
        p_N = p_NC[np.arange(60), train.y_N]
        return -strength * np.log(np.maximum(p_N, 1e-300)).sum() + values[:3] @ values[:3] / 2

    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20_000, "maxfev": 20_000}
    least = minimize(loss, np.array([0.5, -0.5, 0, -1, 1]), method="Nelder-Mead", options=options)
    np.testing.assert_allclose(np.concatenate([probe.weight_F, probe.threshold_K]), least.x, atol=1e-3)


def test_of_two_levels_it_is_logistic_regression() -> None:
    train = made(2)
    (probe,) = ordinal.path(train, [0.7])
    z_NF = (train.x_NF - train.x_NF.mean(0)) / train.x_NF.std(0)
    model = LogisticRegression(C=0.7, tol=1e-10).fit(z_NF, train.y_N)
    np.testing.assert_allclose(probe.weight_F, model.coef_[0], atol=1e-4)
    np.testing.assert_allclose(-probe.threshold_K, model.intercept_, atol=1e-4)


def test_far_from_every_threshold_nothing_overflows() -> None:
    train = made(4)
    (probe,) = ordinal.path(train, [1.0])
    p_NC = ordinal.predict(probe, train.x_NF + np.array([[1e5, 0, 0]]))
    assert np.isfinite(p_NC).all()
    np.testing.assert_allclose(p_NC[:, -1], 1)
