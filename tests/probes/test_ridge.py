"""Ridge regression against the normal equations."""

import dataclasses

import numpy as np
import pytest

from octshard.probes import ridge, scores
from octshard.probes.examples import Examples


def made(count: int, seed: int, noise: float) -> Examples:
    rng = np.random.default_rng(seed)
    x_NF = rng.normal(3, 2, size=(count, 5))
    y_N = x_NF @ np.array([1.0, -2.0, 0.0, 0.5, 3.0]) + 40 + noise * rng.normal(size=count)
    return Examples(x_NF, y_N, tuple(f"p{n}" for n in range(count)))


def test_it_solves_the_normal_equations() -> None:
    train = made(40, 0, 1.0)
    probe = ridge.fit(train, made(20, 1, 1.0), (7.0,))
    z_NF = (train.x_NF - train.x_NF.mean(0)) / train.x_NF.std(0)
    y_N = train.y_N - train.y_N.mean()
    np.testing.assert_allclose(probe.weight_F, np.linalg.solve(z_NF.T @ z_NF + 7 * np.eye(5), z_NF.T @ y_N))
    assert probe.bias == pytest.approx(train.y_N.mean())


def test_a_participant_with_many_scans_weighs_no_more() -> None:
    once = made(40, 0, 1.0)
    twice = Examples(
        np.concatenate([once.x_NF, once.x_NF]), np.concatenate([once.y_N] * 2), once.participants * 2
    )
    half = Examples(
        np.concatenate([once.x_NF, once.x_NF[:20]]),
        np.concatenate([once.y_N, once.y_N[:20]]),
        (*once.participants, *once.participants[:20]),
    )
    val = made(20, 1, 1.0)
    fits = [ridge.fit(train, val, (1e-9,)) for train in (once, twice, half)]
    for fit in fits[1:]:
        np.testing.assert_allclose(ridge.predict(fit, val.x_NF), ridge.predict(fits[0], val.x_NF), rtol=1e-6)


def test_the_strength_that_serves_others_best_is_kept() -> None:
    strengths = (1e-3, 1.0, 1e3)
    assert ridge.fit(made(40, 0, 0.0), made(20, 1, 0.0), strengths).regularisation == 1e-3
    noise, other = (
        dataclasses.replace(made(12, seed, 9.0), x_NF=np.random.default_rng(seed).normal(size=(12, 30)))
        for seed in (0, 3)
    )
    assert ridge.fit(noise, other, strengths).regularisation == 1e3


def test_r2_by_hand() -> None:
    """Means per participant (2, 4) of true (1, 5): error 1 + 1, spread 4 + 4."""
    predicted = scores.by_participant(
        np.array([[1.0], [3.0], [4.0]]), np.array([1.0, 1.0, 5.0]), ("a", "a", "b")
    )
    assert scores.r2(predicted) == pytest.approx(1 - 2 / 8)
    same = scores.by_participant(np.array([[1.0], [3.0]]), np.array([1.0, 1.0]), ("a", "b"))
    assert np.isnan(scores.r2(same))
