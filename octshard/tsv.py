"""A release's tab-separated tables: bytes -> cells, for all the variants that real copies use.

Pure. A line is a row, and has as many cells as there are columns. Cells are stripped of blanks and of the
quotes around them; a cell that spells a missing value counts as empty.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from octshard.errors import UsageError

# what spells a missing value, in lower case; "none" and "unknown" may be values, so a table adds them itself
MISSING = frozenset({"", "not reported", "not provided", "nan", "na", "n/a", "#n/a", "<na>", "null"})
PERSON = ("participant_id", "person_id", "id")  # columns that name a person: AI-READI v2 and v3 differ
ZIP = b"PK\x03\x04"  # the first bytes of such a file, and so of .xlsx and .ods
Line = tuple[int, list[str]]  # (line number in the file, cells)

# a quoted cell and what ends it; two quotes in it stand for one
_QUOTED = re.compile(r'\s*"((?:[^"]|"")*+)"[^\S\t]*(?:\t|$)')


@dataclass(frozen=True)
class Table:
    """Column names in lower case, and rows of as many cells. source: the table's name in errors."""

    source: str
    columns: tuple[str, ...]
    rows: tuple[Line, ...]

    def column(self, names: tuple[str, ...]) -> list[str]:
        """Each row's value: from the first of the columns `names` that is not empty, else empty.

        A column may occur twice; UsageError if its cells differ in a row.
        """
        places = [
            indices
            for name in names
            if (indices := [i for i, head in enumerate(self.columns) if head == name])
        ]
        if len(places) == 1 and len(places[0]) == 1:
            (place,) = places[0]
            return [cells[place] for _, cells in self.rows]
        return [self._value(line, places) for line in self.rows]

    def _value(self, line: Line, places: list[list[int]]) -> str:
        number, cells = line
        for indices in places:
            values = {cells[i] for i in indices if cells[i]}
            if len(values) > 1:
                column, text = self.columns[indices[0]], " and ".join(sorted(values))
                raise UsageError(
                    f"{self.source} line {number}: columns called {column} say {text}, want one value"
                )
            if values:
                return values.pop()
        return ""


def decode(data: bytes, source: str) -> str:
    """A table's text: UTF-8, with or without a byte-order mark; anything else is a UsageError."""
    if data.startswith(ZIP):
        raise UsageError(f"{source}: a ZIP or an Excel file, want text; save the table as CSV in UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{source}: byte {error.start} is 0x{data[error.start]:02x}, not UTF-8; "
            "save the table as UTF-8 text"
        ) from None
    if "\0" in text:
        raise UsageError(
            f"{source}: byte {data.index(0)} is 0x00 (UTF-16?), want UTF-8; save it as UTF-8 text"
        )
    return text


def parse(text: str, source: str, missing: Collection[str] = MISSING) -> Table:
    """The cells of a table without its blank lines; UsageError for a line without a cell for each column.

    missing: the values, in lower case, that count as empty. A cell may be quoted, and then hold tabs; a quote
    inside a cell is an ordinary character. One that opens a cell and closes nowhere in its line is a
    UsageError: other readers would take the next line into it.
    """
    # not str.splitlines, which splits at ten characters, some of which occur in cells
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    filled = [
        (i, _cells(line, f"{source} line {i}")) for i, line in enumerate(lines, start=1) if line.strip()
    ]
    if not filled:
        return Table(source, (), ())
    columns = tuple(column.lower() for column in filled[0][1])
    rows = []
    for number, cells in filled[1:]:
        if len(cells) != len(columns):
            raise UsageError(
                f"{source} line {number}: {len(cells)} cells, want {len(columns)}, one for each column"
            )
        rows.append((number, ["" if cell.lower() in missing else cell for cell in cells]))
    return Table(source, columns, tuple(rows))


def _cells(line: str, location: str) -> list[str]:
    """The cells of one line, stripped of blanks and of the quotes around them."""
    if '"' not in line:
        return [cell.strip() for cell in line.split("\t")]
    cells: list[str] = []
    at = 0
    while at <= len(line):
        if quoted := _QUOTED.match(line, at):
            cells.append(quoted[1].replace('""', '"').strip())
            at = quoted.end() if quoted[0].endswith("\t") else len(line) + 1
            continue
        stop = line.find("\t", at)
        stop = len(line) if stop < 0 else stop
        cell = line[at:stop].strip()
        if cell.startswith('"') and cell.count('"') % 2:
            raise UsageError(
                f"{location}: a quote opens cell {len(cells) + 1} and does not close at its end; remove it, "
                "or write the whole cell on one line"
            )
        cells.append(cell)
        at = stop + 1
    return cells
