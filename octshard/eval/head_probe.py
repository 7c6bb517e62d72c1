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
from octshard.progress import OnProgress


@dataclass(frozen=True)
class HeadProbe:
    """(train, val, test) -> what the head of `spec` says of test, by participant."""

    spec: HeadSpec

    def __call__(self, train: Examples, val: Examples, test: Examples) -> Predictions:
        return head.predict(build.fit(self.spec, train, val), test)


@dataclass(frozen=True, eq=False)
class ProbedArm:
    """An arm with a head for each draw, and what these say of test."""

    arm: FeatureArm
    width: int
    heads: tuple[FittedHead, ...]
    predictions: tuple[Predictions, ...]

    @property
    def name(self) -> str:
        """Of the arm."""
        return self.arm.name

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
    heads, predictions, width = list[FittedHead](), list[Predictions](), 0
    for values_NF in arm.draws:
        train, val, test = parts(scans, values_NF)
        heads.append(build.fit(spec, train, val))
        predictions.append(head.predict(heads[-1], test))
        width = values_NF.shape[-1]
    return ProbedArm(arm, width, tuple(heads), tuple(predictions))


def probe_all(
    arms: Sequence[FeatureArm], scans: LabelledScans, spec: HeadSpec, on_progress: OnProgress
) -> list[ProbedArm]:
    """Every arm by itself."""
    done = []
    for i, arm in enumerate(arms):
        on_progress(i, len(arms), "probes")
        done.append(probed(arm, scans, spec))
    on_progress(len(arms), len(arms), "probes")
    return done


def parts(scans: LabelledScans, values_NF: np.ndarray) -> tuple[Examples, Examples, Examples]:
    """Train, val and test of the labelled scans."""
    train, val, test = (
        Examples(values_NF[subset.places_N], subset.y_N, subset.participants, subset.units)
        for subset in (scans.subsets[split] for split in SPLITS)
    )
    return train, val, test
