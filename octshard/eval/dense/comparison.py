"""The scores of all arms over test people -> means with intervals, differences, and one verdict a control."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.config.dense import SegmentConfig, TranslateConfig
from octshard.eval.dense import people
from octshard.eval.dense.study import INTENSITY, PRETRAINED, RANDOM
from octshard.eval.verdict import BETTER, UNTOLD, Evidence, Verdict, bracketed, judge
from octshard.probes.scores import Estimate
from octshard.rng import rng_for

Scans = Mapping[tuple[str, str], Sequence[Mapping[str, float]]]  # (source, head) -> scores of each test scan


@dataclass(frozen=True)
class ArmScores:
    """A head on a source. draws: of the main score, one for each random encoder; else one."""

    source: str
    head: str
    metrics: Mapping[str, Estimate]
    draws: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """pretrained - control of one head, paired over people, and what may be said of it."""

    head: str
    control: str
    differences: Mapping[str, Estimate]
    verdict: Verdict
    sentence: str


def compare(
    scans: Scans,
    participants: Sequence[str],
    main: str,
    cfg: SegmentConfig | TranslateConfig,
    floor: float = -math.inf,
) -> tuple[list[ArmScores], list[Comparison]]:
    """main: the score, higher is better, that verdicts are about; floor: what a head that has learned nothing
    has of it, so that nobody wins who is not above it.
    """
    resamples = rng_for(cfg.seed, "bootstrap")
    weight_RP = people.draw_resamples(len(set(participants)), cfg.bootstrap, resamples)
    arms, comparisons = [], []
    for head in dict.fromkeys(head for _, head in scans):
        means, arm_of = {}, dict[str, ArmScores]()
        for group in (PRETRAINED, RANDOM, INTENSITY):
            draws = [
                people.by_person(scores, participants)
                for (source, other), scores in scans.items()
                if other == head and source.startswith(group)
            ]
            means[group] = people.mean_of(draws)
            values = tuple(people.estimates(draw, weight_RP)[main].value for draw in draws)
            metrics = people.estimates(means[group], weight_RP)
            arms.append(ArmScores(group, head, metrics, values))
            arm_of[group] = arms[-1]
        for control in (RANDOM, INTENSITY):
            pair = (means[PRETRAINED], means[control])
            differences = people.differences(*pair, weight_RP)
            first_P, second_P = (scores.values[main] for scores in pair)
            p = people.flip_p(first_P, second_P, cfg.bootstrap, rng_for(cfg.seed, "flip", head, control))
            scored = int(np.isfinite(first_P - second_P).sum())
            # labels of voxels are not dealt anew: no shuffled control stands against a head's score
            evidence = Evidence(
                differences[main], p, 0.0, {"all": scored}, seed_gains=_gains(arm_of, control)
            )
            best = max(arm_of[group].metrics[main].value for group in (PRETRAINED, control))
            verdict = _above(floor, best, judge(evidence))
            sentence = _sentence(head, control, main, differences[main], verdict)
            comparisons.append(Comparison(head, control, differences, verdict, sentence))
    return arms, comparisons


def _gains(arm_of: Mapping[str, ArmScores], control: str) -> list[float]:
    """Of pretrained over each draw of a control that has several."""
    (pretrained,), draws = arm_of[PRETRAINED].draws, arm_of[control].draws
    return [pretrained - value for value in draws] if len(draws) > 1 else []


def _above(floor: float, best: float, verdict: Verdict) -> Verdict:
    """No verdict on two heads of which the better one has learned nothing."""
    if best > floor:
        return verdict
    reason = f"neither is above the {floor:.3f} of a head that has learned nothing"
    return dataclasses.replace(verdict, verdict=UNTOLD, reasons={**verdict.reasons, "floor": reason})


def _sentence(head: str, control: str, main: str, gain: Estimate, verdict: Verdict) -> str:
    if verdict.verdict == UNTOLD:
        reasons = "; ".join(verdict.reasons.values()).replace("macro AUROC", main)
        size = f"difference in {main} {bracketed(gain)}"
        return f"{head}: cannot tell pretrained from {control}: {reasons} ({size})."
    ends = (gain.low, gain.high) if verdict.verdict == BETTER else (-gain.high, -gain.low)
    size = bracketed(Estimate(abs(gain.value), *ends))
    return (
        f"{head}: pretrained is {verdict.verdict} than {control} by {size} {main} (p = {verdict.swap_p:.3f})."
    )
