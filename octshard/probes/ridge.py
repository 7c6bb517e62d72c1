"""Ridge regression: frozen features -> a number, its regularisation chosen on other participants.

Every participant has the same total weight, whatever their scans. One decomposition serves every alpha
(Hoerl and Kennard 1970; Golub, Heath and Wahba 1979).
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.probes import scores
from octshard.probes.examples import Examples, even, standardisation
from octshard.probes.head import Candidate, HeadSpec


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
    return max(path(train, regularisation), key=lambda probe: r2(probe, val))


def candidates(train: Examples, val: Examples, spec: HeadSpec) -> Iterator[Candidate]:
    """A head for each alpha, the strongest first."""
    for probe in path(train, spec.cfg.ridge):
        predict_column = functools.partial(_column, probe)
        yield Candidate({"alpha": probe.regularisation}, predict_column(val.x_NF), predict_column)


def path(train: Examples, regularisation: Sequence[float]) -> Iterator[RidgeProbe]:
    """A head for each alpha, the strongest first: weighted least squares + alpha |weight|^2, by one SVD."""
    mean_F, scale_F = standardisation(train.x_NF, even(train))
    z_NF = (train.x_NF - mean_F) / scale_F
    weight_N = even(train)
    centre_F, centre = np.average(z_NF, axis=0, weights=weight_N), np.average(train.y_N, weights=weight_N)
    root_N = np.sqrt(weight_N)
    u_NK, s_K, v_KF = np.linalg.svd((z_NF - centre_F) * root_N[:, None], full_matrices=False)
    projected_K = u_NK.T @ ((train.y_N - centre) * root_N)
    for alpha in sorted(set(regularisation), reverse=True):
        weight_F = (s_K / (s_K**2 + alpha) * projected_K) @ v_KF
        yield RidgeProbe(mean_F, scale_F, weight_F, float(centre - centre_F @ weight_F), alpha)


def predict(probe: RidgeProbe, x_NF: np.ndarray) -> np.ndarray:
    """The number of each scan (N,), float64."""
    return np.asarray(probe.bias + ((x_NF - probe.mean_F) / probe.scale_F) @ probe.weight_F)


def r2(probe: RidgeProbe, examples: Examples) -> float:
    """`scores.r2` of the numbers averaged per participant."""
    predicted_N1 = _column(probe, examples.x_NF)
    return scores.r2(scores.by_participant(predicted_N1, examples.y_N, examples.participants))


def _column(probe: RidgeProbe, x_NF: np.ndarray) -> np.ndarray:
    return predict(probe, x_NF)[:, None]
