"""probe.html: the page of one probe, for people.

The page says which features win, by how much, how sure that is, and on how many participants; it names no
winner where `verdict` has a reason against it. Self-contained.
"""

from octshard.eval import method as how
from octshard.eval import score_tables, verdict_section
from octshard.eval.controls.shuffled import NAME as SHUFFLED
from octshard.eval.probe_result import ProbeResult
from octshard.eval.score_tables import DOTS, readable
from octshard.report.page import Content, Html, Section, page


def render(result: ProbeResult) -> str:
    """probe.html: the page of one probe."""
    test = next(count for count in result.counts if count.split == "test")
    lead = (
        f"Can {readable(result.label)} be read off frozen features? {test.participants} test participants, "
        f"{test.scans} scans{f', {len(result.classes)} classes' if result.classes else ''}."
    )
    of_classes = [
        Section("One class against the rest", (score_tables.per_class(result.classes, result.arms),)),
        Section(
            "Confusion",
            tuple(score_tables.confusion(result.classes, arm, result.config) for arm in result.arms),
        ),
    ]
    people = score_tables.people(result.counts, result.classes, result.dropped)
    sections = [
        Section("Verdict", verdict(result)),
        Section(
            "Scores on test participants",
            (
                scores(result),
                *score_tables.by_scan("features", {arm.title: arm.score for arm in result.arms}),
                score_plot(result),
                verdict_section.permutation(result.shuffled, result.kind),
                _differences(result),
            ),
        ),
        Section("Notes", tuple(map(readable, result.notes))),
        *(of_classes if result.classes else []),
        Section("Participants and scans", (people,)),
        Section("Choice of settings on val", score_tables.settings(result.arms, result.kind)),
        Section("How this was measured", (*method(result), _origin(result))),
    ]
    return page(f"Linear probe: {readable(result.label)}", lead, sections)


def verdict(result: ProbeResult) -> tuple[Content, ...]:
    """The verdict in one sentence, warnings, and the verdict on each control."""
    gains = {name: differences[result.metrics[0]] for name, differences in result.differences.items()}
    return verdict_section.parts(result.headline, result.comparisons, gains, result.provenance)


def score_plot(result: ProbeResult) -> Html:
    """The score that decides of every arm, as a dot with its interval."""
    return score_tables.score_chart(_rows(result), result.kind).html(DOTS)


def scores(result: ProbeResult) -> Html:
    """The table of every metric of every arm."""
    note = score_tables.draws_note(result.arms, result.kind)
    return score_tables.metric_table("features", _rows(result), note)


def method(result: ProbeResult) -> tuple[str, ...]:
    """How it was measured, and what the controls are."""
    arms = [arm.name for arm in result.arms[1:]]
    return how.paragraphs(result.config, result.kind, arms)


def _rows(result: ProbeResult) -> dict[str, score_tables.Metrics]:
    rows: dict[str, score_tables.Metrics] = {arm.title: arm.score.metrics for arm in result.arms}
    return {**rows, SHUFFLED: result.shuffled.metrics}


def _differences(result: ProbeResult) -> Html:
    rows = {f"pretrained − {name}": metrics for name, metrics in result.differences.items()}
    note = "Above 0: pretrained is higher (of an error or the Brier score: worse)."
    return score_tables.metric_table("difference", rows, note)


def _origin(result: ProbeResult) -> str:
    digest, seed = result.checkpoint_digest[:16], result.config["seed"]
    return f"{result.scored.text()}, sha256 {digest}; seed {seed}."
