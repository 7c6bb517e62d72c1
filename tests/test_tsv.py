"""Tables as real copies are written: quotes, odd characters, lines of the wrong width, columns twice."""

import csv
import itertools

import pytest

from octshard import tsv
from octshard.errors import UsageError


def cells(text: str) -> list[list[str]]:
    return [cells for _, cells in tsv.parse(text, "t.tsv").rows]


def test_heads_and_lines_keep_their_numbers() -> None:
    table = tsv.parse("\ufeff A \tb\n\n1\t2\n \t \n3\t4", "t.tsv")
    assert table.columns == ("a", "b")
    assert table.rows == ((3, ["1", "2"]), (5, ["3", "4"]))


@pytest.mark.parametrize("text", ["", "\ufeff", "\n\n", "\t\t"])
def test_nothing_is_no_line(text: str) -> None:
    assert tsv.parse(text, "t.tsv").rows == ()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_of_the_three_systems(end: str) -> None:
    assert cells(end.join(["a\tb", "1\t2", "3\t4", ""])) == [["1", "2"], ["3", "4"]]


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_no_other_character_ends_a_line(odd: str) -> None:
    assert cells(f"a\tb\n1{odd}1\t2\n") == [[f"1{odd}1", "2"]]


@pytest.mark.parametrize(
    "word", ["", "  ", "Not reported", "Not Provided", "NaN", '"N/A"', "<NA>", "NULL", "#N/A"]
)
def test_what_spells_a_missing_value_is_empty(word: str) -> None:
    assert cells(f"a\tb\n{word}\t1\n") == [["", "1"]]


@pytest.mark.parametrize(("line", "count"), [("1\t2\t3\t4", 4), ("1\t2\t3\t", 4), ("1\t2", 2), ("1", 1)])
def test_a_line_with_more_or_fewer_cells_than_heads_is_named(line: str, count: int) -> None:
    """Whichever cell was lost or added, the others may stand below the wrong head."""
    with pytest.raises(UsageError, match=rf"t\.tsv line 3: {count} cells, want 3"):
        tsv.parse(f"a\tb\tc\n1\t2\t3\n{line}\n", "t.tsv")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ('"1"', "1"),
        ('"say ""hm"""', 'say "hm"'),
        (' "x " ', "x"),
        ('""', ""),
        ('"a\tb"', "a\tb"),
        ('5" disc', '5" disc'),
        ('disc 5"', 'disc 5"'),
        ('"a" and "b"', '"a" and "b"'),
        ('"a" b', '"a" b'),
    ],
)
def test_quotes_around_a_cell_go_and_others_stay(cell: str, value: str) -> None:
    for place in range(3):
        line = ["1", "2", "3"]
        expected = list(line)
        line[place], expected[place] = cell, value
        assert cells("a\tb\tc\n" + "\t".join(line) + "\n4\t5\t6\n") == [expected, ["4", "5", "6"]]


@pytest.mark.parametrize("cell", ['"x', '"', '"""', '"x""', '"x" y "', '"p\nq"', '"p\rq"'])
def test_a_quote_that_would_take_in_the_next_line_is_named(cell: str) -> None:
    """A reader that follows quotes would join lines 3 and 4, one that does not would keep the quote."""
    with pytest.raises(UsageError, match=r"t\.tsv line 3: a quote opens cell 2 and does not close"):
        tsv.parse(f"a\tb\n1\t2\n1\t{cell}\n2\ty\n", "t.tsv")


def test_quoted_cells_are_read_as_another_reader_reads_them() -> None:
    """Python's csv, over every cell of four letters."""
    for letters in itertools.product('a" \t', repeat=4):
        quoted = '"' + "".join(letters).replace('"', '""') + '"'
        (expected,) = csv.reader([f"{quoted}\t1"], delimiter="\t", strict=True)
        assert cells(f"a\tb\n{quoted}\t1\n") == [[cell.strip() for cell in expected]]


def test_a_cell_may_be_longer_than_any_reader_expects() -> None:
    long = "x" * 300_000
    assert cells(f'a\tb\n1\t"{long}"\n') == [["1", long]]


def test_a_column_comes_from_the_first_name_that_has_a_value() -> None:
    table = tsv.parse("b\ta\n1\t2\n3\t\n\tN/A\n", "t.tsv")
    assert table.column(("a", "b")) == ["2", "3", ""]
    assert table.column(("b",)) == ["1", "3", ""]
    assert table.column(("c",)) == ["", "", ""]


def test_a_column_may_stand_twice_if_it_says_one_thing() -> None:
    assert tsv.parse("a\tA\n1\t1\n\t2\n3\t\n", "t.tsv").column(("a",)) == ["1", "2", "3"]
    with pytest.raises(UsageError, match=r"t\.tsv line 3: columns called a say 2 and 4"):
        tsv.parse("a\ta\n1\t1\n4\t2\n", "t.tsv").column(("a",))


def test_a_table_says_itself_what_else_counts_as_missing() -> None:
    """`none` is no spacing in a manifest, but may be a grade in participants.tsv."""
    text = "id\tgrade\n1\tnone\n2\tunknown\n3\tNot reported\n"
    assert tsv.parse(text, "t.tsv").column(("grade",)) == ["none", "unknown", ""]
    assert tsv.parse(text, "t.tsv", {*tsv.MISSING, "none"}).column(("grade",)) == ["", "unknown", ""]


@pytest.mark.parametrize(
    ("data", "message"),
    [("é".encode("latin-1"), "byte 0 is 0xe9, not UTF-8"), (b"a\0b", "byte 1 is 0x00")],
)
def test_bytes_that_are_no_text_are_one_line(data: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=rf"t\.tsv: {message}"):
        tsv.decode(data, "t.tsv")
    assert tsv.decode("\ufeffé".encode(), "t.tsv") == "é"
