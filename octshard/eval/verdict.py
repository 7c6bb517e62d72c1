"""The verdict on pretrained against a baseline: better or worse only where nothing speaks against saying so.

Every reason against it is kept under its name, for programs, with its sentence, for people.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from octshard.probes.scores import Estimate
from octshard.probes.targets import CLASSES, NUMBERS, ORDINAL
from octshard.report.page import Html

BETTER, WORSE, UNTOLD = "better", "worse", "cannot tell"
MIN_PARTICIPANTS = 10  # of each class in test: with fewer, intervals are no longer right
MIN_NUMBERS = 20  # participants in test with a number, as of two classes
MAX_P = 0.05
METRIC = {CLASSES: "macro AUROC", ORDINAL: "quadratic kappa", NUMBERS: "R²"}  # what verdicts are about
CHANCE = {METRIC[CLASSES]: 0.5, METRIC[ORDINAL]: 0.0, METRIC[NUMBERS]: 0.0}  # of features that tell nothing


@dataclass(frozen=True)
class Evidence:
    """What a verdict is made from. gain: `METRIC` of pretrained minus the baseline's, paired.

    swap_p: of the paired permutation test (`scores.swap_p`); shuffled_p: that pretrained, with labels dealt
    at random, reaches its own score; participants: in test, of each class, or all under the name of the
    label if it is a number. seed_gains: the gain of every seed over every seed, where several are given.
    """

    gain: Estimate
    swap_p: float
    shuffled_p: float
    participants: Mapping[str, int]
    kind: str = CLASSES
    seed_gains: Sequence[float] = ()


@dataclass(frozen=True)
class Verdict:
    """`verdict` is better, worse or cannot tell; `reasons` (name -> sentence) is empty but for the last."""

    verdict: str
    reasons: Mapping[str, str]
    swap_p: float
    metric: str = METRIC[CLASSES]

    def sentence(self, baseline: str, gain: Estimate, subject: str = "pretrained") -> str:
        """The verdict on `subject` in words, with every reason."""
        if self.verdict == UNTOLD:
            difference = f"difference in {self.metric} {bracketed(gain)}"
            return (
                f"Cannot tell {subject} from {baseline}: {'; '.join(self.reasons.values())} ({difference})."
            )
        ends = (gain.low, gain.high) if self.verdict == BETTER else (-gain.high, -gain.low)
        size = bracketed(Estimate(abs(gain.value), *ends))
        return (
            f"{_first(subject)} is {self.verdict} than {baseline} by {size} {self.metric} "
            f"(p = {self.swap_p:.3f})."
        )


def shared(verdicts: Sequence[Verdict]) -> list[str]:
    """The reasons that all of them have, word for word: each has its own p."""
    return [
        text
        for name, text in (verdicts[0].reasons if verdicts else {}).items()
        if all(verdict.reasons.get(name) == text for verdict in verdicts)
    ]


def headline(comparisons: Mapping[str, Verdict], subject: str = "pretrained") -> str:
    """All verdicts on `subject` in one sentence, baselines by name."""
    groups = {
        "better than": [name for name, verdict in comparisons.items() if verdict.verdict == BETTER],
        "worse than": [name for name, verdict in comparisons.items() if verdict.verdict == WORSE],
        "not to be told from": [name for name, verdict in comparisons.items() if verdict.verdict == UNTOLD],
    }
    if groups["better than"] and len(groups["better than"]) == len(comparisons):
        return f"{_first(subject)} is better than every control: {_listed(groups['better than'])}."
    parts = [f"{text} {_listed(names)}" for text, names in groups.items() if names]
    return f"{_first(subject)} is {'; '.join(parts)}." if parts else "Nothing to compare with."


def _first(subject: str) -> str:
    """At the beginning of a sentence: a word of ours with a capital, a name as it is."""
    return "Pretrained" if subject == "pretrained" else subject


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def judge(evidence: Evidence) -> Verdict:
    """The verdict that the evidence allows."""
    gain, metric = evidence.gain, METRIC[evidence.kind]
    better = gain.value > 0
    reasons = _too_few(evidence)
    if not all(map(math.isfinite, (gain.value, gain.low, gain.high))):
        reasons["undefined"] = f"{metric} is not defined on this test set"
    elif not gain.low < gain.high:
        reasons["no_width"] = "the interval of the difference has no width"
    elif not (gain.low > 0 if better else gain.high < 0):
        reasons["holds_zero"] = "the interval of the difference holds 0"
    if other := sum(not (one > 0 if better else one < 0) for one in evidence.seed_gains):
        total = len(evidence.seed_gains)
        reasons["seed_spread"] = f"{other} of {total} pairs of seeds are not on that side"
    if not evidence.swap_p <= MAX_P:
        reasons["swap_p"] = f"paired permutation p = {evidence.swap_p:.3f}, want at most {MAX_P}"
    if better and not evidence.shuffled_p <= MAX_P:
        reasons["shuffled_p"] = (
            f"shuffled labels reach as much (permutation p = {evidence.shuffled_p:.3f}, want at most {MAX_P})"
        )
    verdict = UNTOLD if reasons else BETTER if better else WORSE
    return Verdict(verdict, reasons, evidence.swap_p, metric)


def _too_few(evidence: Evidence) -> dict[str, str]:
    """The reason that test has too few people, if it has."""
    numbers = evidence.kind == NUMBERS
    least = MIN_NUMBERS if numbers else MIN_PARTICIPANTS
    few = sorted((n, name) for name, n in evidence.participants.items() if n < least)
    if not few:
        return {}
    others = f" and {len(few) - 1} more of the classes" if few[1:] else ""
    subject = f"with a number ({few[0][0]})" if numbers else f"in {few[0][1]} ({few[0][0]}){others}"
    return {"few_participants": f"fewer than {least} test participants {subject}"}


def two_lines(value: Estimate) -> Html:
    """As `bracketed`, but the interval below its value: a table of many columns fits."""
    text, _, interval = bracketed(value).partition(" ")
    return Html(f'<span class="number">{text}{f"<br><small>{interval}</small>" if interval else ""}</span>')


def bracketed(value: Estimate) -> str:
    """0.712 [0.600, 0.801] with true minus signs; a dash where it is not defined."""
    if not math.isfinite(value.value):
        return "–"
    interval = f" [{value.low:.3f}, {value.high:.3f}]" if math.isfinite(value.low) else ""
    return f"{value.value:.3f}{interval}".replace("-", "−")
