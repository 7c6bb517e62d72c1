"""Two sections of the report page: shapes and spacings, intensities and sizes, as tables and plots."""

import math
from collections.abc import Callable, Sequence

from octshard.dataset.tables import SampleRow
from octshard.prep.report.statistics import Ranked, ShapeSummary, compression, group_counts, shape_summaries
from octshard.report import page
from octshard.report.histograms import histograms
from octshard.report.numbers import byte_unit, dimensions, integer
from octshard.report.page import Cell, Content, Html, table

AXES = ("D, B-scans", "H, depth", "W, A-scans")
STEPS = ("dz, between B-scans", "dy, depth", "dx, between A-scans")
Value = Callable[[SampleRow], float | None]


def shapes(rows: Sequence[SampleRow], devices: Sequence[str]) -> tuple[Content, ...]:
    """Per protocol the most frequent shapes and spacings; per axis their distribution by device."""
    values: dict[str, Value] = {
        f"{AXES[0]}, in": lambda row: row.frames,
        f"{AXES[1]}, in": lambda row: row.rows,
        f"{AXES[2]}, in": lambda row: row.cols,
        **{f"{name}, stored": _shape(i) for i, name in enumerate(AXES)},
        **{f"{name}, in, µm": _step("spacing_in", i) for i, name in enumerate(STEPS)},
        **{f"{name}, stored, µm": _step("spacing_out", i) for i, name in enumerate(STEPS)},
    }
    header = ["device", "protocol", "volumes", "shape in", "stored", "spacing in, µm", "stored, µm"]
    stored = [row for row in rows if row.status == "ok"]
    sources = group_counts(stored, lambda row: (row.spacing_source or "not said",))
    spacing_sources = (
        ", ".join(f"{group.names[0]} ({integer(group.volumes)})" for group in sources) or "no volume"
    )
    return (
        table(
            header,
            [_shape_cells(summary) for summary in shape_summaries(rows)],
            "The most frequent; D × H × W.",
            sortable=True,
            stacked=True,
        ),
        f"Where the in-plane spacing was found: {spacing_sources}. Bars count volumes, each device by its "
        "own fullest bin; assumed spacings are left out.",
        _plots(stored, devices, values),
    )


def sizes(rows: Sequence[SampleRow], devices: Sequence[str]) -> tuple[Content, ...]:
    """Bytes in and out, compression and grey levels of the stored volumes by device."""
    stored = [row for row in rows if row.status == "ok"]
    stored_size, stored_unit = byte_unit(max((row.nbytes or 0 for row in stored), default=0))
    source_size, source_unit = byte_unit(max((row.source_bytes or 0 for row in stored), default=0))
    values: dict[str, Value] = {
        f"source file, {source_unit}": lambda row: row.source_bytes and row.source_bytes / source_size,
        f"stored, {stored_unit}": lambda row: row.nbytes and row.nbytes / stored_size,
        "compression, voxel bytes / stored bytes": compression,
        "mean intensity, 0 to 255": lambda row: row.mean,
        "standard deviation": lambda row: row.std,
        "99th percentile": lambda row: row.p99,
    }
    return ("Intensities are over all stored voxels of a volume.", _plots(stored, devices, values))


def _plots(stored: Sequence[SampleRow], devices: Sequence[str], values: dict[str, Value]) -> Html:
    """One plot per value, every one with the same devices in the same order."""
    groups: dict[str, list[SampleRow]] = {device: [] for device in devices}
    for row in stored:
        groups.setdefault(row.device, []).append(row)
    plots = []
    for title, value in values.items():
        series = {
            device: [number for row in device_rows if (number := value(row)) is not None]
            for device, device_rows in groups.items()
        }
        plots.append(histograms(series, title).html())
    return page.columns(plots)


def _shape(axis: int) -> Value:
    return lambda row: row.shape_out and row.shape_out[axis]


def _step(name: str, axis: int) -> Value:
    """Micrometres along one axis; None where it is not known."""

    def value(row: SampleRow) -> float | None:
        um = 1000 * row.lengths(getattr(row, name))[axis]
        return None if math.isnan(um) else um

    return value


def _shape_cells(summary: ShapeSummary) -> list[Cell]:
    ranked = (summary.shapes_in, summary.shapes_out, summary.spacings_in, summary.spacings_out)
    names = (page.breakable(summary.device), page.breakable(summary.protocol))
    return [*names, summary.volumes, *(_most_frequent(values) for values in ranked)]


def _most_frequent(ranked: Ranked) -> str:
    """The most frequent value, and how many others there are."""
    if not ranked:
        return dimensions(None)
    others = f" and {len(ranked) - 1} more" if len(ranked) > 1 else ""
    return f"{dimensions(ranked[0][0])}{others}"
