"""Ids: a number is one id in every way of writing it, a text is itself."""

import pytest

from octshard import tsv
from octshard.dataset import participants
from octshard.errors import UsageError

LONG = "12345678901234567890123456789012345"  # more digits than a float or a default Decimal holds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1001", "1001"),
        ("1001.0", "1001"),
        ("1001.", "1001"),
        ("1001.000", "1001"),
        ("01001", "1001"),
        (" 1001 ", "1001"),
        ("+1001", "1001"),
        ("1.001e3", "1001"),
        ("1.001E+03", "1001"),
        ("1e+06", "1000000"),
        ("0", "0"),
        ("000", "0"),
        ("0.0", "0"),
        ("\uff11\uff10\uff10\uff11", "1001"),
        ("\ufeff1001\u200b", "1001"),
        (LONG, LONG),
        (f"{LONG}.0", LONG),
        ("e\u0301", "\u00e9"),
    ],
)
def test_numbers_are_compared_as_numbers(text: str, expected: str) -> None:
    assert participants.canonical(text) == expected


@pytest.mark.parametrize(
    "text",
    ["12e3", "1e999999999", "12.10", "1001.5", "1,001", "-1001", "P001", "0x10", "1_000", "inf", "1.0011e3"],
)
def test_what_is_no_whole_number_is_text(text: str) -> None:
    """12e3 may be an id in hexadecimal digits, 12.10 the tenth person of the twelfth site."""
    assert participants.canonical(text) == text


def test_spellings_of_programs_and_several_ones_are_stored_as_the_number() -> None:
    texts = ["007", "8", "08", "9.0", "x", "x"]
    assert participants.spellings(texts) == {"7": "007", "8": "8", "9": "9", "x": "x"}


def test_two_spellings_in_one_table_are_named_with_their_lines() -> None:
    table = tsv.parse("id\n1001\n\n2\n01001\n", "p.tsv")
    with pytest.raises(UsageError, match=r"p\.tsv: lines 2 and 5 call participant 1001 '1001' and '01001'"):
        participants.row_participants(table)
    assert participants.row_participants(tsv.parse("id\tx\n1.0\ta\nNA\tb\n1.0\tc\n", "p")) == ["1", "", "1"]
