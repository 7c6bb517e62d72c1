"""The first sheet of an Excel workbook (.xlsx) as a table of text. Formulas are what they last gave.

Layout: ECMA-376, part 1, 18 (SpreadsheetML). A library for it would be large, and open what a cell names.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, ParseError

from octshard import delimited, tsv
from octshard.errors import UsageError

MOST_BYTES = 2**28  # of a sheet, unpacked
SHEET = re.compile(r"xl/worksheets/sheet(\d+)\.xml")
COLUMN = re.compile(r"[A-Z]{1,3}")
DAMAGE = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
    EOFError,
    LookupError,
    zlib.error,
)


def parse(data: bytes, source: str) -> tsv.Table:
    """The cells; names of columns in lower case, as of other tables. UsageError for what is no workbook."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            sheets = sorted(filter(SHEET.fullmatch, archive.namelist()), key=_number)
            texts = _texts(archive)
            rows = [(line, cells) for line, cells in _rows(_xml(archive, sheets[0]), texts) if any(cells)]
    except (*DAMAGE, ParseError) as error:
        raise UsageError(
            f"{source}: no workbook that can be read ({type(error).__name__}); save it as a CSV beside it"
        ) from None
    if not rows:
        return tsv.Table(source, (), ())
    columns = tuple(cell.strip().lower() for cell in rows[0][1])
    width = len(columns)
    filled = [(line, delimited.filled([*cells, *[""] * width][:width])) for line, cells in rows[1:]]
    return tsv.Table(source, columns, tuple(filled))


def _number(name: str) -> int:
    match = SHEET.fullmatch(name)
    return int(match[1]) if match else 0


def _xml(archive: zipfile.ZipFile, name: str) -> Element:
    if archive.getinfo(name).file_size > MOST_BYTES:
        raise ValueError(f"{name} is too large")
    return ElementTree.fromstring(archive.read(name))


def _texts(archive: zipfile.ZipFile) -> list[str]:
    """Texts that cells name by their place."""
    name = "xl/sharedStrings.xml"
    return [_text(item) for item in _xml(archive, name)] if name in archive.namelist() else []


def _text(item: Element) -> str:
    return "".join(part.text or "" for part in item.iter() if part.tag.endswith("}t"))


def _rows(sheet: Element, texts: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Line and cells; a cell that is left out is empty."""
    for line, row in enumerate((e for e in sheet.iter() if e.tag.endswith("}row")), start=1):
        cells: list[str] = []
        for cell in row:
            at = _place(cell.get("r", ""), len(cells))
            cells += [""] * (at - len(cells))
            cells.append(_value(cell, texts))
        yield line, cells


def _place(reference: str, after: int) -> int:
    """The column of a cell, from 0: AB7 is 27. after: where none is named, the next."""
    letters = COLUMN.match(reference)
    if letters is None:
        return after
    place = 0
    for letter in letters[0]:
        place = 26 * place + ord(letter) - ord("A") + 1
    return max(place - 1, after)


def _value(cell: Element, texts: list[str]) -> str:
    if cell.get("t") == "inlineStr":
        return _text(cell).strip()
    value = next((part.text or "" for part in cell if part.tag.endswith("}v")), "")
    if cell.get("t") == "s":
        return texts[int(value)].strip()
    return value.removesuffix(".0") if value else ""
