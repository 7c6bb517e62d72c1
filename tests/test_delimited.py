"""Tables separated by tabs, commas or semicolons, as spreadsheets write them."""

import pytest

from octshard import delimited
from octshard.errors import UsageError
from octshard.prep.release import aireadi, split_table


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_manifest_and_splits_are_read_whatever_separates_them(separator: str, end: str) -> None:
    lines = ["\ufeffPerson_ID,filepath,laterality,device", "7,a b.npy,OD,x", '8,"c,d.npy",Not Reported,x']
    if separator != ",":
        lines[2] = "8,c-d.npy,Not Reported,x"
    text = end.join(line if separator == "," else line.replace(",", separator) for line in lines) + end
    seven, eight = aireadi.parse_manifest(text, "manifest")
    assert (seven.participant, seven.path, seven.eye) == ("7", "a b.npy", "R")
    assert (eight.participant, eight.eye) == ("8", "")
    splits = separator.join(["person_id", "recommended_split"]) + end + separator.join(["7", "Test"])
    assert split_table.parse(splits, "participants").splits() == {"7": "test"}


@pytest.mark.parametrize(
    ("heading", "columns"),
    [
        ('subject;"age, in years, at visit";label', ("subject", "age, in years, at visit", "label")),
        ('\ufeff"age, in years, at visit";label', ("age, in years, at visit", "label")),
        ('subject,"a;b;c;d"', ("subject", "a;b;c;d")),
        ('a, "b;;c", d', ("a", "b;;c", "d")),
        ('a;"say ""x, y, z""";b', ("a", 'say "x, y, z"', "b")),
        ('5" lens;6" lens;a, b', ('5" lens', '6" lens', "a, b")),
        ('a " b;c " d;"e,f,g"', ('a " b', 'c " d', "e,f,g")),
    ],
)
def test_signs_within_quotes_separate_nothing(heading: str, columns: tuple[str, ...]) -> None:
    assert delimited.parse(heading, "t").columns == columns


def test_a_missing_value_is_what_the_table_says_it_is() -> None:
    assert delimited.parse("a,b\nnone,NA", "t").rows == ((2, ["none", ""]),)
    assert delimited.parse("a,b\nnone,NA", "t", {"none"}).rows == ((2, ["", "NA"]),)


def test_a_row_of_other_length_is_an_error_that_names_the_line() -> None:
    with pytest.raises(UsageError, match="t line 3: 1 cells, want 2"):
        delimited.parse("a;b\n1;2\n3", "t")
