"""The linear probe: frozen features -> multinomial logistic regression, its regularisation chosen on val.

The test set is not used here. Every class, and every participant within its class, has the same total weight,
so a participant with many scans or of a large class weighs no more than another.
"""

import dataclasses
import functools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from octshard.config.head import HeadConfig
from octshard.errors import OctshardError
from octshard.probes.examples import Examples, balance, even, standardisation
from octshard.probes.head import Candidate, HeadSpec, check, choose
from octshard.probes.targets import CLASSES

SETTING = "C"
ITERATIONS = 1000  # of L-BFGS, for each regularisation


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted head; `trials` are (C, macro AUROC on val), strongest regularisation first."""

    mean_F: np.ndarray
    scale_F: np.ndarray
    weight_CF: np.ndarray
    bias_C: np.ndarray
    regularisation: float  # inverse strength C, in scikit-learn's scale
    trials: tuple[tuple[float, float], ...]
    converged: bool


def fit(train: Examples, val: Examples, regularisation: Sequence[float]) -> Probe:
    """Standardises on train, fits one head per C, keeps the best on val; ties go to the strongest.

    Best: macro AUROC of the probabilities averaged per participant. The head is not fitted again on
    train + val: val is what the choice is made on. OctshardError if a class 0..C-1 is not in train.
    """
    spec = HeadSpec(HeadConfig(regularisation=list(regularisation)), CLASSES, 0)
    check(spec, train, val)
    probes = {probe.regularisation: probe for probe in path(train, regularisation)}
    head = choose(spec, (_candidate(probe, val) for probe in probes.values()), val)
    trials = tuple((trial.setting[SETTING], trial.score) for trial in head.trials)
    return dataclasses.replace(probes[head.choice[SETTING]], trials=trials)


def candidates(train: Examples, val: Examples, spec: HeadSpec) -> Iterator[Candidate]:
    """A head for each C, the strongest regularisation first."""
    return (_candidate(probe, val) for probe in path(train, spec.cfg.regularisation))


def path(train: Examples, regularisation: Sequence[float]) -> Iterator[Probe]:
    """A head for each C, the strongest regularisation first; each begins where the one before it ended."""
    if not regularisation or min(regularisation) <= 0:
        raise OctshardError(f"probe: regularisation {list(regularisation)}, want at least one C, all > 0")
    mean_F, scale_F = standardisation(train.x_NF, even(train))
    x_NF, weight_N = (train.x_NF - mean_F) / scale_F, balance(train)
    model = LogisticRegression(max_iter=ITERATIONS, warm_start=True)
    for strength in sorted(set(regularisation)):
        model.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # reported as `converged`
            model.fit(x_NF, train.y_N, sample_weight=weight_N)
        weight_CF, bias_C = _multinomial(model)
        converged = int(model.n_iter_.max()) < ITERATIONS
        yield Probe(mean_F, scale_F, weight_CF, bias_C, strength, (), converged)


def predict(probe: Probe, x_NF: np.ndarray) -> np.ndarray:
    """p_NC: class probabilities of each scan, float64."""
    z_NC = ((x_NF - probe.mean_F) / probe.scale_F) @ probe.weight_CF.T + probe.bias_C
    exp_NC = np.exp(z_NC - z_NC.max(axis=1, keepdims=True))
    return exp_NC / exp_NC.sum(axis=1, keepdims=True)


def _candidate(probe: Probe, val: Examples) -> Candidate:
    return Candidate(
        {SETTING: probe.regularisation},
        predict(probe, val.x_NF),
        functools.partial(predict, probe),
        probe.converged,
    )


def _multinomial(model: LogisticRegression) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases of all classes; scikit-learn keeps one row for two classes."""
    weight_CF, bias_C = model.coef_.copy(), model.intercept_.copy()
    if len(weight_CF) == 1:
        weight_CF, bias_C = np.vstack([-weight_CF, weight_CF]) / 2, np.r_[-bias_C, bias_C] / 2
    return weight_CF, bias_C
