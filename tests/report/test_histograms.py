"""Small histograms: bars where the values are, one axis for all, words for who cannot see them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octshard.report.chart import Chart
from octshard.report.histograms import LEAST, bin_edges, histograms, summary


def bars(chart: Chart) -> list[tuple[float, float, float]]:
    """(x, width, height) of every bar, rows in order; the fullest of a row is 1 high."""
    patches = [patch for axes in chart.figure.axes for patch in axes.patches]
    return [(patch.get_x(), patch.get_width(), patch.get_height()) for patch in patches]


def test_bars_stand_where_the_values_are_and_as_high_as_they_are_many() -> None:
    chart = histograms({"a": [0.0, 0.0, 10.0]}, "title")
    (low, low_width, full), (high, high_width, half) = bars(chart)
    assert low <= 0 < low + low_width
    assert high <= 10 <= high + high_width
    assert low_width == pytest.approx(high_width)
    assert (full, half) == (1, 0.5)
    assert [row for row in chart.rows if row[3]] == [("a", -0.5, 0.5, 2), ("a", 9.5, 10.5, 1)]


def test_names_share_an_axis_and_a_lonely_value_is_seen() -> None:
    chart = histograms({"a": [1.5] * 5000 + [9.25], "b": [9.25]}, "title")
    (_, _, most), (x, _, least), (other, _, alone) = bars(chart)
    assert x == other
    assert len({axes.get_xlim() for axes in chart.figure.axes}) == 1
    assert (most, alone) == (1, 1)
    assert least == LEAST


def test_what_is_not_finite_is_left_out_and_an_empty_name_keeps_its_place() -> None:
    chart = histograms({"a": [], "b": [1.0, float("nan"), float("inf")]}, "title")
    assert len(bars(chart)) == 1
    assert len(chart.figure.axes) == 2
    assert 'aria-label="title. a: 0 values, none; b: 1 values, all 1"' in chart.html().markup
    assert "nothing to plot" in histograms({"a": [], "b": [float("nan")]}, "title").html().markup


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6).map(float), min_size=1, max_size=50))
def test_every_value_lies_in_a_bin_of_few_equal_ones(values: list[float]) -> None:
    edges = bin_edges(np.array(values))
    assert 2 <= len(edges) <= 90
    width = edges[1] - edges[0]
    assert width > 0
    np.testing.assert_allclose(np.diff(edges), width, rtol=1e-3)
    room = 1e-6 * max(1.0, *map(abs, values))
    assert edges[0] - room <= min(values)
    assert max(values) <= edges[-1] + room


def test_a_single_value_stands_between_neighbours() -> None:
    np.testing.assert_array_equal(bin_edges(np.array([992.0, 992.0])), np.arange(989.5, 995))
    chart = histograms({"a": [2.6]}, "title")
    ((x, width, _),), (left, right) = bars(chart), chart.figure.axes[0].get_xlim()
    assert x + width / 2 == pytest.approx((left + right) / 2)
    assert width < (right - left) / 4


def test_whole_numbers_lie_in_the_middle_of_their_bins() -> None:
    edges = bin_edges(np.array([3.0, 5.0, 8.0]))
    np.testing.assert_array_equal(edges, np.arange(2.5, 9))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "none"),
        ([2.5], "all 2.5"),
        ([7.0, 7.0], "all 7"),
        ([1.0, 2.0, 30.0], "median 2, 1 to 30"),
        ([20.0001, 20.0002], "all 20"),
    ],
)
def test_values_in_words(values: list[float], words: str) -> None:
    assert summary(np.array(values)) == words
