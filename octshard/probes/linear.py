"""The linear probe: frozen features -> multinomial logistic regression, its regularisation chosen on val.

The test set is not used here. Every class, and every participant within its class, has the same total weight,
so a participant with many scans or of a large class weighs no more than another.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from octshard.errors import OctshardError
from octshard.probes import scores

ITERATIONS = 1000  # of L-BFGS, for each regularisation


@dataclass(frozen=True, eq=False)
class Examples:
    """Features of scans with their class (index) and participant."""

    x_NF: np.ndarray
    y_N: np.ndarray
    participants: tuple[str, ...]


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
    classes = int(max(train.y_N.max(), val.y_N.max())) + 1
    absent = sorted(set(range(classes)) - set(train.y_N.tolist()))
    if absent:
        raise OctshardError(f"probe: classes {absent} have no train scan, want every class in train")
    if not regularisation or min(regularisation) <= 0:
        raise OctshardError(f"probe: regularisation {list(regularisation)}, want at least one C, all > 0")
    mean_F, scale_F = standardisation(train.x_NF)
    x_NF, weight_N = (train.x_NF - mean_F) / scale_F, balance(train)
    model = LogisticRegression(max_iter=ITERATIONS, warm_start=True)
    best: Probe | None = None
    best_auroc, trials = -1.0, []
    for strength in sorted(set(regularisation)):
        model.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # reported as `converged`
            model.fit(x_NF, train.y_N, sample_weight=weight_N)
        weight_CF, bias_C = _multinomial(model)
        converged = int(model.n_iter_.max()) < ITERATIONS
        trial = Probe(mean_F, scale_F, weight_CF, bias_C, strength, (), converged)
        auroc = scores.macro_auroc(scores.by_participant(predict(trial, val.x_NF), val.y_N, val.participants))
        trials.append((strength, auroc))
        if best is None or auroc > best_auroc + 1e-12:
            best, best_auroc = trial, auroc
    assert best is not None
    if not np.isfinite(best_auroc):
        raise OctshardError(
            "probe: one class on val, want at least 2 classes to choose the regularisation by"
        )
    return Probe(
        mean_F, scale_F, best.weight_CF, best.bias_C, best.regularisation, tuple(trials), best.converged
    )


def predict(probe: Probe, x_NF: np.ndarray) -> np.ndarray:
    """p_NC: class probabilities of each scan, float64."""
    z_NC = ((x_NF - probe.mean_F) / probe.scale_F) @ probe.weight_CF.T + probe.bias_C
    exp_NC = np.exp(z_NC - z_NC.max(axis=1, keepdims=True))
    return exp_NC / exp_NC.sum(axis=1, keepdims=True)


def standardisation(x_NF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population std of each feature in float64; a feature that does not vary gets scale 1."""
    mean_F, std_F = x_NF.mean(axis=0, dtype=np.float64), x_NF.std(axis=0, dtype=np.float64)
    flat_F = std_F <= 1e-6 * np.maximum(np.abs(mean_F), 1e-6)  # below float32's rounding: noise, not signal
    return mean_F, np.where(flat_F, 1.0, std_F)


def balance(examples: Examples) -> np.ndarray:
    """weight_N, mean 1: the same total for every class, and for every participant within its class."""
    _, owner_N = np.unique(np.asarray(examples.participants), return_inverse=True)
    scans_N = np.bincount(owner_N)[owner_N]
    participants_C = np.bincount(examples.y_N, weights=1 / scans_N)
    weight_N = 1 / (scans_N * participants_C[examples.y_N])
    return weight_N / weight_N.mean()


def shuffled(examples: Examples, rng: np.random.Generator) -> Examples:
    """The control: classes permuted among participants; the scans of one participant keep one class."""
    _, first, owner_N = np.unique(np.asarray(examples.participants), return_index=True, return_inverse=True)
    shuffled_P = rng.permutation(examples.y_N[first])
    return Examples(examples.x_NF, shuffled_P[owner_N], examples.participants)


def _multinomial(model: LogisticRegression) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases of all classes; scikit-learn keeps one row for two classes."""
    weight_CF, bias_C = model.coef_.copy(), model.intercept_.copy()
    if len(weight_CF) == 1:
        weight_CF, bias_C = np.vstack([-weight_CF, weight_CF]) / 2, np.r_[-bias_C, bias_C] / 2
    return weight_CF, bias_C
