"""Dates to the day, days since a visit, and their order."""

import pytest

from octshard.dataset import visit_date
from octshard.errors import UsageError


@pytest.mark.parametrize(
    "text",
    [
        "2023-07-18", "20230718", "2023/07/18", "2023_07_18", "2023.07.18", " 2023-07-18 ",
        "2023-07-18T10:22:03Z", "2023-07-18 10:22", "20230718102203.000000+0100", "202307181022",
    ],
)  # fmt: skip
def test_a_date_is_read_to_the_day(text: str) -> None:
    assert visit_date.date(text) == "2023-07-18"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2023",
        "202307",
        "18.07.2023",
        "07/18/2023",
        "2023-02-30",
        "2023-13-01",
        "2023-0718",
        "0000-01-01",
        "x",
    ],
)
def test_what_is_no_day_or_two_days_is_no_date(text: str) -> None:
    assert visit_date.date(text) == ""


@pytest.mark.parametrize(
    ("text", "days"),
    [("0", "0"), ("0412", "412"), ("12.0", "12"), ("-3", "-3"), ("1e3", ""), ("20230718", ""), ("1.5", "")],
)
def test_days_are_whole_numbers(text: str, days: str) -> None:
    assert visit_date.days(text) == days


def test_scans_of_an_eye_are_a_sequence_by_dates_or_by_days() -> None:
    dates = ["2023-12-31", "2024-01-01", "2024-03-01"]
    ordinals = [visit_date.ordinal(date) or 0 for date in dates]
    assert [b - ordinals[0] for b in ordinals] == [0, 1, 61]  # 2024 has a 29th of February
    assert sorted(["100", "9", "-2"], key=lambda text: visit_date.ordinal(text) or 0) == ["-2", "9", "100"]
    assert visit_date.ordinal("") is None


@pytest.mark.parametrize(
    ("date", "day", "words"),
    [("18.07.2023", "", "want YYYY-MM-DD"), ("", "soon", "want a whole number"), ("x", "4", "want YYYY")],
)
def test_cells_that_are_neither_are_an_error_of_one_line(date: str, day: str, words: str) -> None:
    with pytest.raises(UsageError, match=rf"manifest\.tsv line 3: .*{words}"):
        visit_date.of_cells(date, day, "manifest.tsv line 3")


def test_a_date_counts_before_days() -> None:
    assert visit_date.of_cells("20230718", "4", "m") == "2023-07-18"
    assert visit_date.of_cells("", "4", "m") == "4"
    assert visit_date.of_cells("", "", "m") == ""
