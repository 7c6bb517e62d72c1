"""Tables of labels: the same cells from TSV, CSV and Parquet, and one line for what is none."""

import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octshard import delimited
from octshard.dataset import tables
from octshard.errors import UsageError
from octshard.probes import label_table
from octshard.storage import store
from tests.support import b_scan_sets

CELLS = [["1001", "a, b", "61"], ["4001", 'say "x"', ""], ["7001", "c", "5.5"]]


def cells_of(url: str) -> list[list[str]]:
    return [cells for _, cells in label_table.read(url, "labels").rows]


def test_one_table_in_four_formats():
    header = ["Participant_ID", "note", "age"]
    for name, separator in (("a.tsv", "\t"), ("b.csv", ","), ("c.csv", ";")):
        text = io.StringIO()
        csv.writer(text, delimiter=separator).writerows([header, *CELLS])
        store.write(f"memory://table/{name}", ("\ufeff" + text.getvalue()).encode())
    columns = {
        "Participant_ID": [1001, 4001, 7001], "note": [row[1] for row in CELLS], "age": [61, None, 5.5],
    }  # fmt: skip
    tables.write_table("memory://table/d.parquet", columns)
    store.write("memory://table/e.xlsx", b_scan_sets.workbook([header, *CELLS]))
    for name in ("a.tsv", "b.csv", "c.csv", "d.parquet", "e.xlsx"):
        table = label_table.read(f"memory://table/{name}", "labels")
        assert table.columns == ("participant_id", "note", "age")
        assert [cells for _, cells in table.rows] == CELLS


def test_numbers_of_a_data_frame_are_written_as_people_write_them():
    table = label_table.from_columns(
        {"id": [1.0, b"2 ", 1e15], "flag": [True, False, None], "age": [math.nan, 5.25, 3.0]}, "t"
    )
    assert [cells for _, cells in table.rows] == [
        ["1", "True", ""],
        ["2", "False", "5.25"],
        ["1000000000000000", "", "3"],
    ]


@given(st.lists(st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)] * 2)))
def test_a_csv_is_read_as_python_reads_it(rows):
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("id", "x"), *rows])
    table = delimited.parse(text.getvalue(), "t")
    expected = [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    missing = {"nan", "na", "n/a", "null", "<na>"}
    assert [cells for _, cells in table.rows] == [
        ["" if cell.lower() in missing else cell for cell in row] for row in expected
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PAR1 and then nothing", "not a whole Parquet file"),
        (b"id,x\n1,a\n2\n", "line 3: 1 cells, want 2"),
        (b'id,x\n1,"a\n2,b\n', "line 3: unexpected end of data"),
        (b"id,x\n1,\xff\n", "not UTF-8"),
    ],
)
def test_what_is_no_table_gives_one_line(data, message):
    store.write("memory://bad/labels.csv", data)
    with pytest.raises(UsageError, match=message) as error:
        label_table.read("memory://bad/labels.csv", "labels")
    assert "\n" not in str(error.value)
    assert "build it again" not in str(error.value)
    assert str(error.value).startswith("labels memory://bad/labels.csv")


@pytest.mark.parametrize("text", ["", "\n\n", ",,,\n", ";;\n;;\n", "a,b\n"])
def test_a_table_without_rows_is_empty(text):
    assert delimited.parse(text, "t").rows == ()


def test_two_columns_of_one_name_in_parquet_are_not_guessed_about(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"])
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="several columns are called id"):
        label_table.read(str(tmp_path / "x.parquet"), "labels")
