"""Tables as real copies are written: quotes, odd characters, lines of the wrong width, columns twice."""

import pytest

from octshard import tsv
from octshard.errors import UsageError


def cells(text: str) -> list[list[str]]:
    return [cells for _, cells in tsv.parse(text, "t.tsv").rows]


def test_heads_and_lines_keep_their_numbers() -> None:
    table = tsv.parse("\ufeff A \tb\n\n1\t2\n \t \n3\t4", "t.tsv")
    assert table.columns == ("a", "b")
    assert table.rows == ((3, ["1", "2"]), (5, ["3", "4"]))


@pytest.mark.parametrize("text", ["", "\ufeff", "\n\n", '"'])
def test_nothing_is_no_line(text: str) -> None:
    assert tsv.parse(text, "t.tsv").rows == ()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_of_the_three_systems(end: str) -> None:
    assert cells(end.join(["a\tb", "1\t2", "3\t4", ""])) == [["1", "2"], ["3", "4"]]


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_no_other_character_ends_a_line(odd: str) -> None:
    assert cells(f"a\tb\n1{odd}1\t2\n") == [[f"1{odd}1", "2"]]


@pytest.mark.parametrize("word", ["", "  ", "Not reported", "Not Provided", "NaN", '"N/A"'])
def test_what_spells_a_missing_value_is_empty(word: str) -> None:
    assert cells(f"a\tb\n{word}\t1\n") == [["", "1"]]


def test_short_lines_are_filled_and_empty_cells_beyond_the_heads_dropped() -> None:
    assert cells("a\tb\tc\n1\n2\t\t\t\t\n") == [["1", "", ""], ["2", "", ""]]


def test_a_line_with_more_cells_than_heads_is_named() -> None:
    with pytest.raises(UsageError, match=r"t\.tsv line 3: 3 cells, want 2"):
        tsv.parse("a\tb\n1\t2\n1\t2\t3\n", "t.tsv")


def test_quotes_around_a_cell_go_and_others_stay() -> None:
    assert cells('a\tb\n"1"\t"say ""hm"""\n5" disc\t"\n') == [["1", 'say "hm"'], ['5" disc', '"']]


def test_a_quoted_tab_or_line_end_belongs_to_its_cell() -> None:
    text = 'a\tb\tc\n1\t"x\ty"\t2\n3\t"p\nq"\t4\n5\t6\t7\n'
    table = tsv.parse(text, "t.tsv")
    assert table.rows == ((2, ["1", "x\ty", "2"]), (3, ["3", "p\nq", "4"]), (5, ["5", "6", "7"]))


def test_open_quotes_never_swallow_a_line() -> None:
    """Read as quoted, lines 2 and 3 would be one of the right width."""
    assert cells('a\tb\n1\t"x\n2\ty"\n') == [["1", '"x'], ["2", 'y"']]
    with pytest.raises(UsageError, match="line 3"):
        tsv.parse('a\tb\n1\t"x\n2\ty\tz\n', "t.tsv")


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
