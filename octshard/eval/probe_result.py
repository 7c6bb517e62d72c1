"""The result of a probe (ProbeResult): what probe.json holds for machines, and the lines for a terminal.

One line for each set of features (Arm), with what was scored (ScoredCheckpoint).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from octshard.eval import json_text
from octshard.eval.controls.provenance_reading import Reading
from octshard.eval.controls.shuffled import NAME as SHUFFLED
from octshard.eval.controls.shuffled import Control
from octshard.eval.verdict import Verdict, bracketed
from octshard.probes.head import Setting, Trial
from octshard.probes.labels import SplitCounts
from octshard.probes.scores import Estimate, Score
from octshard.probes.targets import CLASSES

TITLES = {
    "macro_auroc": "macro AUROC",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "kappa": "kappa",
    "ece": "calibration error",
    "macro_auprc": "macro AUPRC",
    "brier": "Brier score",
    "quadratic_kappa": "quadratic kappa",
    "mae": "mean absolute error",
    "r2": "R²",
}


@dataclass(frozen=True)
class Arm:
    """One set of features, probed: the setting chosen, the score of each on val, its score on test.

    The score is of all its draws, `choice` and `trials` of the first.
    """

    name: str
    features: int
    choice: Setting
    trials: tuple[Trial, ...]
    converged: bool
    score: Score

    @property
    def title(self) -> str:
        """The name, with the number of draws where there are several."""
        draws = len(self.score.of_runs)
        return f"{self.name} ({draws} draws)" if draws > 1 else self.name


@dataclass(frozen=True)
class ScoredCheckpoint:
    """The file scored. seen_people: test participants it was pretrained on; None where it does not say."""

    path: str
    step: int
    samples_seen: int
    seen_people: int | None

    def text(self) -> str:
        """For people: which weights these numbers are of."""
        return f"Checkpoint {self.path}: step {self.step}, {self.samples_seen} samples seen"


@dataclass(frozen=True)
class ProbeResult:
    """All that probe.json holds. `differences`: pretrained minus each baseline, paired over participants;
    `comparisons`: the verdict on each; `headline`, `verdicts`: the same in sentences; `readings`: how well
    the features tell site and device; `provenance`: what that and these alone say, in sentences.
    """

    label: str
    classes: tuple[str, ...]
    counts: tuple[SplitCounts, ...]
    dropped: Mapping[str, int]  # scans without a label, by why
    checkpoint: str
    checkpoint_digest: str
    scored: ScoredCheckpoint
    arms: tuple[Arm, ...]
    shuffled: Control
    differences: Mapping[str, Mapping[str, Estimate]]
    comparisons: Mapping[str, Verdict]
    headline: str
    verdicts: tuple[str, ...]
    readings: tuple[Reading, ...]
    provenance: tuple[str, ...]
    notes: tuple[str, ...]
    config: Mapping[str, Any]
    kind: str = CLASSES  # of the label

    @property
    def metrics(self) -> tuple[str, ...]:
        """What arms are scored by; the first one decides."""
        return tuple(self.arms[0].score.metrics)

    def text(self) -> str:
        """For a terminal: the verdict, two scores of each arm, the verdict on each, notes."""
        arms = {arm.title: arm.score.metrics for arm in self.arms} | {SHUFFLED: self.shuffled.metrics}
        second = "balanced_accuracy" if self.kind == CLASSES else "mae"
        shown, width = (self.metrics[0], second), max(map(len, (*arms, self.label))) + 2
        by_scan = {arm.title: arm.score.by_scan[shown[0]] for arm in self.arms if arm.score.by_scan}
        titles = [TITLES[metric] for metric in shown] + [f"{TITLES[shown[0]]} by scan"] * bool(by_scan)
        lines = [self.headline, f"{self.label:<{width}}" + "".join(f"{title:<24}  " for title in titles)]
        for name, metrics in arms.items():
            estimates = [
                *(metrics[metric] for metric in shown),
                *([by_scan[name]] if name in by_scan else []),
            ]
            lines.append(f"{name:<{width}}" + "".join(f"{bracketed(value):<24}  " for value in estimates))
        lines += [*self.verdicts, *self.provenance, *self.notes, f"{self.scored.text()}."]
        return "\n".join(line.rstrip() for line in lines)


def as_json(result: ProbeResult) -> str:
    """probe.json: the fields of the result; what is not defined is null."""
    return json_text.text_of(dataclasses.asdict(result))
