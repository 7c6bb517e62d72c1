"""Tables separated by tabs, commas or semicolons: text -> cells, as `octshard.tsv` has them. Pure."""

import csv
import io
import re
from collections.abc import Collection, Sequence

from octshard import tsv
from octshard.errors import UsageError

SEPARATORS = "\t,;"  # a tie goes to the first
QUOTED = re.compile(r'(^|[\t,;])[^\S\t]*"(?:[^"]|"")*"')  # a cell in quotes, where signs separate nothing


def parse(text: str, source: str, missing: Collection[str] = tsv.MISSING) -> tsv.Table:
    """The cells of a TSV or CSV: its heading says by what they are separated. missing: as in `tsv.parse`."""
    text = text.removeprefix("\ufeff")
    heading = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=QUOTED.sub(r"\1", heading).count)
    if separator == "\t":
        return tsv.parse(text, source, missing)
    table = _parse_csv(text, separator, source)
    rows = tuple((number, filled(cells, missing)) for number, cells in table.rows)
    return tsv.Table(source, table.columns, rows)


def filled(cells: Sequence[str], missing: Collection[str] = tsv.MISSING) -> list[str]:
    """The cells, empty where they spell a missing value."""
    return ["" if cell.lower() in missing else cell for cell in cells]


def _parse_csv(text: str, separator: str, source: str) -> tsv.Table:
    """All cells as they are written."""
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
    return tsv.Table(source, columns, tuple(lines[1:]))
