"""probe.html: the page of one probe, for people.

The page says which features win, by how much, how sure that is, and on how many participants; it names no
winner where `verdict` has a reason against it. Self-contained.
"""

import math
from collections.abc import Mapping
from typing import Any

from octshard.eval import method as how
from octshard.eval import verdict_section
from octshard.eval.controls.shuffled import NAME as SHUFFLED
from octshard.eval.probe_result import TITLES, Arm, ProbeResult
from octshard.eval.verdict import CHANCE, METRIC, bracketed, two_lines
from octshard.probes.head import metric
from octshard.probes.scores import Estimate
from octshard.report.page import Cell, Content, Html, Section, breakable, grid, numeral, page, table
from octshard.report.plots import interval_plot, line_plot


def render(result: ProbeResult) -> str:
    """probe.html: the page of one probe."""
    test = next(count for count in result.counts if count.split == "test")
    lead = (
        f"Can {readable(result.label)} be read off frozen features? {test.participants} test participants, "
        f"{test.scans} scans{f', {len(result.classes)} classes' if result.classes else ''}."
    )
    of_classes = [
        Section("One class against the rest", (_per_class(result),)),
        Section("Confusion", tuple(_confusion(result, arm) for arm in result.arms)),
    ]
    sections = [
        Section("Verdict", verdict(result)),
        Section(
            "Scores on test participants",
            (scores(result), score_plot(result), _permutation(result), _differences(result)),
        ),
        Section("Notes", tuple(map(readable, result.notes))),
        *(of_classes if result.classes else []),
        Section("Participants and scans", (_counts(result),)),
        Section("Choice of settings on val", _trials(result)),
        Section("How this was measured", (*method(result), _origin(result))),
    ]
    return page(f"Linear probe: {readable(result.label)}", lead, sections)


def verdict(result: ProbeResult) -> tuple[Content, ...]:
    """The verdict in one sentence, warnings, and the verdict on each control."""
    gains = {name: differences[result.metrics[0]] for name, differences in result.differences.items()}
    return verdict_section.parts(result.headline, result.comparisons, gains, result.provenance)


def score_plot(result: ProbeResult) -> Html:
    """The score that decides of every arm, as a dot with its interval."""
    first, title = result.metrics[0], METRIC[result.kind]
    estimates = {arm.title: arm.score.metrics[first] for arm in result.arms}
    estimates[SHUFFLED] = result.shuffled.metrics[first]
    points = {name: (estimate.value, estimate.low, estimate.high) for name, estimate in estimates.items()}
    chart = interval_plot(points, title, CHANCE[title])
    return chart.html("Dots with 95 % intervals; the dashed line is chance.")


def scores(result: ProbeResult) -> Html:
    """The table of every metric of every arm."""
    metrics_by_name = {arm.title: arm.score.metrics for arm in result.arms}
    metrics_by_name[SHUFFLED] = result.shuffled.metrics
    rows = [_metrics(name, metrics) for name, metrics in metrics_by_name.items()]
    titles = [TITLES[name] for name in result.metrics]
    return table(["features", *titles], rows, _draws_note(result), stacked=True)


def readable(name: str) -> str:
    """A class or column name with spaces, so that it may wrap."""
    return name.replace("_", " ")


def _metrics(name: str, metrics: Mapping[str, Estimate]) -> list[Cell]:
    return [breakable(name), *map(two_lines, metrics.values())]


def _draws_note(result: ProbeResult) -> str:
    """The score that decides, of every draw of the arms that have several."""
    several = [
        f"{arm.name}: {METRIC[result.kind]} of its draws "
        f"{', '.join(f'{value:.3f}' for value in arm.score.of_runs)}."
        for arm in result.arms
        if len(arm.score.of_runs) > 1
    ]
    return " ".join(several)


def _permutation(result: ProbeResult) -> str:
    control = result.shuffled
    return (
        f"With labels dealt at random the same features give {METRIC[result.kind]} "
        f"{bracketed(control.metrics[result.metrics[0]])}; {control.reached} of {control.deals} deals "
        f"reached the value of the true labels (permutation p = {control.p_value:.3f})."
    )


def _differences(result: ProbeResult) -> Html:
    rows = [_metrics(f"pretrained − {name}", metrics) for name, metrics in result.differences.items()]
    note = "Above 0: pretrained is higher (of an error or the Brier score: worse)."
    titles = [TITLES[name] for name in result.metrics]
    return table(["difference", *titles], rows, note, stacked=True)


def _per_class(result: ProbeResult) -> Html:
    rows: list[list[Cell]] = []
    for name in result.classes:
        estimates = [arm.score.auroc_of.get(name) for arm in result.arms]
        rows.append([readable(name), *(two_lines(e) if e else numeral("–") for e in estimates)])
    note = "AUROC of the class against all others; a dash where no test participant has it."
    return table(["class", *(arm.name for arm in result.arms)], rows, note, stacked=True)


def _confusion(result: ProbeResult, arm: Arm) -> Html:
    rows = [f"{i} {readable(name)}" for i, name in enumerate(result.classes, start=1)]
    columns = [str(i) for i in range(1, len(rows) + 1)]
    caption = (
        f"{arm.name}: test participants by true class (row, by which it is shaded) and most probable class."
    )
    return grid(rows, columns, arm.score.confusion, caption)


def _counts(result: ProbeResult) -> Html:
    rows: list[list[Cell]] = [
        ["scans", *(count.scans for count in result.counts)],
        ["participants", *(count.participants for count in result.counts)],
    ]
    for name in result.classes:
        rows.append([f"participants: {readable(name)}", *(n.of_class[name] for n in result.counts)])
    dropped = "; ".join(f"{why}: {n}" for why, n in result.dropped.items())
    headers = ["labelled", *(count.split for count in result.counts)]
    return table(headers, rows, f"Scans left out: {dropped}.")


def _trials(result: ProbeResult) -> tuple[Html, ...]:
    """A line for each arm whose setting is C; a row for each of the others."""
    lines = {
        f"{arm.name} (C = {arm.choice['C']:g})": (
            [math.log10(trial.setting["C"]) for trial in arm.trials],
            [trial.score for trial in arm.trials],
        )
        for arm in result.arms
        if list(arm.choice) == ["C"]
    }
    rows = [_choice(arm) for arm in result.arms if list(arm.choice) != ["C"]]
    label = "log10 C (to the right: weaker regularisation)"
    plots = [line_plot(lines, label, f"{metric(result.kind)} on val").html()] if lines else []
    note = f"{metric(result.kind)} on val; all settings tried stand in probe.json."
    tables = (
        [table(["features", "chosen", "its score", "lowest of all", "settings"], rows, note)] if rows else []
    )
    return (*plots, *tables)


def _choice(arm: Arm) -> list[Cell]:
    values = [trial.score for trial in arm.trials]
    chosen = ", ".join(f"{key} {_setting(value)}" for key, value in arm.choice.items())
    scores = (numeral(f"{value:.3f}") for value in (max(values), min(values)))
    return [arm.name, readable(chosen), *scores, len(values)]


def _setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def method(result: ProbeResult) -> tuple[str, ...]:
    """How it was measured, and what the controls are."""
    arms = [arm.name for arm in result.arms[1:]]
    return how.paragraphs(result.config, result.kind, arms)


def _origin(result: ProbeResult) -> str:
    digest, seed = result.checkpoint_digest[:16], result.config["seed"]
    return f"{result.scored.text()}, sha256 {digest}; seed {seed}."
