"""Every head on every arm: fitted once, chosen on val, scored on the same resamples of test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from octshard.config.eval import ReportConfig
from octshard.eval import arm_verdict, head_probe
from octshard.eval.arm_verdict import Exam
from octshard.eval.controls.shuffled import Control
from octshard.eval.feature_table import TOKENS
from octshard.eval.head_probe import ProbedArm
from octshard.eval.report.result import HeadResult
from octshard.eval.study import EncodedArms, Study
from octshard.probes import build
from octshard.probes.head import HeadSpec
from octshard.progress import OnProgress


@dataclass(frozen=True, eq=False)
class FittedHeads:
    """One head on every arm, trained ones first. shuffled: of the trained ones."""

    head: str
    probed: Mapping[str, ProbedArm]
    shuffled: Mapping[str, Control]
    asked: Exam

    def result(self, classes: Sequence[str]) -> HeadResult:
        """Its scores."""
        return HeadResult(
            head=self.head,
            arms=tuple(each.scored(classes, self.asked.resamples) for each in self.probed.values()),
            of_arm={name: each.heads[0].name for name, each in self.probed.items()},
            shuffled=self.shuffled,
            predictions={name: each.predictions for name, each in self.probed.items()},
        )


def fit_all(
    study: Study, encoded: EncodedArms, cfg: ReportConfig, on_progress: OnProgress
) -> list[FittedHeads]:
    """Every head of cfg, in order. What is fitted alike by two of them is fitted once."""
    done: dict[tuple[str, str], ProbedArm] = {}
    fitted: list[FittedHeads] = []
    for head in cfg.heads:
        spec = HeadSpec(cfg.of(head), study.labelled.kind, cfg.seed)
        with_tokens = head in build.TOKENS
        probed = {}
        arms = encoded.arms_of[TOKENS if with_tokens else cfg.pooling]
        for i, arm in enumerate(arms):
            on_progress(i, len(arms), f"{head} heads")
            name = head if not with_tokens or arm.name in study.sources_of else build.WITHOUT_TOKENS
            if (name, arm.name) not in done:
                done[name, arm.name] = head_probe.probed(arm, study.labelled, spec)
            probed[arm.name] = done[name, arm.name]
        on_progress(len(arms), len(arms), f"{head} heads")
        first = next(iter(probed.values()))
        asked = arm_verdict.exam(first, study.labelled, encoded.provenance, spec, cfg)
        shuffled = {
            name: arm_verdict.shuffled_control(probed[name], asked, on_progress) for name in study.scored
        }
        fitted.append(FittedHeads(head, probed, shuffled, asked))
    return fitted
