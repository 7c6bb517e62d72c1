"""What came out of the demo, in three sentences with a colour each: the shards, the training, the probe."""

from collections.abc import Mapping, Sequence
from typing import Any

from octshard.dataset.tables import Dataset
from octshard.eval import verdict_section
from octshard.eval.probe_result import ProbeResult
from octshard.eval.verdict import UNTOLD, shared
from octshard.prep.report import verdict as of_shards
from octshard.prep.report.content import Shards
from octshard.report import page
from octshard.report.numbers import decimal
from octshard.report.page import Content

PLANTED = "The demo plants what is refused and flagged."


def parts(
    datasets: Sequence[Dataset], metrics: Sequence[Mapping[str, Any]], probe: ProbeResult
) -> tuple[Content, ...]:
    """The three boxes, and why the probe cannot tell, if it cannot."""
    shards = of_shards.verdict(Shards(tuple(datasets), ({},) * len(datasets), ()))
    text = " ".join((shards.headline, *shards.others, PLANTED))
    tone = verdict_section.tone(probe.comparisons, verdict_section.warnings_of(probe.provenance))
    return (
        page.verdict(f"Shards: {of_shards.WORDS[shards.tone].lower()}", text, shards.tone),
        *_training(metrics),
        page.verdict("Probe", probe.headline, tone),
        *untold(probe),
    )


def untold(probe: ProbeResult) -> tuple[str, ...]:
    """Why there is no verdict, in one line: the reasons that all controls share which are not told apart."""
    verdicts = [verdict for verdict in probe.comparisons.values() if verdict.verdict == UNTOLD]
    if not verdicts:
        return ()
    why = "; ".join(shared(verdicts)) or "for each control another reason, in the table below"
    return (f"Why it cannot tell: {why}.",)


def _training(metrics: Sequence[Mapping[str, Any]]) -> tuple[Content, ...]:
    skills = [float(line["skill"]) for line in metrics if line.get("skill") is not None]
    if not skills:
        return ("Training has measured no skill.",)
    tone, word = ("good", "learned") if skills[-1] > 0 else ("bad", "nothing learned")
    skill = decimal(skills[-1], 3)
    text = f"skill {skill} on val; at 0 an encoder tells no more than the position of a token does."
    return (page.verdict(f"Training: {word}", text, tone),)
