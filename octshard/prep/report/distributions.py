"""Two boxes of the report page: shapes and spacings, intensities and sizes, as tables and plots."""

from collections.abc import Callable, Sequence

from octshard.dataset.tables import SampleRow
from octshard.prep.report.statistics import Ranked, ShapeSummary, compression, forms, group_counts
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
    heads = ["device", "protocol", "volumes", "shape in", "stored", "spacing in, µm", "stored, µm"]
    stored = [row for row in rows if row.status == "ok"]
    sources = group_counts(stored, lambda row: (row.spacing_source or "not said",))
    said = ", ".join(f"{one.names[0]} ({integer(one.volumes)})" for one in sources) or "no volume"
    return (
        table(heads, [_form(one) for one in forms(rows)], "The most frequent; D × H × W.", sortable=True),
        f"Where the in-plane spacing was found: {said}. Bars count volumes, each device by its own fullest "
        "bin; assumed spacings are left out.",
        _plots(stored, devices, values),
    )


def sizes(rows: Sequence[SampleRow], devices: Sequence[str]) -> tuple[Content, ...]:
    """Bytes in and out, compression and grey levels of the stored volumes by device."""
    stored = [row for row in rows if row.status == "ok"]
    out, out_unit = byte_unit(max((row.nbytes or 0 for row in stored), default=0))
    come, come_unit = byte_unit(max((row.source_bytes or 0 for row in stored), default=0))
    values: dict[str, Value] = {
        f"source file, {come_unit}": lambda row: row.source_bytes and row.source_bytes / come,
        f"stored, {out_unit}": lambda row: row.nbytes and row.nbytes / out,
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
    drawn = []
    for title, value in values.items():
        series = {
            device: [number for row in those if (number := value(row)) is not None]
            for device, those in groups.items()
        }
        drawn.append(histograms(series, title))
    return page.columns(drawn)


def _shape(axis: int) -> Value:
    return lambda row: row.shape_out and row.shape_out[axis]


def _step(name: str, axis: int) -> Value:
    """Micrometres along one axis; nothing where the spacing was assumed."""

    def value(row: SampleRow) -> float | None:
        spacing_mm = getattr(row, name)
        return None if row.assumed_spacing or spacing_mm is None else spacing_mm[axis] * 1000

    return value


def _form(one: ShapeSummary) -> list[Cell]:
    ranked = (one.shapes_in, one.shapes_out, one.spacings_in, one.spacings_out)
    names = (page.breakable(one.device), page.breakable(one.protocol))
    return [*names, one.volumes, *(_most(values) for values in ranked)]


def _most(ranked: Ranked) -> str:
    """The most frequent value, and how many others there are."""
    if not ranked:
        return dimensions(None)
    others = f" and {len(ranked) - 1} more" if len(ranked) > 1 else ""
    return f"{dimensions(ranked[0][0])}{others}"
