"""The first box of a probe's page: the verdict, that against each control, and warnings of shortcuts."""

from collections.abc import Mapping, Sequence

from octshard.eval.controls.provenance_reading import WARNING
from octshard.eval.controls.shuffled import Control
from octshard.eval.verdict import BETTER, METRIC, WORSE, Verdict, bracketed, two_lines
from octshard.probes.scores import Estimate, primary
from octshard.report.page import Cell, Content, Html, banner, breakable, table


def parts(
    headline: str,
    comparisons: Mapping[str, Verdict],
    gains: Mapping[str, Estimate],
    provenance: Sequence[str],
) -> tuple[Content, ...]:
    """gains: of pretrained over each control, in what decides; provenance: sentences on site and device."""
    warnings = warnings_of(provenance)
    return (
        banner(headline, tone(comparisons, warnings)),
        *(banner(sentence, "bad") for sentence in warnings),
        against(comparisons, gains, "pretrained"),
        *(sentence for sentence in provenance if sentence not in warnings),
    )


def warnings_of(provenance: Sequence[str]) -> list[str]:
    """The sentences on site and device that a reader must not miss."""
    return [sentence for sentence in provenance if sentence.startswith(WARNING)]


def tone(comparisons: Mapping[str, Verdict], warnings: Sequence[str]) -> str:
    """The colour of the verdict on all controls: good only if every one is beaten and nothing warns."""
    verdicts = {verdict.verdict for verdict in comparisons.values()}
    if WORSE in verdicts:
        return "bad"
    return "good" if verdicts == {BETTER} and not warnings else "unsure"


def against(comparisons: Mapping[str, Verdict], gains: Mapping[str, Estimate], subject: str) -> Html:
    """The table of controls: by how much `subject` is above each, how sure, and every reason against saying
    so.
    """
    rows: list[list[Cell]] = [
        [breakable(name), two_lines(gains[name]), verdict.verdict, _why(verdict)]
        for name, verdict in comparisons.items()
    ]
    metric = next(iter(comparisons.values())).metric if comparisons else "score"
    headers = [f"{subject} against", f"difference in {metric}", "verdict", "why"]
    return table(headers, rows, f"Above 0: {subject} is higher.", stacked=True)


def permutation(control: Control, kind: str) -> str:
    """What labels that mean nothing give."""
    value = control.metrics[primary(kind)]
    return (
        f"With labels dealt at random the same features give {METRIC[kind]} {bracketed(value)}; "
        f"{control.reached} of {control.deals} deals reached the value of the true labels (permutation "
        f"p = {control.p_value:.3f})."
    )


def _why(verdict: Verdict) -> str:
    if verdict.reasons:
        return "; ".join(verdict.reasons.values())
    return f"the interval leaves out 0, permutation p = {verdict.swap_p:.3f}"
