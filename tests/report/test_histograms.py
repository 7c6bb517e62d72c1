"""Small histograms: bars where the values are, one axis for all, words for who cannot see them."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octshard.report.histograms import BARS, LEFT, RIGHT, bin_edges, histograms, summary


def bars(svg: str) -> list[tuple[float, float, float]]:
    """(x, width, height) of every bar."""
    bars = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="([\d.]+)"', svg)
    return [(float(x), float(width), float(height)) for x, width, height in bars]


def test_bars_stand_where_the_values_are_and_as_high_as_they_are_many() -> None:
    svg = histograms({"a": [0.0, 0.0, 10.0]}, "title").markup
    (low, low_width, full), (high, high_width, half) = bars(svg)
    assert low == pytest.approx(LEFT, abs=0.1)
    assert high + high_width == pytest.approx(RIGHT, abs=1)
    assert low_width == pytest.approx(high_width, abs=0.2)
    assert (full, half) == (BARS, BARS / 2)


def test_names_share_an_axis_and_a_lonely_value_is_seen() -> None:
    svg = histograms({"a": [1.5] * 5000 + [9.25], "b": [9.25]}, "title").markup
    (_, _, most), (x, _, least), (other, _, alone) = bars(svg)
    assert x == other
    assert (most, alone) == (BARS, BARS)
    assert least == 1.5


def test_what_is_not_finite_is_left_out_and_an_empty_name_keeps_its_place() -> None:
    svg = histograms({"a": [], "b": [1.0, float("nan"), float("inf")]}, "title").markup
    assert len(bars(svg)) == 1
    assert 'aria-label="title. a: 0 values, none; b: 1 values, all 1"' in svg
    assert "nothing to plot" in histograms({"a": [], "b": [float("nan")]}, "title").markup


def test_text_is_escaped_and_tags_are_closed() -> None:
    svg = histograms({"<b>&": [1.0, 2.0]}, '"<i>').markup
    assert "<b>" not in svg
    assert "<i>" not in svg
    HTMLParser().feed(svg)
    assert svg.count("<text") == svg.count("</text>")


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
    (x, width, _) = bars(histograms({"a": [2.6]}, "title").markup)[0]
    assert x + width / 2 == pytest.approx((LEFT + RIGHT) / 2, abs=1)
    assert width < (RIGHT - LEFT) / 4


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
