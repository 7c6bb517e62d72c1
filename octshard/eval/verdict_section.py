"""The first box of a probe's page: the verdict, that against each control, and warnings of shortcuts."""

from collections.abc import Mapping, Sequence

from octshard.eval.controls.provenance_reading import WARNING
from octshard.eval.verdict import BETTER, WORSE, Verdict, two_lines
from octshard.probes.scores import Estimate
from octshard.report.page import Cell, Content, Html, banner, breakable, table


def parts(
    headline: str,
    comparisons: Mapping[str, Verdict],
    gains: Mapping[str, Estimate],
    provenance: Sequence[str],
) -> tuple[Content, ...]:
    """gains: of pretrained over each control, in what decides; provenance: sentences on site and device."""
    warnings = [sentence for sentence in provenance if sentence.startswith(WARNING)]
    others = [sentence for sentence in provenance if sentence not in warnings]
    verdicts = [verdict.verdict for verdict in comparisons.values()]
    tone = "unsure"
    if WORSE in verdicts:
        tone = "bad"
    elif set(verdicts) == {BETTER} and not warnings:
        tone = "good"
    return (
        banner(headline, tone),
        *(banner(sentence, "bad") for sentence in warnings),
        against(comparisons, gains),
        *others,
    )


def against(comparisons: Mapping[str, Verdict], gains: Mapping[str, Estimate]) -> Html:
    """The table of controls: by how much, how sure, and every reason against saying so."""
    rows: list[list[Cell]] = [
        [breakable(name), two_lines(gains[name]), verdict.verdict, _why(verdict)]
        for name, verdict in comparisons.items()
    ]
    metric = next(iter(comparisons.values())).metric if comparisons else "score"
    headers = ["pretrained against", f"difference in {metric}", "verdict", "why"]
    return table(headers, rows, "Above 0: pretrained is higher.", stacked=True)


def _why(verdict: Verdict) -> str:
    if verdict.reasons:
        return "; ".join(verdict.reasons.values())
    return f"the interval leaves out 0, permutation p = {verdict.swap_p:.3f}"
