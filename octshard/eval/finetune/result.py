"""What a fine-tuning found: scores and verdicts as those of a probe, for programs and for a terminal."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from octshard.eval import json_text
from octshard.eval.probe_result import Arm, ScoredCheckpoint
from octshard.eval.verdict import METRIC, Verdict, bracketed
from octshard.probes import scores
from octshard.probes.labels import SplitCounts
from octshard.probes.scores import Estimate

FILE = "finetune.json"


@dataclass(frozen=True)
class FinetuneResult:
    """All that finetune.json holds, under the names of probe.json. arms: the setting of each is its epoch;
    predictions: of the first draw of each arm, by participant or unit of test.
    """

    label: str
    kind: str
    classes: tuple[str, ...]
    counts: tuple[SplitCounts, ...]
    dropped: Mapping[str, int]
    checkpoint: str
    checkpoint_digest: str
    scored: ScoredCheckpoint
    arms: tuple[Arm, ...]
    differences: Mapping[str, Mapping[str, Estimate]]
    comparisons: Mapping[str, Verdict]
    headline: str
    verdicts: tuple[str, ...]
    predictions: Mapping[str, Mapping[str, list[float]]]
    notes: tuple[str, ...]
    config: Mapping[str, Any]

    def text(self) -> str:
        """For a terminal: the verdict, the score of each arm, notes."""
        metric, width = scores.primary(self.kind), max(len(arm.title) for arm in self.arms) + 2
        lines = [self.headline, f"{'':<{width}}{METRIC[self.kind]}"]
        for arm in self.arms:
            line = f"{arm.title:<{width}}{bracketed(arm.score.metrics[metric]):<24}"
            lines.append(f"{line} after {arm.choice['epoch']} of {len(arm.trials)} epochs")
        lines += [*self.verdicts, *self.notes, f"{self.scored.text()}."]
        return "\n".join(line.rstrip() for line in lines)


def as_json(result: FinetuneResult) -> str:
    """finetune.json; what is not defined is null."""
    return json_text.text_of(dataclasses.asdict(result))
