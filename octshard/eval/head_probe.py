"""A head as every arm and control is asked by it: fitted on train, chosen on val, its word on test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.eval.arms import FeatureArm
from octshard.eval.probe_result import Arm
from octshard.probes import build, head, scores
from octshard.probes.examples import Examples
from octshard.probes.head import FittedHead, HeadSpec
from octshard.probes.labels import SPLITS, LabelledScans
from octshard.probes.scores import Predictions, Resamples


@dataclass(frozen=True)
class HeadProbe:
    """(train, val, test) -> what the head of `spec` says of test, by participant."""

    spec: HeadSpec

    def __call__(self, train: Examples, val: Examples, test: Examples) -> Predictions:
        return head.predict(build.fit(self.spec, train, val), test)


@dataclass(frozen=True, eq=False)
class ProbedArm:
    """An arm with a head for each draw, and what these say of test."""

    name: str
    width: int
    heads: tuple[FittedHead, ...]
    predictions: tuple[Predictions, ...]

    def scored(self, classes: Sequence[str], resamples: Resamples) -> Arm:
        """As the page has it; setting and trials are those of the first draw."""
        first = self.heads[0]
        return Arm(
            name=self.name,
            features=self.width,
            choice=first.choice,
            trials=first.trials,
            converged=all(fitted.converged for fitted in self.heads),
            score=scores.evaluate(self.predictions, classes, resamples),
        )


def probed(arm: FeatureArm, scans: LabelledScans, spec: HeadSpec) -> ProbedArm:
    """Every draw of an arm by itself."""
    heads, predictions = [], []
    for values_NF in arm.draws:
        train, val, test = parts(scans, values_NF)
        heads.append(build.fit(spec, train, val))
        predictions.append(head.predict(heads[-1], test))
    return ProbedArm(arm.name, arm.draws[0].shape[-1], tuple(heads), tuple(predictions))


def parts(scans: LabelledScans, values_NF: np.ndarray) -> tuple[Examples, Examples, Examples]:
    """Train, val and test of the labelled scans."""
    train, val, test = (
        Examples(values_NF[subset.places_N], subset.y_N, subset.participants, subset.units)
        for subset in (scans.subsets[split] for split in SPLITS)
    )
    return train, val, test
