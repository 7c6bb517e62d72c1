"""What every head is: fitted on train, one setting chosen on val, then it predicts. It never sees test.

    spec = HeadSpec(cfg, CLASSES, seed)
    head = build.fit(spec, train, val)
    predictions = predict(head, test)

Classes and ordered levels are predicted as probabilities p_NC, numbers as y_N1.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from octshard.config.head import HeadConfig
from octshard.errors import OctshardError
from octshard.probes import scores
from octshard.probes.examples import Examples
from octshard.probes.scores import Predictions
from octshard.probes.targets import CLASSES, NUMBERS, ORDINAL

TIE = 1e-12  # scores on val that differ by less are equal: the first setting stays
Setting = Mapping[str, Any]


@dataclass(frozen=True)
class HeadSpec:
    """Which head with which settings, for which kind of target. seed: of what is drawn in it."""

    cfg: HeadConfig
    kind: str
    seed: int


@dataclass(frozen=True)
class Trial:
    """A setting, and its score on val by participant (`metric`)."""

    setting: Setting
    score: float


@dataclass(frozen=True, eq=False)
class FittedHead:
    """`predict` of features (N, ...); `choice`: the setting of the best trial; `trials`: the simplest first.

    converged: False if the fit of the choice stopped at its limit of iterations. attention: of heads that
    attend to tokens, x_NTF -> (N, T, heads), which add up to 1 over the tokens that are no padding.
    """

    name: str
    kind: str
    predict: Callable[[np.ndarray], np.ndarray]
    choice: Setting
    trials: tuple[Trial, ...]
    converged: bool
    attention: Callable[[np.ndarray], np.ndarray] | None = None


@dataclass(frozen=True, eq=False)
class Candidate:
    """A head of one setting, what it says of the scans of val, whether its fit converged, and what it attends
    to, if it does.
    """

    setting: Setting
    val_NC: np.ndarray
    predict: Callable[[np.ndarray], np.ndarray]
    converged: bool = True
    attention: Callable[[np.ndarray], np.ndarray] | None = None


def metric(kind: str) -> str:
    """The score by which settings are chosen on val, in words."""
    return {CLASSES: "macro AUROC", NUMBERS: "R2", ORDINAL: "R2 of the mean level"}[kind]


def score(predictions: Predictions, kind: str) -> float:
    """`metric` of predictions; nan where it is not defined.

    The mean level keeps the order that a class would lose: its squared error is what quadratic kappa counts.
    """
    if kind == CLASSES:
        return scores.macro_auroc(predictions)
    return scores.r2(mean_level(predictions) if kind == ORDINAL else predictions)


def mean_level(predictions: Predictions) -> Predictions:
    """The expected level of each participant, as a number (P, 1)."""
    level_C = np.arange(predictions.p_PC.shape[1], dtype=float)
    return Predictions(predictions.participants, (predictions.p_PC @ level_C)[:, None], predictions.y_P)


def predict(head: FittedHead, examples: Examples) -> Predictions:
    """What the head says of each unit (a participant, if no other): the mean over its scans."""
    check_finite(head.name, examples, "test")
    return by_unit(head.kind, head.predict(examples.x_NF), examples)


def by_unit(kind: str, p_NC: np.ndarray, examples: Examples) -> Predictions:
    """What is said of scans, averaged over those of each unit."""
    names = examples.owners, examples.participants
    return scores.by_unit(p_NC, examples.y_N, *names, ordered=kind == ORDINAL)


def choose(spec: HeadSpec, candidates: Iterable[Candidate], val: Examples) -> FittedHead:
    """The candidate with the best score on val; of equal ones the first. The simplest come first."""
    best: Candidate | None = None
    best_score, trials = -np.inf, []
    for candidate in candidates:
        value = score(by_unit(spec.kind, candidate.val_NC, val), spec.kind)
        trials.append(Trial(candidate.setting, value))
        if value > best_score + TIE:  # not so for nan
            best, best_score = candidate, value
    if best is None:
        raise OctshardError(f"head {spec.cfg.head}: no setting has a score on val, want finite predictions")
    return FittedHead(
        spec.cfg.head, spec.kind, best.predict, best.setting, tuple(trials), best.converged, best.attention
    )


def check(spec: HeadSpec, train: Examples, val: Examples) -> None:
    """OctshardError for what no head can be fitted on."""
    name = spec.cfg.head
    for part, examples in (("train", train), ("val", val)):
        if not len(examples.x_NF) == len(examples.y_N) == len(examples.participants) > 0:
            raise OctshardError(
                f"head {name}: {part} has {len(examples.x_NF)} rows of features, {len(examples.y_N)} targets "
                f"and {len(examples.participants)} participants, want as many of each, and one at least"
            )
        check_finite(name, examples, part)
    if train.x_NF.shape[1:] != val.x_NF.shape[1:]:
        raise OctshardError(
            f"head {name}: features of train are {train.x_NF.shape[1:]}, those of val {val.x_NF.shape[1:]}, "
            "want the same"
        )
    if len(set(val.y_N.tolist())) < 2:
        values = "value" if spec.kind == NUMBERS else "class"
        raise OctshardError(f"head {name}: one {values} on val, want at least 2 to choose its settings by")
    if spec.kind != NUMBERS:
        classes = int(max(train.y_N.max(), val.y_N.max())) + 1
        if absent := sorted(set(range(classes)) - set(train.y_N.tolist())):
            raise OctshardError(
                f"head {name}: classes {absent} have no train scan, want every class in train"
            )


def check_finite(name: str, examples: Examples, part: str) -> None:
    """OctshardError for features or targets that are nan or infinite."""
    for what, values in (("features", examples.x_NF), ("targets", examples.y_N)):
        bad_N = np.array([not np.isfinite(row).all() for row in values])  # by row: token grids are large
        if bad_N.any():
            raise OctshardError(
                f"head {name}: {what} of {int(bad_N.sum())} of {len(bad_N)} {part} scans are nan or inf, the "
                f"first of participant {examples.participants[int(bad_N.argmax())]}; want finite numbers"
            )
