"""Stems of files: whatever a class or a checkpoint is called, each figure has a file of its own."""

from octshard.eval.report.figures import ReportFigure, stem_of
from octshard.report.chart import Chart, blank

CHART: Chart = blank(10, 10, "a", "b")


def stems(*names: str) -> list[str]:
    by_stem: dict[str, ReportFigure] = {}
    for name in names:
        figure = ReportFigure("roc", CHART, "", name)
        by_stem[stem_of(figure, by_stem)] = figure
    return list(by_stem)


def test_names_that_are_equal_in_letters_and_digits_get_a_number() -> None:
    assert stems("a b", "a/b", "a-b", "../a", "α", "β") == [
        "roc-a-b",
        "roc-a-b-2",
        "roc-a-b-3",
        "roc-..-a",
        "roc",
        "roc-2",
    ]


def test_long_names_are_cut() -> None:
    short, second = stems("x" * 300, "x" * 400)
    assert len(short) == 100
    assert second == f"{short}-2"
