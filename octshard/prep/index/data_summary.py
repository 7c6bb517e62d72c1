"""The tables that a public data set lists its files in: data_summary*.csv, a row for each file."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from octshard import delimited, tsv
from octshard.errors import UsageError
from octshard.prep.index import layout
from octshard.prep.index.layout import Layout
from octshard.prep.release.entry import Entry
from octshard.storage import store

TABLE, TABLE_END = "data_summary", ".csv"  # as they are called
NOTES = "readme"  # the folder of tables, beside those of scans
FILE = "filename"  # their column of files
Rows = Mapping[tuple[str, str], Mapping[str, str]]  # (disease, file name) -> cells


class SummaryTable(NamedTuple):
    """The bytes of one. place: of its folder below that of the data set."""

    url: str
    place: str
    data: bytes


def folders_of(entries: Iterable[Entry]) -> list[str]:
    """All folders above these scans, in which such tables may lie; the first is the data set's own."""
    above = {""}
    for entry in entries:
        parts = entry.path.split("/")[:-1]
        above.update("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    return sorted(above)


def find(folder: str, places: Sequence[str]) -> list[SummaryTable]:
    """Those in these folders, and in a ReadMe beside them."""
    tables = []
    for place in places:
        home = store.join(folder, place) if place else folder
        names = store.list_names(home)
        notes = [f"{name}/" for name in names if name.lower() == NOTES]
        inner = [note + name for note in notes for name in store.list_names(store.join(home, note[:-1]))]
        for name in [*names, *inner]:
            if _stem(name).startswith(TABLE) and _stem(name).endswith(TABLE_END):
                url = store.join(home, name)
                tables.append(SummaryTable(url, place, store.read(url)))
    return tables


def rows(tables: Iterable[SummaryTable], rule: Layout) -> Rows:
    """The rows of all; UsageError for a table without files, and for two rows of one file."""
    by_file: dict[tuple[str, str], Mapping[str, str]] = {}
    for table in tables:
        named = _stem(table.url).removeprefix(TABLE).removesuffix(TABLE_END).strip("_- ")
        disease = named if named in layout.DISEASES else rule.disease(f"{table.place}/")
        _add_rows(by_file, table, disease)
    return by_file


def _stem(name: str) -> str:
    return name.rpartition("/")[2].lower()


def _add_rows(rows: dict[tuple[str, str], Mapping[str, str]], source: SummaryTable, disease: str) -> None:
    url = source.url
    table = delimited.parse(tsv.decode(source.data, url), url)
    if FILE not in table.columns:
        raise UsageError(
            f"{url}: no column {FILE}, its columns are {', '.join(table.columns) or 'none'}; want the table "
            "as it is delivered, or move it away, and labels are read from the files"
        )
    for (line, cells), name in zip(table.rows, table.column((FILE,)), strict=True):
        cell_of = dict(zip(table.columns, cells, strict=True))
        if rows.setdefault((disease, name.rpartition("/")[2]), cell_of) != cell_of:
            raise UsageError(f"{url} line {line}: {name} has another row already, want one row for each file")
