"""Arms scored and compared: each with its seeds, their ensembles, and pairs with Holm's correction."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.eval.comparison.holm import holm
from octshard.eval.verdict import BETTER, MAX_P, UNTOLD, Evidence, Verdict, bracketed, judge
from octshard.probes import dealt_labels, scores
from octshard.probes.scores import Estimate, Predictions, Resamples, Score
from octshard.rng import rng_for

Runs = tuple[Predictions, ...]
ALL = "ensemble of all"


@dataclass(frozen=True, eq=False)
class ScoredArm:
    """of_seeds: the metric that decides, of each seed in the order given.

    is_ensemble: of averaged probabilities.
    """

    name: str
    runs: Runs
    score: Score
    of_seeds: tuple[float, ...]
    is_ensemble: bool = False

    @property
    def spread(self) -> float:
        """Standard deviation of that metric over the seeds; nan for one."""
        return float(np.std(self.of_seeds, ddof=1)) if len(self.of_seeds) > 1 else float("nan")


@dataclass(frozen=True)
class Pair:
    """first - second on the same people. p: of the permutation test; holm_p: of the whole family."""

    first: str
    second: str
    difference: Mapping[str, Estimate]
    p: float
    holm_p: float
    verdict: Verdict
    text: str


@dataclass(frozen=True)
class Rules:
    """How often is drawn: swaps of the permutation test, deals of the labels; participants: of each class."""

    swaps: int
    deals: int
    seed: int
    participants: Mapping[str, int]


def scored(name: str, runs: Runs, classes: tuple[str, ...], resamples: Resamples) -> ScoredArm:
    """An arm of one or several seeds."""
    score = scores.evaluate(runs, classes, resamples)
    return ScoredArm(name, runs, score, score.of_runs)


def ensembles(
    runs_of: Mapping[str, Runs], classes: tuple[str, ...], resamples: Resamples
) -> tuple[ScoredArm, ...]:
    """One of the seeds of each arm that has several, and one of all arms, each with the same weight."""
    means = {name: ensemble(runs) for name, runs in runs_of.items()}
    made = {
        f"{name}, ensemble of {len(runs)}": means[name] for name, runs in runs_of.items() if len(runs) > 1
    }
    if len(means) > 1:
        made[ALL] = ensemble(tuple(means.values()))
    return tuple(
        dataclasses.replace(scored(name, (mean,), classes, resamples), is_ensemble=True)
        for name, mean in made.items()
    )


def ensemble(runs: Runs) -> Predictions:
    """The mean of the probabilities of several runs on the same people, and on their scans."""
    scans = tuple(run.scans for run in runs if run.scans is not None)
    mean_PC = np.mean([run.p_PC for run in runs], axis=0)
    return dataclasses.replace(runs[0], p_PC=mean_PC, scans=ensemble(scans) if scans else None)


def pairs(
    arms: Sequence[ScoredArm], together: ScoredArm | None, resamples: Resamples, rules: Rules
) -> tuple[Pair, ...]:
    """Every arm against every other, and all of them together against each: one family for Holm."""
    family = list(itertools.combinations(arms, 2))
    family += [(together, arm) for arm in arms] if together is not None else []
    shuffled_p = {
        arm.name: label_p(arm, rules) for arm in {id(a): a for pair in family for a in pair}.values()
    }
    p_values = [
        scores.swap_p(
            first.runs, second.runs, rules.swaps, rng_for(rules.seed, "swap", first.name, second.name)
        )
        for first, second in family
    ]
    compared = []
    for (first, second), p, holm_p in zip(family, p_values, holm(p_values), strict=True):
        difference = scores.difference(first.runs, second.runs, resamples)
        gain = difference[scores.primary(first.runs[0].kind)]
        better = first if gain.value > 0 else second
        evidence = Evidence(
            gain,
            holm_p,
            shuffled_p[better.name],
            rules.participants,
            first.runs[0].kind,
            scores.seed_gains(first.runs, second.runs),
        )
        verdict = _verdict(evidence, len(family))
        text = sentence((first.name, second.name), gain, verdict)
        compared.append(Pair(first.name, second.name, difference, p, holm_p, verdict, text))
    return tuple(compared)


def label_p(arm: ScoredArm, rules: Rules) -> float:
    """p that the arm's mean score is reached with the test labels dealt among people at random."""
    return dealt_labels.label_p(arm.runs, rules.deals, rng_for(rules.seed, "labels", arm.name))


def sentence(names: tuple[str, str], gain: Estimate, verdict: Verdict) -> str:
    """The verdict in words, the better one first, with every reason where there is none."""
    if verdict.verdict == UNTOLD:
        reasons = "; ".join(verdict.reasons.values())
        size = f"difference in {verdict.metric} {bracketed(gain)}"
        return f"Cannot tell {names[0]} from {names[1]}: {reasons} ({size})."
    better, worse = names if verdict.verdict == BETTER else names[::-1]
    ends = (gain.low, gain.high) if verdict.verdict == BETTER else (-gain.high, -gain.low)
    size = bracketed(Estimate(abs(gain.value), *ends))
    return f"{better} is better than {worse} by {size} {verdict.metric} (Holm p = {verdict.swap_p:.3f})."


def winner(arms: Sequence[ScoredArm], compared: Sequence[Pair]) -> str:
    """The arm that is better than every other one; empty if none is."""
    wins: dict[str, int] = {arm.name: 0 for arm in arms}
    for pair in compared:
        if pair.first in wins and pair.second in wins and pair.verdict.verdict != UNTOLD:
            wins[pair.first if pair.verdict.verdict == BETTER else pair.second] += 1
    return next((name for name, count in wins.items() if len(arms) > 1 and count == len(arms) - 1), "")


def _verdict(evidence: Evidence, family: int) -> Verdict:
    """By the rule of all verdicts, with Holm's p; the better side must beat dealt labels."""
    verdict = judge(evidence)
    reasons = dict(verdict.reasons)
    if "swap_p" in reasons:
        reasons["swap_p"] = f"Holm p = {evidence.swap_p:.3f} in a family of {family}, want at most {MAX_P}"
    if not evidence.shuffled_p <= MAX_P:
        reasons["shuffled_p"] = (
            f"labels dealt at random reach as much as the better one (p = {evidence.shuffled_p:.3f}, want at "
            f"most {MAX_P})"
        )
    return dataclasses.replace(verdict, verdict=UNTOLD if reasons else verdict.verdict, reasons=reasons)
