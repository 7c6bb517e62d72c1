"""Tables and plots of scored arms, which pages of an evaluation share: scores, classes, people, settings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from octshard.eval.probe_result import TITLES, Arm
from octshard.eval.verdict import CHANCE, METRIC, two_lines
from octshard.probes import label_join, scores
from octshard.probes.head import metric
from octshard.probes.labels import SplitCounts
from octshard.probes.scores import Estimate, Score
from octshard.report.chart import Chart
from octshard.report.page import Cell, Html, breakable, grid, heading, numeral, table
from octshard.report.plots import interval_plot, line_plot

Metrics = Mapping[str, Estimate]
DOTS = "Dots with 95 % intervals; the dashed line is chance."


def metric_table(first: str, rows: Mapping[str, Metrics], note: str) -> Html:
    """Every metric of every row. first: what the rows are."""
    titles = [TITLES[name] for name in next(iter(rows.values()), {})]
    cells: list[list[Cell]] = [
        [breakable(name), *map(two_lines, metrics.values())] for name, metrics in rows.items()
    ]
    return table([first, *titles], cells, note, stacked=True)


def by_scan(first: str, rows: Mapping[str, Score]) -> tuple[Html, ...]:
    """The same metrics where every scan counts once; nothing where that is what rows are already."""
    scored = {name: score for name, score in rows.items() if score.by_scan}
    if not scored:
        return ()
    scans = next(iter(scored.values())).scans
    note = (
        f"Each of the {scans} scans counts once, so that who has more counts more; intervals are "
        "over people all the same, who bring all of theirs."
    )
    rows_by_scan = {name: score.by_scan for name, score in scored.items()}
    return (heading("By scan"), metric_table(first, rows_by_scan, note))


def draws_note(arms: Sequence[Arm], kind: str) -> str:
    """The score that decides, of every draw of the arms that have several."""
    several = [
        f"{arm.name}: {METRIC[kind]} of its draws {', '.join(f'{value:.3f}' for value in arm.score.of_runs)}."
        for arm in arms
        if len(arm.score.of_runs) > 1
    ]
    return " ".join(several)


def score_chart(rows: Mapping[str, Metrics], kind: str) -> Chart:
    """The score that decides of every row, as a dot with its interval."""
    estimates = {name: metrics[scores.primary(kind)] for name, metrics in rows.items()}
    points = {name: (estimate.value, estimate.low, estimate.high) for name, estimate in estimates.items()}
    return interval_plot(points, METRIC[kind], CHANCE[METRIC[kind]])


def per_class(classes: Sequence[str], arms: Sequence[Arm]) -> Html:
    """AUROC of each class against the rest."""
    rows: list[list[Cell]] = []
    for name in classes:
        estimates = [arm.score.auroc_of.get(name) for arm in arms]
        rows.append([readable(name), *(two_lines(e) if e else numeral("–") for e in estimates)])
    note = "AUROC of the class against all others; a dash where no test participant has it."
    return table(["class", *(arm.name for arm in arms)], rows, note, stacked=True)


def confusion(classes: Sequence[str], arm: Arm, config: Mapping[str, Any]) -> Html:
    """True class by most probable class. config: of the probe."""
    rows = [f"{i} {readable(name)}" for i, name in enumerate(classes, start=1)]
    columns = [str(i) for i in range(1, len(rows) + 1)]
    draws, rows_word = len(arm.score.of_runs), label_join.rows_word(config.get("join", ""))
    caption = (
        f"{arm.name}: test {rows_word} by true class (row, by which it is shaded) and most probable class"
        f"{f', summed over {draws} draws' if draws > 1 else ''}."
    )
    return grid(rows, columns, arm.score.confusion, caption)


def people(counts: Sequence[SplitCounts], classes: Sequence[str], dropped: Mapping[str, int]) -> Html:
    """Scans and participants of each split, and what is left out."""
    rows: list[list[Cell]] = [
        ["scans", *(count.scans for count in counts)],
        ["participants", *(count.participants for count in counts)],
    ]
    for name in classes:
        rows.append([f"participants: {readable(name)}", *(n.of_class[name] for n in counts)])
    left_out = "; ".join(f"{why}: {n}" for why, n in dropped.items())
    headers = ["labelled", *(count.split for count in counts)]
    return table(headers, rows, f"Scans left out: {left_out}.")


def settings(arms: Sequence[Arm], kind: str) -> tuple[Html, ...]:
    """What val chose: a line for each arm whose setting is C; a row for each of the others."""
    lines = {
        f"{arm.name} (C = {arm.choice['C']:g})": (
            [math.log10(trial.setting["C"]) for trial in arm.trials],
            [trial.score for trial in arm.trials],
        )
        for arm in arms
        if list(arm.choice) == ["C"]
    }
    rows = [_choice(arm) for arm in arms if list(arm.choice) != ["C"]]
    label = "log10 C (to the right: weaker regularisation)"
    plots = [line_plot(lines, label, f"{metric(kind)} on val").html()] if lines else []
    note = f"{metric(kind)} on val; all settings tried stand in the JSON."
    headers = ["features", "chosen", "its score", "lowest of all", "settings"]
    return (*plots, *([table(headers, rows, note, stacked=True)] if rows else []))


def readable(name: str) -> str:
    """A class or column name with spaces, so that it may wrap."""
    return name.replace("_", " ")


def _choice(arm: Arm) -> list[Cell]:
    values = [trial.score for trial in arm.trials]
    chosen = ", ".join(f"{key} {_setting(value)}" for key, value in arm.choice.items())
    ends = (numeral(f"{value:.3f}") for value in (max(values), min(values)))
    return [arm.name, readable(chosen), *ends, len(values)]


def _setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
