"""Workbooks as tables: cells that are left out, shared texts, and what is no workbook."""

import io
import sys
import zipfile
from datetime import datetime

import openpyxl
import pytest

from octshard import tsv, workbook
from octshard.errors import UsageError
from tests.support import b_scan_sets


def test_the_cells_are_those_of_the_same_table_as_text() -> None:
    table = workbook.parse(
        b_scan_sets.workbook([["ID", "A & B", "C"], ["7", "", "x"], ["8", "NA", "9"]]), "a.xlsx"
    )
    assert table.columns == ("id", "a & b", "c")
    assert table.rows == ((2, ["7", "", "x"]), (3, ["8", "", "9"]))


def test_numbers_days_formulas_and_rows_of_nothing() -> None:
    book = openpyxl.Workbook()
    for row in (["ID", "Day", "Age", None], [None], [12.0, datetime(2024, 3, 1), 7.5, "=1+1"], [True]):
        book.active.append(row)
    book.save(file := io.BytesIO())
    table = workbook.parse(file.getvalue(), "a.xlsx")
    assert table.columns == ("id", "day", "age")
    assert table.rows == ((3, ["12", "2024-03-01", "7.5"]), (4, ["True", "", ""]))


def changed(member: str, text: str) -> bytes:
    """A workbook with another text as a member."""
    with (
        zipfile.ZipFile(io.BytesIO(b_scan_sets.workbook([["a"], ["b"]]))) as archive,
        zipfile.ZipFile(file := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name in archive.namelist():
            other.writestr(name, text if name == member else archive.read(name))
    return file.getvalue()


SHEET = "xl/worksheets/sheet1.xml"
SPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
BOMB = '<!DOCTYPE w [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_a_sheet_that_declares_a_million_rows_has_those_that_are_there() -> None:
    row = '<row r="1"><c r="A1" t="inlineStr"><is><t>ID</t></is></c></row>'
    text = f'<worksheet {SPACE}><dimension ref="A1:XFD1048576"/><sheetData>{row}</sheetData></worksheet>'
    assert workbook.parse(changed(SHEET, text), "a.xlsx") == tsv.Table("a.xlsx", ("id",), ())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        changed(SHEET, "<w>"),
        changed(SHEET, f'<w {SPACE}><sheetData><row><c t="s"><v>7</v></c></row></sheetData></w>'),
        changed(SHEET, f"{BOMB}]><w {SPACE}><sheetData><row><c><v>&i;</v></c></row></sheetData></w>"),
        b_scan_sets.workbook([["a"]])[:-40],
    ],
    ids=["empty", "two bytes", "no XML", "no such text", "bomb", "cut"],
)
def test_what_is_no_workbook_is_one_line(data: bytes) -> None:
    with pytest.raises(
        UsageError, match=r"a.xlsx: no workbook that can be read \(\w+\); save it as a CSV beside it"
    ):
        workbook.parse(data, "a.xlsx")


def test_what_would_be_too_large_unpacked_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    data = changed("xl/theme/theme1.xml", " " * 2**20)
    workbook.parse(data, "a.xlsx")
    monkeypatch.setattr(workbook, "MOST_BYTES", 2**20)
    with pytest.raises(UsageError, match=r"no workbook that can be read \(ValueError\)"):
        workbook.parse(data, "a.xlsx")


def test_rows_whose_one_cell_is_far_to_the_right_end_soon() -> None:
    rows = '<row><c r="XFD1"><v>1</v></c></row>' * 3000
    data = changed(SHEET, f"<worksheet {SPACE}><sheetData>{rows}</sheetData></worksheet>")
    assert len(data) < 2**14
    with pytest.raises(UsageError, match=r"no workbook that can be read \(ValueError\)"):
        workbook.parse(data, "a.xlsx")


def test_without_its_library_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UsageError, match=r"a.xlsx: openpyxl is not installed.*xlsx\].* or save the table"):
        workbook.parse(b_scan_sets.workbook([["a"]]), "a.xlsx")
