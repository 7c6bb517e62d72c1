"""compare.html: the page of a comparison, and its figures for a paper. The verdict stands first."""

import math
from collections.abc import Mapping, Sequence

from octshard.eval import score_tables
from octshard.eval.comparison.result import CompareResult
from octshard.eval.comparison.scoring import Pair
from octshard.eval.verdict import MAX_P, METRIC, MIN_PARTICIPANTS, bracketed
from octshard.probes.scores import Estimate, primary
from octshard.probes.targets import CLASSES
from octshard.report.chart import Chart
from octshard.report.page import Cell, Content, Html, Section, banner, numeral, page, table
from octshard.report.plots import Band, interval_plot, share_plot

PAIRS = (
    "p is that of a permutation test in which two arms are swapped participant by participant; Holm's "
    "correction makes the whole family err as rarely as one.",
    f"An arm is called better only with at least {MIN_PARTICIPANTS} test participants in every class, an "
    f"interval of the difference that has a width and leaves out 0, Holm p of at most {MAX_P}, and labels "
    f"dealt at random among the test participants that reach its score with p of at most {MAX_P}. The "
    "winner is better than every other arm.",
)  # how two arms are told apart
METHOD = (
    "Every arm has the same head, the same people and the same resamples. An arm of several seeds has the "
    "mean of their scores; its interval holds the luck of the seed beside that of who was tested. An "
    "ensemble has the mean of the probabilities; that of all gives each arm the same weight.",
    "Brackets hold a 95 % interval of resamples of the test participants, drawn with replacement within "
    f"each class; differences are paired. {PAIRS[0]}",
    PAIRS[1],
    "Learning curves: the labels of some train people of each class, drawn several times, the same for all "
    "arms; val and test are whole.",
)


def render(result: CompareResult) -> str:
    """The page."""
    test = next(count for count in result.counts if count.split == "test")
    label = result.label.replace("_", " ")
    lead = f"Which features tell {label} best? {test.participants} test participants, {test.scans} scans."
    verdict = banner(result.headline, "good" if result.winner else "unsure")
    findings: tuple[Content, ...] = (verdict, *(pair.text for pair in result.pairs), *result.notes)
    drawn = charts(result)
    sections = [
        Section(
            "What was found",
            (*findings, drawn["score"].html("Dots with 95 % intervals; the dashed line is chance.")),
        ),
        Section(
            "Scores on test participants",
            (
                _scores(result),
                *score_tables.by_scan("arm", {arm.name: arm.score for arm in result.arms}),
                _seeds(result),
            ),
        ),
    ]
    if result.pairs:
        note = "Above 0: the first is higher. Dots with 95 % intervals, paired."
        parts = (drawn["differences"].html(note), pair_table(result.pairs, result.kind))
        sections.append(Section("Every pair", parts))
    if result.curves:
        sections.append(Section("By the share of labels", (drawn["curve"].html(), _curves(result))))
    sections.append(Section("How this was measured", (*METHOD, _origins(result))))
    return page(f"Comparison: {label}", lead, sections)


def charts(result: CompareResult) -> Mapping[str, Chart]:
    """Name of the file -> chart."""
    scores = {arm.name: arm.score.metrics[result.key] for arm in result.arms}
    chance = 0.5 if result.kind == CLASSES else 0.0
    drawn = {"score": interval_plot(_ends(scores), result.metric, chance)}
    if result.pairs:
        gains = {f"{pair.first} − {pair.second}": pair.difference[result.key] for pair in result.pairs}
        drawn["differences"] = interval_plot(_ends(gains), f"difference in {result.metric}", 0.0)
    if result.curves:
        lines, bands = {}, {}
        for name, points in result.curves.items():
            lines[name] = ([p.fraction for p in points], [p.score.value for p in points])
            bands[name] = Band([p.score.low for p in points], [p.score.high for p in points])
        drawn["curve"] = share_plot(lines, "train people with a label", result.metric, bands, chance)
    return drawn


def _ends(estimates: Mapping[str, Estimate]) -> dict[str, tuple[float, float, float]]:
    return {name: (e.value, e.low, e.high) for name, e in estimates.items()}


def _scores(result: CompareResult) -> Content:
    rows = {arm.name: arm.score.metrics for arm in result.arms}
    return score_tables.metric_table("arm", rows, "")


def _seeds(result: CompareResult) -> Content:
    rows: list[list[Cell]] = [
        [
            arm.name,
            ", ".join(f"{value:.3f}" for value in arm.of_seeds),
            arm.spread if math.isfinite(arm.spread) else None,
        ]
        for arm in result.arms
    ]
    note = "An ensemble has one value, that of the averaged probabilities."
    return table(["arm", f"{result.metric} of each seed", "sd over seeds"], rows, note, stacked=True)


def pair_table(pairs: Sequence[Pair], kind: str) -> Html:
    """The first of each pair less the second in the score that decides, how sure, and the verdict."""
    rows: list[list[Cell]] = [
        [
            f"{pair.first} − {pair.second}",
            numeral(bracketed(pair.difference[primary(kind)])),
            pair.p,
            pair.holm_p,
            pair.verdict.verdict,
        ]
        for pair in pairs
    ]
    headers = ["difference", METRIC[kind], "p", "Holm p", "verdict on the first"]
    return table(headers, rows, f"A family of {len(rows)} for Holm's correction.", stacked=True)


def _curves(result: CompareResult) -> Content:
    rows: list[list[Cell]] = [
        [name, f"{100 * p.fraction:g} %", p.people, p.draws, p.reason or numeral(bracketed(p.score))]
        for name, points in result.curves.items()
        for p in points
    ]
    headers = ["arm", "labels", "train people", "heads", result.metric]
    return table(headers, rows, "Heads: draws times seeds.", stacked=True)


def _origins(result: CompareResult) -> str:
    parts = []
    for name, infos in result.origins.items():
        texts = [f"{info.name} ({info.checkpoint})" if info.checkpoint else info.name for info in infos]
        parts.append(f"{name}: {', '.join(texts)}")
    return "; ".join(parts) + "."
