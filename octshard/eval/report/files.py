"""The files of a report in its folder: the page, all numbers, predictions, and figures for a paper."""

import json
from collections.abc import Mapping, Sequence

from octshard.eval import json_text
from octshard.eval.pictures.request import Pictures
from octshard.eval.report import page, people
from octshard.eval.report.figures import Figures
from octshard.eval.report.result import ReportResult
from octshard.storage import store

JSON, PAGE, PREDICTIONS, FIGURES = "report.json", "report.html", "predictions.parquet", "figures"
WRITTEN = (JSON, PAGE, PREDICTIONS, store.join(FIGURES, "score.svg"))  # some of what will be written


def write_numbers(out: str, result: ReportResult) -> None:
    """Those without a picture, before anything is drawn: report.json has no figures yet, and still names the
    files of an earlier report.
    """
    people.write(store.join(out, PREDICTIONS), result)
    _write_json(out, result, {}, figure_names(out))


def write(out: str, result: ReportResult, drawn: Figures, pictures: Pictures) -> None:
    """All others, and report.json whole; figures that an earlier report left there, and this one does not
    have, go.
    """
    files = dict(pictures.files)
    for stem, figure in drawn.items():
        files |= figure.chart.files(stem)
    for name in set(figure_names(out)) - set(files):
        store.remove(store.join(out, FIGURES, name))
    for name, data in files.items():
        store.write(store.join(out, FIGURES, name), data)
    _write_json(out, result, drawn, sorted(files))
    store.write(store.join(out, PAGE), page.render(result, drawn, pictures.sections).encode())


def as_dict(result: ReportResult, drawn: Figures, files: Sequence[str]) -> Mapping[str, object]:
    """report.json: the result, and the numbers behind every figure. files: in the folder of figures."""
    numbers = {
        stem: {"columns": figure.chart.columns, "rows": figure.chart.rows} for stem, figure in drawn.items()
    }
    return {**result.as_dict(), "figures": numbers, "files": files}


def figure_names(out: str) -> list[str]:
    """The files in the folder of figures that report.json names; none without a readable one."""
    try:
        files = json.loads(store.read(store.join(out, JSON)))["files"]
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return []
    there = set(store.list_names(store.join(out, FIGURES)))
    return [name for name in files if name in there] if isinstance(files, list) else []


def _write_json(out: str, result: ReportResult, drawn: Figures, files: Sequence[str]) -> None:
    store.write(store.join(out, JSON), json_text.text_of(as_dict(result, drawn, files)).encode())
