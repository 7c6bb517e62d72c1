"""The result of `eval report`: report.json for programs, a text for a terminal, and predictions of people."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from octshard.eval.arm_verdict import ArmVerdict
from octshard.eval.comparison.scoring import Pair
from octshard.eval.controls.shuffled import NAME as SHUFFLED
from octshard.eval.controls.shuffled import Control
from octshard.eval.probe_result import Arm, ScoredCheckpoint
from octshard.eval.report import robustness
from octshard.eval.report.robustness import Nuisances
from octshard.eval.score_tables import Metrics
from octshard.eval.verdict import METRIC, bracketed
from octshard.probes import scores
from octshard.probes.labels import SplitCounts
from octshard.probes.scores import Predictions


@dataclass(frozen=True, eq=False)
class HeadResult:
    """One head on every arm. of_arm: the head that an arm has, which is another one where the arm has no
    tokens for it; shuffled: trained arm -> the same features with labels that mean nothing.
    """

    head: str
    arms: tuple[Arm, ...]
    of_arm: Mapping[str, str]
    shuffled: Mapping[str, Control]
    predictions: Mapping[str, tuple[Predictions, ...]] = field(repr=False)

    def rows(self) -> dict[str, Metrics]:
        """The metrics of every arm, and of its shuffled labels, by the name that a table shows."""
        rows: dict[str, Metrics] = {arm.title: arm.score.metrics for arm in self.arms}
        return rows | {shuffled_name(arm, self.shuffled): c.metrics for arm, c in self.shuffled.items()}


@dataclass(frozen=True, eq=False)
class ReportResult:
    """All that report.json holds, but for the figures. heads: the first one decides; verdicts: on each
    trained arm, by it; pairs: of trained arms; best: a sentence on these, empty for one arm; scored: trained
    arm -> its checkpoints; digests: by their paths; provenance: trained arm -> what is said of shortcuts.
    """

    label: str
    kind: str
    classes: tuple[str, ...]
    counts: tuple[SplitCounts, ...]
    dropped: Mapping[str, int]
    scored: Mapping[str, tuple[ScoredCheckpoint, ...]]
    digests: Mapping[str, str]
    heads: tuple[HeadResult, ...]
    verdicts: tuple[ArmVerdict, ...]
    pairs: tuple[Pair, ...]
    best: str
    provenance: Mapping[str, tuple[str, ...]]
    robustness: Nuisances
    notes: tuple[str, ...]
    config: Mapping[str, Any]

    @property
    def first(self) -> HeadResult:
        """The head that decides."""
        return self.heads[0]

    @property
    def metric(self) -> str:
        """The score that decides, as scores call it."""
        return scores.primary(self.kind)

    def text(self) -> str:
        """For a terminal: a sentence for each checkpoint, the table of heads and arms, every pair, notes."""
        lines = [*(verdict.sentence for verdict in self.verdicts), self.best]
        names = list(self.first.rows())
        width = max(map(len, (self.label, *names))) + 2
        lines.append(f"{self.label:<{width}}" + "".join(f"{head.head:<24}  " for head in self.heads))
        for name in names:
            cells = (f"{bracketed(head.rows()[name][self.metric]):<24}  " for head in self.heads)
            lines.append(f"{name:<{width}}{''.join(cells)}")
        lines.append(f"({METRIC[self.kind]}; verdicts by {self.first.head})")
        lines += [pair.text for pair in self.pairs]
        lines += [
            text for arm, several in self.robustness.items() for text in robustness.warnings(several, arm)
        ]
        lines += dict.fromkeys(sentence for several in self.provenance.values() for sentence in several)
        lines += [*self.notes, *self.origins()]
        return "\n".join(line.rstrip() for line in lines if line)

    def origins(self) -> tuple[str, ...]:
        """Which files were scored."""
        return tuple(
            f"{arm}: {scored.text()}, sha256 {self.digests[scored.path][:16]}."
            for arm, several in self.scored.items()
            for scored in several
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: predictions stay out."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        values["heads"] = [
            {
                "head": head.head,
                "of_arm": head.of_arm,
                "arms": [dataclasses.asdict(arm) for arm in head.arms],
                "shuffled": {arm: dataclasses.asdict(c) for arm, c in head.shuffled.items()},
            }
            for head in self.heads
        ]
        values["verdicts"] = [{"sentence": v.sentence, **dataclasses.asdict(v)} for v in self.verdicts]
        for name in ("counts", "pairs"):
            values[name] = [dataclasses.asdict(value) for value in values[name]]
        for name in ("scored", "robustness"):
            values[name] = {
                arm: [dataclasses.asdict(value) for value in several] for arm, several in values[name].items()
            }
        return values


def shuffled_name(arm: str, shuffled: Mapping[str, Control]) -> str:
    """How a table calls the shuffled labels of an arm."""
    return SHUFFLED if len(shuffled) == 1 else f"{arm}, {SHUFFLED}"
