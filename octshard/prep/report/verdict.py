"""The first box of the page: are the shards in order? By a rule that stands below it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from octshard.dataset.splits import split_overlaps
from octshard.dataset.tables import SampleRow
from octshard.prep.report import remedies
from octshard.prep.report.content import Shards
from octshard.prep.report.remedies import DAMAGED, LIBRARY, NO_STACK, UNEXPLAINED
from octshard.report import page
from octshard.report.numbers import integer, pluralize
from octshard.report.page import Content

MANY_DAMAGED, SOME_DAMAGED = 10, 1  # percent of the listed files
GOOD, UNSURE, BAD = "good", "unsure", "bad"
WORDS = {GOOD: "In order", UNSURE: "In order, but look", BAD: "Not in order"}
TEXTS = {
    LIBRARY: "of formats whose library is not installed",
    DAMAGED: "damaged or missing",
    NO_STACK: "with nothing to store",
}
RULE = (
    "Red: nothing is stored, a cause of refusal is not explained, "
    f"more than {MANY_DAMAGED} % of the files are damaged or missing, or a person stands in two splits.",
    f"Amber: a stored volume has a flag that asks for a look, more than {SOME_DAMAGED} % of the files are "
    "damaged or missing, a library is missing, or a device is not finished.",
    "Green: nothing of this.",
)


@dataclass(frozen=True)
class Verdict:
    """tone: good, unsure or bad; headline: on the refused files; others: what else decides."""

    tone: str
    headline: str
    others: tuple[str, ...]

    def parts(self) -> tuple[Content, ...]:
        """The box and the rule."""
        text = " ".join((self.headline, *self.others))
        box = page.verdict(WORDS[self.tone], text, self.tone)
        return (box, page.details("The rule", "by which this is green, amber or red", RULE))


def verdict(shards: Shards) -> Verdict:
    """By RULE."""
    rows = shards.rows
    kinds = Counter(remedies.kind_of(row.reason) for row in rows if row.status != "ok")
    grave, light = _grave(shards, kinds), _light(shards, kinds)
    tone = BAD if grave or kinds[UNEXPLAINED] else UNSURE if light else GOOD
    return Verdict(tone, _headline(rows, kinds), (*grave, *light))


def _grave(shards: Shards, kinds: Counter[str]) -> list[str]:
    """What makes it red, but for causes that are not explained, which the headline counts."""
    rows, crossing = shards.rows, split_overlaps(shards.rows)
    sentences = []
    if len(rows) == kinds.total():
        sentences.append("Nothing is stored.")
    if 100 * kinds[DAMAGED] > MANY_DAMAGED * len(rows):
        sentences.append(f"More than {MANY_DAMAGED} % are damaged or missing.")
    if crossing:
        sentences.append(f"{pluralize(len(crossing), 'person', 'people')} in more than one split.")
    return sentences


def _light(shards: Shards, kinds: Counter[str]) -> list[str]:
    """What makes it amber."""
    rows = shards.rows
    stored = [row for row in rows if row.status == "ok"]
    sentences = []
    if SOME_DAMAGED * len(rows) < 100 * kinds[DAMAGED] <= MANY_DAMAGED * len(rows):
        sentences.append(f"More than {SOME_DAMAGED} % are damaged or missing.")
    if kinds[LIBRARY]:
        sentences.append("A library is missing.")
    if flagged := sum(bool(remedies.to_look_at(row)) for row in stored):
        have = "has" if flagged == 1 else "have"
        of_all = f"{integer(flagged)} of {pluralize(len(stored), 'stored volume')}"
        sentences.append(f"{of_all} {have} a flag that asks for a look.")
    if shards.unfinished:
        sentences.append(f"Not finished: {', '.join(shards.unfinished)}.")
    return sentences


def _headline(rows: Sequence[SampleRow], kinds: Counter[str]) -> str:
    refused, unexplained = kinds.total(), kinds[UNEXPLAINED]
    if not rows:
        return "No file is listed."
    if not refused:
        return f"None of {pluralize(len(rows), 'file')} was refused."
    counts = ", ".join(f"{integer(kinds[kind])} {text}" for kind, text in TEXTS.items() if kinds[kind])
    explained = f"{integer(unexplained)} not explained" if unexplained else "all explained"
    return (
        f"{integer(refused)} of {pluralize(len(rows), 'file')} refused: {explained}"
        f"{f' ({counts})' if counts else ''}."
    )
