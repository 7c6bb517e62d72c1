"""Learning curves: the score of an arm by the share of train people whose label is used."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from octshard.eval import head_probe
from octshard.eval.arms import FeatureArm
from octshard.eval.comparison import label_fraction
from octshard.eval.head_probe import HeadProbe
from octshard.probes import scores
from octshard.probes.head import HeadSpec
from octshard.probes.labels import LabelledScans
from octshard.probes.scores import Estimate, Resamples
from octshard.rng import rng_for


@dataclass(frozen=True)
class CurvePoint:
    """people: in train, of all classes; draws: of people, times seeds; reason: why there is no value.

    score: on all test people; its interval holds the luck of the draw and of the seed.
    """

    fraction: float
    people: int
    draws: int
    score: Estimate
    reason: str = ""


@dataclass(frozen=True)
class LabelDraws:
    """fractions: of the train people of each class; draws: of people, at each fraction below 1."""

    fractions: Sequence[float]
    draws: int
    seed: int


def learning_curve(
    arm: FeatureArm, scans: LabelledScans, spec: HeadSpec, labels: LabelDraws, resamples: Resamples
) -> tuple[CurvePoint, ...]:
    """A point for each fraction, the smallest first. All arms and seeds are given the same people; val is
    whole.
    """
    ask, points = HeadProbe(spec), []
    for fraction in sorted(set(labels.fractions)):
        runs, people, reason = [], 0, ""
        for values_NF in arm.draws:
            train, val, test = head_probe.parts(scans, values_NF)
            plan = label_fraction.plan(train, fraction, scans.classes)
            people, reason = sum(plan.people), plan.reason
            for n in range(0 if reason else 1 if fraction == 1 else labels.draws):
                rng = rng_for(labels.seed, "label draw", fraction, n)
                people_run = ask(label_fraction.draw(train, plan, rng), val, test)
                runs.append(dataclasses.replace(people_run, scans=None))  # by scan they are not shown
        nothing = Estimate(float("nan"), float("nan"), float("nan"))
        metric = scores.primary(spec.kind)
        score = scores.evaluate(runs, scans.classes, resamples).metrics[metric] if runs else nothing
        points.append(CurvePoint(fraction, people, len(runs), score, reason))
    return tuple(points)
