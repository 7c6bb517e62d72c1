"""The result of `eval compare`: compare.json for programs, a text for a terminal."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from octshard.eval.comparison.learning_curve import CurvePoint
from octshard.eval.comparison.scoring import Pair, ScoredArm
from octshard.eval.feature_table import FeatureInfo
from octshard.eval.verdict import METRIC, bracketed
from octshard.probes import scores
from octshard.probes.labels import SplitCounts


@dataclass(frozen=True)
class CompareResult:
    """All that compare.json holds. origins: arm -> the features of each seed; winner: the arm that is better
    than every other, or empty; curves: arm -> its points.
    """

    label: str
    kind: str
    classes: tuple[str, ...]
    counts: tuple[SplitCounts, ...]
    dropped: Mapping[str, int]
    arms: tuple[ScoredArm, ...]
    origins: Mapping[str, tuple[FeatureInfo, ...]]
    pairs: tuple[Pair, ...]
    winner: str
    headline: str
    curves: Mapping[str, tuple[CurvePoint, ...]]
    notes: tuple[str, ...]
    config: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The metric that decides, as scores call it."""
        return scores.primary(self.kind)

    @property
    def metric(self) -> str:
        """The same in words."""
        return METRIC[self.kind]

    def text(self) -> str:
        """For a terminal: the score of each arm, the headline, every pair, the curves, the notes."""
        width = max(len(name) for name in (self.label, *(arm.name for arm in self.arms))) + 2
        by_scan = any(arm.score.by_scan for arm in self.arms)
        headers = [self.metric, *([f"{self.metric} by scan"] if by_scan else [])]
        lines = [f"{self.label:<{width}}" + "".join(f"{name:<24}  " for name in headers) + "seeds"]
        for arm in self.arms:
            of_seeds = ", ".join(f"{value:.3f}" for value in arm.of_seeds)
            scored = [arm.score.metrics, *([arm.score.by_scan] if by_scan else [])]
            cells = "".join(f"{bracketed(metrics[self.key]):<24}  " for metrics in scored)
            lines.append(f"{arm.name:<{width}}{cells}{of_seeds}")
        lines += [self.headline, *(pair.text for pair in self.pairs)]
        for name, points in self.curves.items():
            lines += [f"{name}, {100 * p.fraction:g} % of labels: {_point(p)}" for p in points]
        return "\n".join(line.rstrip() for line in (*lines, *self.notes))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: probabilities stay out."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["arms"] = [
            {
                "name": arm.name,
                "is_ensemble": arm.is_ensemble,
                "of_seeds": arm.of_seeds,
                "spread": arm.spread,
                "score": dataclasses.asdict(arm.score),
            }
            for arm in self.arms
        ]
        for name in ("counts", "pairs"):
            values[name] = [dataclasses.asdict(value) for value in values[name]]
        for name in ("origins", "curves"):
            values[name] = {
                arm: [dataclasses.asdict(value) for value in several] for arm, several in values[name].items()
            }
        return values


def _point(point: CurvePoint) -> str:
    return point.reason or f"{bracketed(point.score)} ({point.people} people)"
