"""report.html: the verdict on each checkpoint first, then heads and arms, figures, pictures, and how."""

from collections.abc import Iterator, Sequence

from octshard.eval import method, score_tables, verdict_section
from octshard.eval.comparison.report import PAIRS, pair_table
from octshard.eval.report import figures, robustness
from octshard.eval.report.figures import Figures
from octshard.eval.report.result import ReportResult
from octshard.eval.score_tables import readable
from octshard.eval.verdict import METRIC, two_lines
from octshard.probes import build
from octshard.probes.labels import SPLITS
from octshard.report.page import (
    Cell,
    Content,
    Html,
    Section,
    banner,
    breakable,
    columns,
    heading,
    page,
    table,
)

PREDICTED = "Every row of test, by every head and arm, stands in predictions.parquet."


def render(result: ReportResult, drawn: Figures, pictures: Sequence[Section]) -> str:
    """The whole page. pictures: sections that stand behind the figures."""
    test = result.counts[SPLITS.index("test")]
    checkpoints = "one checkpoint" if len(result.scored) == 1 else f"{len(result.scored)} checkpoints"
    heads = "one head" if len(result.heads) == 1 else f"{len(result.heads)} heads"
    classes = f", {len(result.classes)} classes" if result.classes else ""
    lead = (
        f"Can {readable(result.label)} be read off frozen features? {checkpoints.capitalize()}, {heads}, "
        f"{test.participants} test participants, {test.scans} scans{classes}."
    )
    sections = [
        Section("Verdict", tuple(_verdict(result))),
        Section("Heads and arms", (_heads(result), *_of(drawn, figures.SCORE))),
        Section("Against every control", tuple(_controls(result))),
        *_figures(result, drawn),
        *pictures,
        *([Section("Robustness", tuple(robustness.parts(result.robustness)))] if result.robustness else []),
        Section("All scores", tuple(_scores(result))),
        Section("Notes", tuple(map(readable, result.notes))),
        Section(
            "Participants and scans", (score_tables.people(result.counts, result.classes, result.dropped),)
        ),
        Section("Choice of settings on val", tuple(_settings(result))),
        Section("How this was measured", (*_method(result), PREDICTED, *result.origins())),
    ]
    return page(f"Report: {readable(result.label)}", lead, sections)


def _verdict(result: ReportResult) -> Iterator[Content]:
    """A sentence for each checkpoint, the best of them, and shortcuts."""
    for verdict in result.verdicts:
        warnings = verdict_section.warnings_of(result.provenance[verdict.name])
        yield banner(verdict.sentence, verdict_section.tone(verdict.comparisons, warnings))
        several = result.robustness.get(verdict.name, ())
        for sentence in (*warnings, *robustness.warnings(several, verdict.name)):
            yield banner(sentence, "bad")
    if result.best:
        yield f"Of the checkpoints by the {result.first.head} head: {result.best}"


def _heads(result: ReportResult) -> Html:
    """Rows are arms, columns are heads."""
    rows: list[list[Cell]] = []
    by_name = [head.rows() for head in result.heads]
    for name in by_name[0]:
        cells = [two_lines(metrics[name][result.metric]) for metrics in by_name]
        rows.append([breakable(name), *cells])
    note = f"{METRIC[result.kind]} on test, with 95 % intervals. The first head decides."
    if any(set(head.of_arm.values()) - {head.head} for head in result.heads):
        note += (
            f" Where there are no tokens, {' and '.join(build.TOKENS)} is the {build.WITHOUT_TOKENS} head."
        )
    return table(["features", *(head.head for head in result.heads)], rows, note, stacked=True)


def _controls(result: ReportResult) -> Iterator[Content]:
    """Each checkpoint against its controls, then against the other checkpoints."""
    for verdict in result.verdicts:
        if len(result.verdicts) > 1:
            yield heading(verdict.name)
        gains = {name: metrics[result.metric] for name, metrics in verdict.differences.items()}
        yield verdict_section.against(verdict.comparisons, gains, verdict.name)
        sentences = result.provenance[verdict.name]
        yield from (text for text in sentences if text not in verdict_section.warnings_of(sentences))
        yield verdict_section.permutation(verdict.shuffled, result.kind)
    if result.pairs:
        yield heading("Checkpoints against each other")
        yield from (pair.text for pair in result.pairs)
        yield pair_table(result.pairs, result.kind)


def _figures(result: ReportResult, drawn: Figures) -> Iterator[Section]:
    """Sections of what the first head says of test, and of features in a plane."""
    by = f"By the {result.first.head} head{{}}."
    if charts := _of(drawn, figures.ROC):
        banded = "; bands of the checkpoints are 95 % of resamples of the people"
        if left_out := [arm.title for arm in result.first.arms[figures.LINES :]]:
            banded += f". Not drawn: {', '.join(left_out)}"
        yield Section("ROC curves", (by.format(banded), columns(charts)))
    if charts := _of(drawn, figures.CALIBRATION):
        yield Section("Calibration", (by.format(""), *charts))
    if charts := _of(drawn, figures.NUMBER):
        yield Section("Predicted and true", (by.format(""), columns(charts)))
    if result.classes:
        trained = [arm for arm in result.first.arms if arm.name in result.scored]
        grids = [score_tables.confusion(result.classes, arm, result.config) for arm in trained]
        others = "; those of controls stand in report.json"
        yield Section("Confusion", (by.format(others), columns(grids)))
    planes: list[Content] = []
    for name in dict.fromkeys(figure.heading for figure in drawn.values() if figure.kind == figures.PLANE):
        planes += [heading(name), columns(_of(drawn, figures.PLANE, name))]
    if planes:
        yield Section("Features in a plane", tuple(planes))


def _of(drawn: Figures, kind: str, name: str = "") -> list[Html]:
    return [
        figure.chart.html(figure.caption or figure.heading)
        for figure in drawn.values()
        if figure.kind == kind and name in ("", figure.heading)
    ]


def _scores(result: ReportResult) -> Iterator[Content]:
    for head in result.heads:
        yield heading(f"{head.head} head")
        note = score_tables.draws_note(head.arms, result.kind)
        yield score_tables.metric_table("features", head.rows(), note)
        yield from score_tables.by_scan("features", {arm.title: arm.score for arm in head.arms})
    if result.classes:
        yield heading("One class against the rest")
        yield score_tables.per_class(result.classes, result.first.arms)


def _settings(result: ReportResult) -> Iterator[Content]:
    for head in result.heads:
        yield heading(f"{head.head} head")
        yield from score_tables.settings(head.arms, result.kind)


def _method(result: ReportResult) -> tuple[str, ...]:
    trained = set(result.scored)
    controls = [arm.name for arm in result.first.arms if arm.name not in trained]
    ways = method.of_heads(result.config, result.kind, [head.head for head in result.heads], controls)
    return (*ways, f"Checkpoints against each other: {' '.join(PAIRS)}") if result.pairs else ways
