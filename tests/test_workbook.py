"""Workbooks as tables: cells that are left out, shared texts, and what is no workbook."""

import io
import zipfile

import pytest

from octshard import workbook
from octshard.errors import UsageError
from tests.support import b_scan_sets


def test_the_cells_are_those_of_the_same_table_as_text() -> None:
    table = workbook.parse(
        b_scan_sets.workbook([["ID", "A & B", "C"], ["7", "", "x"], ["8", "NA", "9"]]), "a.xlsx"
    )
    assert table.columns == ("id", "a & b", "c")
    assert table.rows == ((2, ["7", "", "x"]), (3, ["8", "", "9"]))


SPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def sheet(text: str) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", text)
    return file.getvalue()


def test_texts_in_cells_and_numbers_with_a_point() -> None:
    rows = '<row><c t="inlineStr"><is><t>ID</t></is></c></row><row/><row><c><v>12.0</v></c><c r="C9"/></row>'
    table = workbook.parse(sheet(f"<w {SPACE}><sheetData>{rows}</sheetData></w>"), "a.xlsx")
    assert (table.columns, table.rows) == (("id",), ((3, ["12"]),))


BOMB = '<!DOCTYPE w [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        sheet("<w>"),
        sheet(f'<w {SPACE}><row><c t="s"><v>7</v></c></row></w>'),
        sheet(f"{BOMB}]><w {SPACE}><row><c><v>&i;</v></c></row></w>"),
        b_scan_sets.workbook([["a"]])[:-40],
    ],
)  # fmt: skip
def test_what_is_no_workbook_is_one_line(data: bytes) -> None:
    with pytest.raises(
        UsageError, match=r"a.xlsx: no workbook that can be read \(\w+\); save it as a CSV beside it"
    ):
        workbook.parse(data, "a.xlsx")
