"""predictions.parquet: what every head said of every row of test, so that others can score it."""

from typing import Any

from octshard.dataset import tables
from octshard.eval.report.result import ReportResult
from octshard.probes.targets import NUMBERS

COLUMNS = ("head", "arm", "draw", "participant", "unit", "true")
OF_CLASS, NUMBER = "p_", "predicted"  # columns: a probability for each class, or one number


def write(url: str, result: ReportResult) -> None:
    """A row for each head, arm, draw (seed, or random encoder) and person, eye or scan."""
    tables.write_table(url, columns(result))


def columns(result: ReportResult) -> dict[str, list[Any]]:
    """Name -> values. unit: what the label is about."""
    is_number = result.kind == NUMBERS
    said = [NUMBER] if is_number else [f"{OF_CLASS}{name}" for name in result.classes]
    table: dict[str, list[Any]] = {name: [] for name in (*COLUMNS, *said)}
    for head in result.heads:
        for arm, runs in head.predictions.items():
            for draw, run in enumerate(runs):
                count = len(run.y_P)
                true = run.y_P.tolist() if is_number else [result.classes[y] for y in run.y_P]
                values = (
                    [head.head] * count,
                    [arm] * count,
                    [draw] * count,
                    run.participants,
                    run.units or run.participants,
                    true,
                    *run.p_PC.T.tolist(),
                )
                for column, more in zip(table.values(), values, strict=True):
                    column += more
    return table
