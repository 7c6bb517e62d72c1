"""A release's tab-separated tables: text -> cells, for all the variants that real copies use.

Pure. Cells are stripped of blanks; a cell that spells a missing value counts as empty.
"""

import csv
import io
from collections.abc import Collection
from dataclasses import dataclass

from octshard.errors import UsageError

# what spells a missing value, in lower case; "none" and "unknown" may be values, so a table adds them itself
MISSING = frozenset({"", "not reported", "not provided", "nan", "na", "n/a"})
PERSON = ("participant_id", "person_id", "id")  # columns that name a person: AI-READI v2 and v3 differ
Line = tuple[int, list[str]]  # (line number in the file, cells)


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


def parse(text: str, source: str, missing: Collection[str] = MISSING) -> Table:
    """The cells of a table without its blank lines; UsageError for a line with more cells than columns.

    missing: the values, in lower case, that count as empty.

    Releases do not quote cells, so a quote is an ordinary character, and a line is a row. Only if that gives
    lines of the wrong width, and fewer of them with quoting, the table is read with quoting.
    """
    text = text.removeprefix("\ufeff")
    lines = _unquoted_lines(text)
    if '"' in text and (wrong_widths := _wrong_width_count(lines)):
        quoted = _quoted_lines(text)
        lines = quoted if quoted and _wrong_width_count(quoted) < wrong_widths else lines
    if not lines:
        return Table(source, (), ())
    columns = tuple(column.lower() for column in lines[0][1])
    rows = []
    for number, cells in lines[1:]:
        if any(cells[len(columns) :]):
            raise UsageError(
                f"{source} line {number}: {len(cells)} cells, want {len(columns)}, one for each column"
            )
        filled = [*cells[: len(columns)], *[""] * (len(columns) - len(cells))]
        rows.append((number, ["" if cell.lower() in missing else cell for cell in filled]))
    return Table(source, columns, tuple(rows))


def _unquoted_lines(text: str) -> list[Line]:
    """Every line that is not blank. str.splitlines splits at ten characters, some of which occur in cells."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [(i, _cells(line.split("\t"))) for i, line in enumerate(lines, start=1) if line.strip()]


def _quoted_lines(text: str) -> list[Line]:
    """The same for a table whose quoted cells may hold tabs and line ends; [] if the quoting is broken."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
    lines, number = [], 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append((number, _cells(cells)))
            number = reader.line_num + 1
    except csv.Error:
        return []
    return lines


def _wrong_width_count(lines: list[Line]) -> int:
    """The number of lines whose width differs from the first line's."""
    return sum(len(cells) != len(lines[0][1]) for _, cells in lines)


def _cells(raw_cells: list[str]) -> list[str]:
    """Stripped of blanks and quotes."""
    cells = [cell.strip() for cell in raw_cells]
    return [
        cell[1:-1].replace('""', '"').strip() if cell[:1] == '"' == cell[-1:] and len(cell) > 1 else cell
        for cell in cells
    ]
