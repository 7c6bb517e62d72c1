"""Proportional odds for ordered levels: P(y <= k) = sigmoid(threshold_k - x @ weight) (McCullagh 1980).

One direction of the features carries the order. The loss and the weights are those of the logistic head, with
its C; of two levels it is the same model. In `margin_N` the thresholds a scan lies between are taken apart:
log P(y = k) = log sigmoid(a) + log sigmoid(-b) + log(1 - exp(b - a)) loses no digit far from them.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from octshard.probes.examples import Examples, balance, even, standardisation
from octshard.probes.head import Candidate, HeadSpec

ITERATIONS, TOLERANCE = 1000, 1e-6  # of L-BFGS, of the mean loss's gradient


@dataclass(frozen=True, eq=False)
class OrdinalProbe:
    """A fitted head. threshold_K: ascending, one fewer than levels."""

    mean_F: np.ndarray
    scale_F: np.ndarray
    weight_F: np.ndarray
    threshold_K: np.ndarray
    regularisation: float  # inverse strength C, as in the logistic head
    converged: bool


def candidates(train: Examples, val: Examples, spec: HeadSpec) -> Iterator[Candidate]:
    """A head for each C, the strongest regularisation first."""
    for probe in path(train, spec.cfg.regularisation):
        predict_one = functools.partial(predict, probe)
        yield Candidate({"C": probe.regularisation}, predict_one(val.x_NF), predict_one, probe.converged)


def path(train: Examples, regularisation: Sequence[float]) -> Iterator[OrdinalProbe]:
    """A head for each C, the strongest regularisation first; each begins where the one before it ended."""
    mean_F, scale_F = standardisation(train.x_NF, even(train))
    z_NF, weight_N = (train.x_NF - mean_F) / scale_F, balance(train)
    levels, width = int(train.y_N.max()) + 1, z_NF.shape[1]
    odds = np.arange(1, levels) / levels  # of levels that weigh the same
    threshold_K = np.log(odds / (1 - odds))
    values = np.concatenate([np.zeros(width), threshold_K[:1], np.log(np.diff(threshold_K))])
    for strength in sorted(set(regularisation)):
        loss = functools.partial(_loss, z_NF=z_NF, y_N=train.y_N, weight_N=weight_N, strength=strength)
        options = {"maxiter": ITERATIONS, "maxfun": 2 * ITERATIONS, "gtol": TOLERANCE, "ftol": 0.0}
        result = minimize(loss, values, jac=True, method="L-BFGS-B", options=options)
        values = result.x
        weight_F, threshold_K = values[:width].copy(), _thresholds(values[width:])
        yield OrdinalProbe(mean_F, scale_F, weight_F, threshold_K, strength, result.nit < ITERATIONS)


def predict(probe: OrdinalProbe, x_NF: np.ndarray) -> np.ndarray:
    """p_NC: probabilities of the levels, float64."""
    margin_N = ((x_NF - probe.mean_F) / probe.scale_F) @ probe.weight_F
    edge_NK = probe.threshold_K - margin_N[:, None]
    below_NK = np.pad(expit(edge_NK), ((0, 0), (0, 1)), constant_values=1.0)  # P(y <= k)
    above_NK = np.pad(expit(-edge_NK), ((0, 0), (1, 0)), constant_values=1.0)  # P(y >= k)
    inside_K = np.pad(-np.expm1(-np.diff(probe.threshold_K)), 1, constant_values=1.0)
    return np.asarray(below_NK * above_NK * inside_K)


def _thresholds(values_K: np.ndarray) -> np.ndarray:
    """Ascending: the first as it is, then steps of exp."""
    return np.asarray(np.cumsum(np.concatenate([values_K[:1], np.exp(values_K[1:])])))


def _loss(
    values: np.ndarray, z_NF: np.ndarray, y_N: np.ndarray, weight_N: np.ndarray, strength: float
) -> tuple[float, np.ndarray]:
    """(-weighted mean log P + |weight|^2 / (2 C N), its gradient), of weights, first threshold, log steps."""
    width = z_NF.shape[1]
    weight_F, step_K = values[:width], np.exp(values[width + 1 :])
    edge_NK = _thresholds(values[width:]) - (z_NF @ weight_F)[:, None]
    rows, last = np.arange(len(y_N)), edge_NK.shape[1]
    has_upper_N, has_lower_N = y_N < last, y_N > 0
    upper_N = edge_NK[rows, np.minimum(y_N, last - 1)]
    lower_N = edge_NK[rows, np.maximum(y_N - 1, 0)]
    inner_N = has_upper_N & has_lower_N
    step_N = step_K[y_N[inner_N] - 1]
    log_p_N = has_upper_N * log_expit(upper_N) + has_lower_N * log_expit(-lower_N)
    log_p_N[inner_N] += np.log(-np.expm1(-step_N))
    total = strength * weight_N.sum()
    value = -strength * (weight_N @ log_p_N) + weight_F @ weight_F / 2
    # d log P / d threshold: of the upper one, of the lower one, of the step between them
    up_N, down_N = weight_N * has_upper_N * expit(-upper_N), weight_N * has_lower_N * expit(lower_N)
    between_N = weight_N[inner_N] / np.expm1(step_N)
    edge_K = np.bincount(y_N[has_upper_N], up_N[has_upper_N], last)
    edge_K -= np.bincount(y_N[has_lower_N] - 1, down_N[has_lower_N], last)
    gain_K = np.cumsum(edge_K[::-1])[::-1]  # a step moves its threshold and all above
    steps_K = gain_K[1:] + np.bincount(y_N[inner_N] - 1, between_N, last - 1)[: last - 1]
    gradient = np.concatenate([z_NF.T @ (down_N - up_N), gain_K[:1], steps_K * step_K])
    gradient *= -strength
    gradient[:width] += weight_F
    return value / total, gradient / total
