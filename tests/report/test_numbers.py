"""Numbers as people read them."""

import pytest

from octshard.report import numbers


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (1234567, "1\u202f234\u202f567"), (-1234, "−1\u202f234")],
)
def test_integers_are_grouped(value: int, words: str) -> None:
    assert numbers.integer(value) == words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.0, 0.0], ["0", "0"]),
        ([1e-5, 0.0502, 0.0999], ["0", "0.0502", "0.0999"]),
        ([0.5, 1.25, 9.994], ["0.5", "1.25", "9.99"]),
        ([4.0, 12.3456], ["4", "12.3"]),
        ([-2.5, 40.0], ["−2.5", "40"]),
        ([100.0, 123456.7], ["100", "123\u202f457"]),
        ([], []),
    ],
)
def test_numbers_that_stand_together_have_like_decimals(values: list[float], words: list[str]) -> None:
    assert numbers.alike(values) == words


def test_decimals_are_as_many_as_asked_for_and_nan_is_a_dash() -> None:
    assert numbers.decimal(1234.567, 2) == "1\u202f234.57"
    assert numbers.decimal(-0.5, 1) == "−0.5"
    assert numbers.decimal(float("nan"), 1) == "–"


def test_plurals() -> None:
    assert numbers.pluralize(1, "file") == "1 file"
    assert numbers.pluralize(0, "file") == "0 files"
    assert numbers.pluralize(2000, "person", "people") == "2\u202f000 people"


@pytest.mark.parametrize(
    ("total", "unit"),
    [(0, (1.0, "bytes")), (999, (1.0, "bytes")), (1000, (1e3, "kB")), (5.4e12, (1e12, "TB"))],
)
def test_a_unit_fits(total: float, unit: tuple[float, str]) -> None:
    assert numbers.byte_unit(total) == unit


def test_products_stay_on_one_line() -> None:
    assert numbers.dimensions((128, 885.5, None)) == "128\u00a0×\u00a0885.5\u00a0×\u00a0–"
    assert numbers.dimensions(None) == "–"
