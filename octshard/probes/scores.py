"""Scores over participants, each with its interval. A participant counts once, whatever their scans; beside
that stand the scores in which every scan counts once.

Predictions of several seeds are scored as one: the mean of their scores, and an interval that carries their
spread. What callers need of metrics, resamples and intervals has its name here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from octshard.errors import OctshardError
from octshard.probes import metrics
from octshard.probes.intervals import COVERAGE, LOGIT, PLAIN, SCALES, Estimate, Spread, estimate, interval
from octshard.probes.metrics import ECE_BINS, METRICS, auprc, auroc, confusion, measure
from octshard.probes.predictions import Predictions, by_participant, by_unit
from octshard.probes.resamples import Resamples, draw_resamples, once, resample
from octshard.probes.swap_test import swap_p

__all__ = [
    "COVERAGE",
    "ECE_BINS",
    "METRICS",
    "Estimate",
    "Predictions",
    "Resamples",
    "Score",
    "auprc",
    "auroc",
    "by_participant",
    "by_unit",
    "confusion",
    "difference",
    "draw_resamples",
    "estimate",
    "evaluate",
    "macro_auroc",
    "measure",
    "once",
    "primary",
    "r2",
    "resample",
    "seed_gains",
    "swap_p",
]

Runs = Predictions | Sequence[Predictions]  # of one seed, or of several


@dataclass(frozen=True)
class Score:
    """Metrics over the rows of predictions. `scored`: classes that some, but not all, of them have.

    of_runs: the metric that decides (`primary`), of each seed; rows: people, eyes or scans; confusion counts
    the rows of every run. by_scan: the metrics of single scans, empty where rows are scans.
    """

    participants: int
    scored: tuple[str, ...]
    metrics: Mapping[str, Estimate]
    auroc_of: Mapping[str, Estimate]  # one-vs-rest AUROC of each scored class
    confusion: tuple[tuple[int, ...], ...]  # [true class][predicted class]; empty for numbers
    auprc_of: Mapping[str, Estimate] = field(default_factory=dict)
    rows: int = 0
    of_runs: tuple[float, ...] = ()
    by_scan: Mapping[str, Estimate] = field(default_factory=dict)
    scans: int = 0  # of by_scan


def evaluate(runs: Runs, classes: Sequence[str], resamples: Resamples) -> Score:
    """Every metric of the kind of target, with intervals over `resamples` and over the seeds of `runs`."""
    runs = _listed(runs)
    y_P = runs[0].y_P
    points = [metrics.measures(run, once(run)) for run in runs]
    spreads = [metrics.measures(run, resamples.weights(run)) for run in runs]
    scans = [run.scans for run in runs if run.scans is not None]
    count_C = np.bincount(y_P, minlength=len(classes)) if classes else np.zeros(0)
    scored = [c for c in range(len(classes)) if 0 < count_C[c] < len(y_P)]
    people_of = [
        len({name for name, y in zip(runs[0].participants, y_P, strict=True) if y == c}) for c in scored
    ]

    def of_class(name: str) -> dict[str, Estimate]:
        estimates = {}
        for c, people in zip(scored, people_of, strict=True):
            values = [float(getattr(point, name)[0, c]) for point in points]
            mean_R = np.mean([getattr(spread, name)[:, c] for spread in spreads], axis=0)
            strata = (people, max(len(resamples.participants) - people, 1))
            estimates[classes[c]] = interval(Spread((values,), mean_R, strata), LOGIT)
        return estimates

    confusion_CC = sum(confusion(run, once(run))[0] for run in runs) if classes else np.zeros((0, 0))
    return Score(
        participants=len(set(runs[0].participants)),
        scored=tuple(classes[c] for c in scored),
        metrics=_estimates([point.values for point in points], [each.values for each in spreads], resamples),
        auroc_of=of_class("auroc_RC"),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion_CC),
        auprc_of=of_class("auprc_RC"),
        rows=len(y_P),
        of_runs=tuple(float(point.values[primary(runs[0].kind)][0]) for point in points),
        by_scan=_of_scans(scans, resamples) if scans else {},
        scans=len(scans[0].y_P) if scans else 0,
    )


def difference(first: Runs, second: Runs, resamples: Resamples) -> dict[str, Estimate]:
    """first - second for each metric over the same participants and the same resamples (paired bootstrap)."""
    first, second = _listed(first), _listed(second)
    if not first[0].same_rows(second[0]):
        raise OctshardError("paired difference: the two sets of participants differ, want the same in both")
    sides = [
        (
            [measure(run, once(run)) for run in runs],
            [measure(run, resamples.weights(run)) for run in runs],
        )
        for runs in (first, second)
    ]
    estimates = {}
    for name in METRICS[first[0].kind]:
        values = tuple([float(point[name][0]) for point in points] for points, _ in sides)
        means_R = [np.mean([spread[name] for spread in spreads], axis=0) for _, spreads in sides]
        estimates[name] = interval(Spread(values, means_R[0] - means_R[1], resamples.strata), PLAIN)
    return estimates


def seed_gains(first: Runs, second: Runs) -> tuple[float, ...]:
    """The difference in the metric that decides, of every seed of the first and every one of the second."""
    sides = [
        [float(measure(run, once(run))[primary(run.kind)][0]) for run in _listed(runs)]
        for runs in (first, second)
    ]
    return tuple(one - other for one in sides[0] for other in sides[1])


def primary(kind: str) -> str:
    """The metric that verdicts are about: macro AUROC, quadratic kappa or R2."""
    return METRICS[kind][0]


def macro_auroc(predictions: Predictions) -> float:
    """Mean one-vs-rest AUROC over the classes that some, but not all, participants have; nan without any."""
    return float(measure(predictions, once(predictions))["macro_auroc"][0])


def r2(predictions: Predictions) -> float:
    """1 - squared error of p_P1 / squared distance of y_P from its mean; nan if all y are one."""
    numbers = Predictions(predictions.participants, predictions.p_PC, predictions.y_P.astype(float))
    return float(measure(numbers, once(numbers))["r2"][0])


def _of_scans(scans: Sequence[Predictions], resamples: Resamples) -> dict[str, Estimate]:
    """Of single scans; whoever is drawn brings all of theirs."""
    points = [measure(run, once(run)) for run in scans]
    return _estimates(points, [measure(run, resamples.weights(run)) for run in scans], resamples)


def _estimates(
    points: Sequence[Mapping[str, np.ndarray]],
    spreads: Sequence[Mapping[str, np.ndarray]],
    resamples: Resamples,
) -> dict[str, Estimate]:
    """Of every metric. points, spreads: its value, and that in each resample, of each run."""
    estimates = {}
    for name in points[0]:
        values = [float(point[name][0]) for point in points]
        mean_R = np.mean([spread[name] for spread in spreads], axis=0)
        estimates[name] = interval(Spread((values,), mean_R, resamples.strata), SCALES[name])
    return estimates


def _listed(runs: Runs) -> Sequence[Predictions]:
    """Several predictions, of the same rows; OctshardError if they are not."""
    listed = [runs] if isinstance(runs, Predictions) else list(runs)
    if not listed:
        raise OctshardError("scores: no predictions, want those of one seed at least")
    if not all(listed[0].same_rows(run) for run in listed[1:]):
        raise OctshardError("scores: seeds with different participants or labels, want the same in all")
    return listed
