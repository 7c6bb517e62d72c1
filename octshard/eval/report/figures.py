"""Figures of a report by the stem of their files: scores, ROC curves, calibration, features in a plane."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from octshard.eval import score_tables
from octshard.eval.controls.provenance import DEVICE, SITE
from octshard.eval.figures import calibration, projection, roc
from octshard.eval.pictures import truth
from octshard.eval.report.result import HeadResult, ReportResult
from octshard.eval.report.scored_study import ScoredStudy
from octshard.eval.score_tables import DOTS, readable
from octshard.probes.scores import Predictions, Resamples
from octshard.probes.targets import NUMBERS
from octshard.report.chart import COLOURS, Chart
from octshard.report.plots import scatter_plot
from octshard.rng import rng_for

SCORE, ROC, CALIBRATION, NUMBER, PLANE = "score", "roc", "calibration", "predicted", "plane"  # kinds
LINES = len(COLOURS)  # arms of a chart, at most: a colour for each
POINTS = 1000  # scans of a projection, at most
LONGEST = 100  # letters of a stem, at most
METHODS = {"pca": "principal components", "tsne": "t-SNE, in which distances of far points mean nothing"}


@dataclass(frozen=True, eq=False)
class ReportFigure:
    """kind: what it shows, a constant above; heading: of which class or arm, where there are several; detail:
    what else tells it from others.
    """

    kind: str
    chart: Chart
    caption: str
    heading: str = ""
    detail: str = ""


Figures = Mapping[str, ReportFigure]  # by the stem of their files


def draw(scored: ScoredStudy) -> Figures:
    """All of the first head, and of the features of every trained arm."""
    result, resamples = scored.result, scored.resamples
    rows = result.first.rows()
    drawn = [ReportFigure(SCORE, score_tables.score_chart(rows, result.kind), DOTS)]
    if result.kind == NUMBERS:
        drawn += _numbers(result.first)
    else:
        drawn += [*_roc_curves(result, resamples), _calibration(result, resamples)]
    drawn += projections(scored)
    by_stem: dict[str, ReportFigure] = {}
    for figure in drawn:
        by_stem[stem_of(figure, by_stem)] = figure
    return by_stem


def projections(scored: ScoredStudy) -> Iterator[ReportFigure]:
    """Labelled scans in a plane, coloured by label, device and site, where these have two values at least."""
    cfg, known = scored.study.cfg, scored.encoded.provenance.values
    group_of = truth.of(scored.study.labelled).group_of
    places = np.array(sorted(group_of))
    if len(places) > POINTS:
        places = np.sort(rng_for(cfg.seed, "projection").permutation(places)[:POINTS])
    if len(places) < projection.LEAST:
        return
    groups = {cfg.label: [group_of[place] for place in places]}
    groups |= {name: [known[name][place] or "unknown" for place in places] for name in (DEVICE, SITE)}
    for arm in scored.trained():
        for method in METHODS:
            xy_N2 = projection.project(arm.draws[0][places], method, cfg.seed)
            for name, several in groups.items():
                if len(set(several)) > 1:
                    chart = projection.projection_chart(xy_N2, several, method, LINES - 1)
                    caption = f"{METHODS[method]}; colour: {readable(name)}; {len(places)} scans"
                    yield ReportFigure(PLANE, chart, caption, arm.name, f"{method} {name}")


def _numbers(head: HeadResult) -> Iterator[ReportFigure]:
    """What is said against what is true, of each arm."""
    for arm, run in _pooled(head).items():
        points = (run.y_P.tolist(), run.p_PC[:, 0].tolist())
        yield ReportFigure(NUMBER, scatter_plot({arm: points}, "true", "predicted"), "", arm)


def _roc_curves(result: ReportResult, resamples: Resamples) -> Iterator[ReportFigure]:
    """A chart for each class against the rest; one alone for two classes."""
    scored = result.first.arms[0].score.scored
    for name in scored[-1:] if len(result.classes) == 2 else scored:
        place, curves = result.classes.index(name), {}
        for arm, runs in _shown(result.first).items():
            curves[arm] = roc.roc_curve(
                runs[0].y_P == place,
                np.stack([run.p_PC[:, place] for run in runs]),
                resamples.weights(runs[0]),
            )
        caption = f"{readable(name)} against all others"
        yield ReportFigure(ROC, roc.roc_chart(curves, result.scored), caption, name)


def _calibration(result: ReportResult, resamples: Resamples) -> ReportFigure:
    """Of the trained arms."""
    curves = {}
    for arm in list(result.scored)[:LINES]:
        runs = result.first.predictions[arm]
        weight_RP = np.tile(resamples.weights(runs[0]), len(runs))
        curves[arm] = calibration.calibration_curve(_pooled_runs(runs), weight_RP)
    caption = "Of the people given that probability, the share that is right; on the dashed line they agree."
    return ReportFigure(CALIBRATION, calibration.calibration_chart(curves), caption)


def _shown(head: HeadResult) -> dict[str, tuple[Predictions, ...]]:
    """The arms that have a line in a chart: trained ones first, as many as there are colours."""
    return dict(list(head.predictions.items())[:LINES])


def _pooled(head: HeadResult) -> dict[str, Predictions]:
    return {arm: _pooled_runs(runs) for arm, runs in _shown(head).items()}


def _pooled_runs(runs: tuple[Predictions, ...]) -> Predictions:
    """The rows of all runs, one behind another."""
    first, count = runs[0], len(runs)
    return dataclasses.replace(
        first,
        participants=first.participants * count,
        units=first.units * count,
        p_PC=np.concatenate([run.p_PC for run in runs]),
        y_P=np.tile(first.y_P, count),
    )


def stem_of(figure: ReportFigure, others: Figures) -> str:
    """Letters, digits and lines; of two that are equal the second one gets a number."""
    words = f"{figure.kind} {figure.heading} {figure.detail}"
    name = stem = re.sub(r"[^A-Za-z0-9_.]+", "-", words)[:LONGEST].strip("-.")
    while stem in others:
        number = int(stem.removeprefix(name).lstrip("-") or 1) + 1
        stem = f"{name}-{number}"
    return stem
