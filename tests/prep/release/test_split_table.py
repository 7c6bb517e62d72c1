"""The recommended split: everybody has one, or the run stops with a line that names those who have none."""

import re

import pytest

from octshard.errors import UsageError
from octshard.prep.release import split_table

HEAD = "person_id\trecommended_split\n"


def test_words_of_splits_in_any_case() -> None:
    table = split_table.parse(
        HEAD + "1\ttrain\n02\t Val \n3.0\tNot reported\n4\tvalidation\n5\tTEST\n", "p.tsv"
    )
    assert table.splits() == {"1": "train", "2": "val", "4": "val", "5": "test"}
    table.check(["1", "2.0", "0004"])


@pytest.mark.parametrize(
    ("text", "people", "message"),
    [
        (HEAD + "1\tholdout\n2\tholdout\n3\ttest\n", "123", "of 3 people of the manifest 2 (1, 2) have the "
         "recommended_split 'holdout'"),
        (HEAD + "1\ttrain\n", "123456", "of 6 people of the manifest 5 (2, 3, 4 and 2 more) have no row"),
        (HEAD + "1\ttrain\n2\tNot reported\n", "12", "1 (2) have no recommended_split"),
        (HEAD, "1", "1 (1) have no row"),
        ("person_id\tsplit\n1\ttest\n", "1", "no column recommended_split, its columns are person_id, split; "
         "rename split if that is it"),
        ("person_id\tage\n1\t60\n", "1", "its columns are person_id, age; add it"),
        ("", "1", "no column recommended_split, its columns are none"),
    ],
)  # fmt: skip
def test_who_has_no_split_is_named(text: str, people: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as raised:
        split_table.parse(text, "p.tsv").check(people)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("p.tsv: ")
    assert "--split hash" in str(raised.value)


def test_words_of_people_without_scans_stop_nothing() -> None:
    split_table.parse(HEAD + "1\ttrain\n2\tholdout\n", "p.tsv").check(["1"])


@pytest.mark.parametrize("other", ["test", "holdout"])
def test_a_person_in_two_splits_is_an_error(other: str) -> None:
    text = HEAD + f"1\ttrain\n1\ttraining\n1\tNA\n2\tval\n1\t{other}\n"
    with pytest.raises(UsageError, match=rf"p\.tsv line 6: 1 is in {other}, above in train; want one split"):
        split_table.parse(text, "p.tsv")


def test_a_table_without_people_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"p\.tsv: no column participant_id or person_id or id"):
        split_table.parse("name\trecommended_split\n1\ttrain\n", "p.tsv")
