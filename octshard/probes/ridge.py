"""Ridge regression: frozen features -> a number, its regularisation chosen on other participants.

Every participant has the same total weight, whatever their scans.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import Ridge

from octshard.probes import scores
from octshard.probes.linear import Examples, standardisation


@dataclass(frozen=True, eq=False)
class RidgeProbe:
    """A fitted head: y = bias + ((x - mean) / scale) @ weight."""

    mean_F: np.ndarray
    scale_F: np.ndarray
    weight_F: np.ndarray
    bias: float
    regularisation: float  # alpha: the greater, the stronger


def fit(train: Examples, val: Examples, regularisation: Sequence[float]) -> RidgeProbe:
    """Standardises on train, fits one head per alpha, keeps that of the highest R2 on val, by participant."""
    probes = [_fit(train, strength) for strength in sorted(set(regularisation), reverse=True)]
    return max(probes, key=lambda probe: r2(probe, val))


def predict(probe: RidgeProbe, x_NF: np.ndarray) -> np.ndarray:
    """The number of each scan (N,), float64."""
    return np.asarray(probe.bias + ((x_NF - probe.mean_F) / probe.scale_F) @ probe.weight_F)


def r2(probe: RidgeProbe, examples: Examples) -> float:
    """`scores.r2` of the numbers averaged per participant."""
    predicted_N1 = predict(probe, examples.x_NF)[:, None]
    return scores.r2(scores.by_participant(predicted_N1, examples.y_N, examples.participants))


def _fit(train: Examples, strength: float) -> RidgeProbe:
    mean_F, scale_F = standardisation(train.x_NF)
    _, owner_N = np.unique(np.asarray(train.participants), return_inverse=True)
    weight_N = 1.0 / np.bincount(owner_N)[owner_N]
    model = Ridge(alpha=strength)
    model.fit((train.x_NF - mean_F) / scale_F, train.y_N, sample_weight=weight_N / weight_N.mean())
    return RidgeProbe(mean_F, scale_F, model.coef_, float(model.intercept_), strength)
