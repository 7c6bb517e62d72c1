"""A table of labels: TSV, CSV, a workbook or Parquet -> cells, as `octshard.tsv` has them."""

from collections.abc import Mapping, Sequence
from typing import Any

from octshard import table_file, tsv
from octshard.dataset import parquet
from octshard.delimited import filled
from octshard.errors import UsageError
from octshard.storage import store

PARQUET = b"PAR1"  # the first bytes of such a file


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
    return table_file.parse(data, source)


def from_columns(columns: Mapping[str, Sequence[Any]], source: str) -> tsv.Table:
    """Columns of values as cells: whole numbers without a point, what is missing empty."""
    names = tuple(str(name).strip().lower() for name in columns)
    rows = zip(*(map(_text, values) for values in columns.values()), strict=True)
    return tsv.Table(source, names, tuple((i, filled(cells)) for i, cells in enumerate(rows, start=1)))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode(errors="replace").strip()
    return str(value).strip()
