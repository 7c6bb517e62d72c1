"""Nearest neighbours against a loop over pairs, and on features where the answer is plain."""

import math

import numpy as np

from octshard.probes import knn
from octshard.probes.examples import Examples


def examples(x_NF: np.ndarray) -> Examples:
    return Examples(x_NF, np.zeros(len(x_NF), np.int64), tuple(map(str, range(len(x_NF)))))


def test_it_is_the_weighted_mean_of_the_nearest_by_angle() -> None:
    rng = np.random.default_rng(0)
    train_NF, query_MF, target_NC = rng.normal(size=(50, 6)), rng.normal(size=(5, 6)), rng.random((50, 3))
    predicted_MC = knn.predict(examples(train_NF), target_NC, query_MF)
    mean, std = train_NF.mean(0), train_NF.std(0)
    for query, predicted in zip((query_MF - mean) / std, predicted_MC, strict=True):
        cosines = [
            float(query @ row / np.linalg.norm(query) / np.linalg.norm(row))
            for row in (train_NF - mean) / std
        ]
        nearest = sorted(range(50), key=lambda n: -cosines[n])[:20]
        weights = {n: math.exp(cosines[n] / 0.07) for n in nearest}
        by_hand = sum(weights[n] * target_NC[n] for n in nearest) / sum(weights.values())
        np.testing.assert_allclose(predicted, by_hand, rtol=1e-9)


def test_with_fewer_volumes_than_neighbours_all_of_them_vote() -> None:
    x_NF = np.array([[1.0, 0.0], [-1.0, 0.1], [0.0, -1.0]])
    assert knn.predict(examples(x_NF), np.eye(3), x_NF).argmax(1).tolist() == [0, 1, 2]


def test_features_that_say_nothing_are_finite() -> None:
    x_NF = np.ones((8, 4))
    assert np.isfinite(knn.predict(examples(x_NF), np.eye(8), x_NF)).all()
