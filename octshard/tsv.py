"""A release's tab-separated tables: text -> cells, in every way that real copies are written.

Pure. A cell is text without blanks around it; what spells a missing value counts as empty.
"""

import csv
import io
from collections.abc import Collection
from dataclasses import dataclass

from octshard.errors import UsageError

# what spells a missing value, in lower case; "none" and "unknown" may be values, so a table adds them itself
MISSING = frozenset({"", "not reported", "not provided", "nan", "na", "n/a"})
PERSON = ("participant_id", "person_id", "id")  # columns that name a person: AI-READI v2 and v3 differ
Line = tuple[int, list[str]]  # its number in the file, its cells


@dataclass(frozen=True)
class Table:
    """Heads in lower case, and lines of as many cells. where: its name in errors."""

    source: str
    columns: tuple[str, ...]
    rows: tuple[Line, ...]

    def column(self, names: tuple[str, ...]) -> list[str]:
        """Each line's value: from the first of the columns `names` that has one, else empty.

        A column may stand twice if it says one thing; a line on which it does not is a UsageError.
        """
        places = [
            same for name in names if (same := [i for i, head in enumerate(self.columns) if head == name])
        ]
        if len(places) == 1 and len(places[0]) == 1:
            (place,) = places[0]
            return [cells[place] for _, cells in self.rows]
        return [self._value(line, places) for line in self.rows]

    def _value(self, line: Line, places: list[list[int]]) -> str:
        number, cells = line
        for same in places:
            said = {cells[i] for i in same if cells[i]}
            if len(said) > 1:
                head, values = self.columns[same[0]], " and ".join(sorted(said))
                raise UsageError(
                    f"{self.source} line {number}: columns called {head} say {values}, want one value"
                )
            if said:
                return said.pop()
        return ""


def parse(text: str, where: str, missing: Collection[str] = MISSING) -> Table:
    """The cells of a table; a line with more cells than heads is a UsageError, blank lines are none.

    missing: the values, in lower case, that count as empty.

    Releases quote nothing, so a quote is a character like any other, and a line is a row. Only where that
    gives lines of the wrong width, and quoting explains them, the table is read as one with quotes.
    """
    text = text.removeprefix("\ufeff")
    lines = _plain(text)
    if '"' in text and (wrong := _wrong_widths(lines)):
        quoted = _quoted(text)
        lines = quoted if quoted and _wrong_widths(quoted) < wrong else lines
    if not lines:
        return Table(where, (), ())
    heads = tuple(head.lower() for head in lines[0][1])
    full = []
    for number, cells in lines[1:]:
        if any(cells[len(heads) :]):
            raise UsageError(
                f"{where} line {number}: {len(cells)} cells, want {len(heads)}, one for each column"
            )
        full.append((number, [*cells[: len(heads)], *[""] * (len(heads) - len(cells))]))
    known = [(number, ["" if cell.lower() in missing else cell for cell in cells]) for number, cells in full]
    return Table(where, heads, tuple(known))


def _plain(text: str) -> list[Line]:
    """Every line that is not blank. str.splitlines would end lines at ten characters, some also in cells."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [(i, _cells(line.split("\t"))) for i, line in enumerate(lines, start=1) if line.strip()]


def _quoted(text: str) -> list[Line]:
    """The same of a table whose quoted cells may hold tabs and line ends; nothing if it is none."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
    found, number = [], 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                found.append((number, _cells(cells)))
            number = reader.line_num + 1
    except csv.Error:
        return []
    return found


def _wrong_widths(lines: list[Line]) -> int:
    """How many lines have not as many cells as the first."""
    return sum(len(cells) != len(lines[0][1]) for _, cells in lines)


def _cells(cells: list[str]) -> list[str]:
    """Without blanks around them, nor quotes."""
    found = [cell.strip() for cell in cells]
    found = [
        cell[1:-1].replace('""', '"').strip() if cell[:1] == '"' == cell[-1:] and len(cell) > 1 else cell
        for cell in found
    ]
    return found
