"""A table of labels under the pseudonyms that an index with the same salt writes."""

from collections.abc import Sequence
from typing import NamedTuple

from octshard import table_file, tsv
from octshard.dataset.participants import PERSON_COLUMNS, row_participants
from octshard.errors import UsageError
from octshard.prep.index import pseudonym, row
from octshard.storage import store

PERSON = "person_id"  # the column of pseudonyms


class PseudonymTable(NamedTuple):
    """What was written. others: columns that are as they were; unnamed: rows that name nobody, left out."""

    rows: int
    people: int
    others: tuple[str, ...]
    unnamed: int

    @property
    def text(self) -> str:
        """Some lines for a terminal."""
        lines = [f"{self.rows:,} rows of {self.people:,} people"]
        if self.unnamed:
            lines.append(f"  rows that name nobody, left out: {self.unnamed:,}")
        lines.append(f"  columns as they were: {', '.join(self.others) or 'none'}")
        return "\n".join(lines)


def write(
    table_url: str, out: str, salt: bytes, column: str = "", drop: Sequence[str] = ()
) -> PseudonymTable:
    """Writes the TSV `out`: a pseudonym for each person, and all columns that neither name people nor are in
    `drop`, as they are.

    column: the one that names people; empty: the first that is called so. UsageError if there is none, or if
    another file is at `out`.
    """
    table = _read(table_url)
    names = (column.lower(),) if column else PERSON_COLUMNS
    if not set(names).intersection(table.columns):
        raise _no_column(table, "--column", " or ".join(names))
    for name in drop:
        if name.lower() not in table.columns:
            raise _no_column(table, "--drop", name)
    gone = {*names, *PERSON_COLUMNS, *(name.lower() for name in drop)}
    kept = [place for place, name in enumerate(table.columns) if name not in gone]
    others = tuple(table.columns[place] for place in kept)
    people = row_participants(table, names)
    rows = [
        (pseudonym.of(person, salt), *(" ".join(cells[place].split()) for place in kept))
        for person, (_, cells) in zip(people, table.rows, strict=True)
        if person
    ]
    _write_new(out, "".join(map(row.line, [(PERSON, *others), *rows])).encode())
    return PseudonymTable(len(rows), len({cells[0] for cells in rows}), others, len(table.rows) - len(rows))


def _read(url: str) -> tsv.Table:
    try:
        return table_file.parse(store.read(url), url)
    except FileNotFoundError:
        raise UsageError(f"{url}: no such file, want a table with a row for each label") from None


def _no_column(table: tsv.Table, option: str, wanted: str) -> UsageError:
    columns = ", ".join(table.columns) or "none"
    return UsageError(f"{table.source}: columns {columns}, want {wanted}; {option} names one that is there")


def _write_new(out: str, data: bytes) -> None:
    """The same bytes may stand there already."""
    try:
        if store.read(out) != data:
            raise UsageError(f"{out}: another file is there; give --out a new name, or remove it")
    except FileNotFoundError:
        store.write(out, data)
