"""The first sheet of an Excel workbook (.xlsx) as a table of text. Formulas are what they last gave."""

import importlib
import io
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from xml.etree.ElementTree import ParseError

from octshard import delimited, extras, tsv
from octshard.errors import UsageError

MOST_BYTES = 2**28  # of a workbook, unpacked: openpyxl holds its texts
MOST_CELLS = 2**22  # of a sheet, empty ones too: a few bytes can stand for a million
# what openpyxl raises for files that are none
DAMAGE = (
    zipfile.BadZipFile, zlib.error, ParseError, OSError, ValueError, TypeError, AttributeError, LookupError,
    EOFError, RuntimeError,
)  # fmt: skip


def parse(data: bytes, source: str) -> tsv.Table:
    """The cells; names of columns in lower case, as of other tables.

    UsageError for what is no workbook, or where openpyxl is not installed.
    """
    try:
        openpyxl = importlib.import_module("openpyxl")
    except ImportError:
        advice = f"{extras.install_advice('xlsx')}, or save the table as a CSV beside it"
        raise UsageError(f"{source}: openpyxl is not installed, which reads workbooks: {advice}") from None
    try:
        _check_size(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # styles and validations that it does not know
            book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
            rows = list(_rows(book.worksheets[0]))
    except DAMAGE as error:
        raise UsageError(
            f"{source}: no workbook that can be read ({type(error).__name__}); save it as a CSV beside it"
        ) from None
    if not rows:
        return tsv.Table(source, (), ())
    columns = tuple(cell.lower() for cell in rows[0][1])
    width = len(columns)
    lines = tuple((line, delimited.filled([*cells, *[""] * width][:width])) for line, cells in rows[1:])
    return tsv.Table(source, columns, lines)


def _check_size(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if (nbytes := sum(member.file_size for member in archive.infolist())) > MOST_BYTES:
            raise ValueError(f"{nbytes} bytes unpacked, want at most {MOST_BYTES}")


def _rows(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of rows with any, without the empty ones at the end."""
    sheet.reset_dimensions()  # a sheet may declare a million rows of nothing
    count = 0
    for line, values in enumerate(sheet.iter_rows(values_only=True), start=1):
        if (count := count + len(values)) > MOST_CELLS:
            raise ValueError(f"more than {MOST_CELLS} cells")
        cells = [_text(value) for value in values]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield line, cells


def _text(value: Any) -> str:
    """As it would stand in a CSV: 12.0 is 12, midnight of a day is the day."""
    match value:
        case None:
            return ""
        case float() if value.is_integer():
            return str(int(value))
        case datetime() if value.time() == datetime.min.time():
            return value.date().isoformat()
        case _:
            return str(value).strip()
