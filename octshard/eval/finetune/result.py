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

FILE, PAGE = "finetune.json", "finetune.html"


@dataclass(frozen=True)
class FinetuneResult:
    """All that finetune.json holds, under the names of probe.json. arms: the setting of each is its epoch;
    predictions: of the first draw of each arm, by participant or unit of test; losses: on train, of each
    epoch of that draw; shuffled_p: that labels dealt anew among the people of test reach its score.
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
    losses: Mapping[str, tuple[float, ...]]
    shuffled_p: float
    notes: tuple[str, ...]
    config: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The metric that decides, as scores call it."""
        return scores.primary(self.kind)

    def text(self) -> str:
        """For a terminal: the verdict, the score of each arm, notes."""
        width = max(len(arm.title) for arm in self.arms) + 2
        by_scan = any(arm.score.by_scan for arm in self.arms)
        titles = [METRIC[self.kind], *([f"{METRIC[self.kind]} by scan"] if by_scan else [])]
        lines = [self.headline, f"{'':<{width}}" + "".join(f"{title:<24}  " for title in titles)]
        for arm in self.arms:
            scored = [arm.score.metrics, *([arm.score.by_scan] if by_scan else [])]
            cells = "".join(f"{bracketed(metrics[self.key]):<24}  " for metrics in scored)
            line = f"{arm.title:<{width}}{cells}"
            lines.append(f"{line} after {arm.choice['epoch']} of {len(arm.trials)} epochs")
        lines += [*self.verdicts, *self.notes, f"{self.scored.text()}."]
        return "\n".join(line.rstrip() for line in lines)


def as_json(result: FinetuneResult) -> str:
    """finetune.json; what is not defined is null."""
    return json_text.text_of(dataclasses.asdict(result))
