"""A table of labels: TSV, CSV or Parquet -> cells, as `octshard.tsv` has them."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from octshard import tsv
from octshard.dataset import parquet
from octshard.errors import UsageError
from octshard.storage import store

PARQUET = b"PAR1"  # the first bytes of such a file
SEPARATORS = "\t,;"  # a tie goes to the first


def read(url: str, setting: str) -> tsv.Table:
    """The table at `url`, whatever its format; UsageError if there is none. setting: names it in errors."""
    if not url:
        raise UsageError(f"{setting}: not set, want {setting}=PATH of a table, such as participants.tsv")
    source = f"{setting} {url}"
    try:
        data = store.read(url)
    except FileNotFoundError:
        raise UsageError(f"{source}: no such file, want a table with a row for each label") from None
    if data.startswith(PARQUET):
        return from_columns(parquet.parse_table(data, source), source)
    return parse(tsv.decode(data, source), source)


def parse(text: str, source: str) -> tsv.Table:
    """The cells of a TSV or CSV: its heading says by what they are separated."""
    heading = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=heading.count)
    return tsv.parse(text, source) if separator == "\t" else _parse_csv(text, separator, source)


def from_columns(columns: Mapping[str, Sequence[Any]], source: str) -> tsv.Table:
    """Columns of values as cells: whole numbers without a point, what is missing empty."""
    names = tuple(str(name).strip().lower() for name in columns)
    rows = zip(*(map(_text, values) for values in columns.values()), strict=True)
    return tsv.Table(source, names, tuple((i, _filled(cells)) for i, cells in enumerate(rows, start=1)))


def _parse_csv(text: str, separator: str, source: str) -> tsv.Table:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True
    )
    lines: list[tsv.Line] = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise UsageError(f"{source} line {reader.line_num}: {error}; want a comma-separated table") from None
    if not lines:
        return tsv.Table(source, (), ())
    columns = tuple(cell.lower() for cell in lines[0][1])
    for number, cells in lines[1:]:
        if len(cells) != len(columns):
            raise UsageError(
                f"{source} line {number}: {len(cells)} cells, want {len(columns)}, one for each column"
            )
    return tsv.Table(source, columns, tuple((number, _filled(cells)) for number, cells in lines[1:]))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode(errors="replace").strip()
    return str(value).strip()


def _filled(cells: Sequence[str]) -> list[str]:
    return ["" if cell.lower() in tsv.MISSING else cell for cell in cells]
