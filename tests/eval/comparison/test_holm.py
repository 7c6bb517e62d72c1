"""Holm's correction: by hand."""

import math

import pytest

from octshard.eval.comparison.holm import holm


def test_by_hand():
    """0.01 x 4, 0.02 x 3, 0.03 x 2 (no less than 0.06), 0.04 x 1 (no less than 0.06)."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_one_stays_and_none_exceeds_1():
    assert holm([0.03]) == [0.03]
    assert holm([0.6, 0.7, 0.9]) == [1.0, 1.0, 1.0]
    assert holm([]) == []


def test_what_is_not_defined_counts_and_stays():
    first, second = holm([0.02, math.nan])
    assert first == pytest.approx(0.04)
    assert math.isnan(second)


def test_equal_ones_are_adjusted_alike():
    assert holm([0.01, 0.01, 0.01]) == pytest.approx([0.03, 0.03, 0.03])
