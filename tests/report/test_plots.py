"""Charts of results: what is drawn is what was given, and what cannot be drawn is said."""

import warnings

import numpy as np
import pytest

from octshard.report.chart import shown_text
from octshard.report.plots import Band, interval_plot, line_plot, scatter_plot, share_plot

NAN = float("nan")


def test_a_line_runs_through_its_finite_points_and_a_band_lies_around_it() -> None:
    bands = {"a": Band([0, 0, 0, 1], [1, 2, 2, 3])}
    chart = line_plot({"a": ([0, 5, 7, 10], [0, 1, NAN, 2]), "b": ([1], [1])}, "x", "y", bands)
    axes = chart.figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0, 0], [5, 1], [10, 2]])
    assert len(axes.collections) == 1
    assert chart.rows == (("a", 0, 0, 0, 1), ("a", 5, 1, 0, 2), ("a", 10, 2, 1, 3), ("b", 1, 1, 1, 1))
    assert [text.get_text() for text in chart.figure.legends[0].get_texts()] == ["a", "b"]


@pytest.mark.parametrize("ys", [[], [NAN], [3.0], [2.0, 2.0]])
def test_empty_and_flat_lines_do_not_crash(ys: list[float]) -> None:
    markup = line_plot({"a": (range(len(ys)), ys)}, "x", "y").html("note").markup
    assert ("nothing to plot" in markup) == (not np.isfinite(ys).any())


def test_a_line_of_many_points_shows_none_of_them() -> None:
    few, many = (line_plot({"a": (range(n), range(n))}, "x", "y").figure.axes[0].lines[0] for n in (12, 13))
    assert (few.get_marker(), many.get_marker()) == ("o", "None")


def test_the_diagonal_lies_on_square_axes() -> None:
    chart = line_plot({"a": ([0, 1], [0, 1])}, "x", "y", diagonal=True)
    axes = chart.figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0, 0], [1, 1]])
    assert axes.get_xlim() == axes.get_ylim()


def test_each_interval_has_a_row_and_one_without_ends_is_a_dot() -> None:
    given = {"first": (0.8, 0.7, 0.9), "second": (0.5, NAN, NAN), "third": (NAN, NAN, NAN)}
    chart = interval_plot(given, "AUROC", 0.5)
    axes = chart.figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
    mark, whisker, dot, lonely = (line.get_xydata() for line in axes.lines)
    np.testing.assert_array_equal(mark[:, 0], [0.5, 0.5])
    np.testing.assert_array_equal(whisker, [[0.7, 0], [0.9, 0]])
    np.testing.assert_array_equal(np.concatenate([dot, lonely]), [[0.8, 0], [0.5, 1]])
    assert axes.get_ylim() == (1.5, -0.5)  # the first above
    assert "nothing to plot" in interval_plot({"a": (NAN, NAN, NAN)}, "AUROC", None).html().markup


def test_points_have_the_colour_of_their_group() -> None:
    chart = scatter_plot({"a": ([0, 1], [2, 3]), "b": ([4, NAN], [5, 6])}, "x", "y")
    a, b = chart.figure.axes[0].collections
    np.testing.assert_array_equal(a.get_offsets(), [[0, 2], [1, 3]])
    np.testing.assert_array_equal(b.get_offsets(), [[4, 5]])
    assert not np.array_equal(a.get_facecolor()[0], b.get_facecolor()[0])
    assert chart.rows == (("a", 0, 2), ("a", 1, 3), ("b", 4, 5))


def test_a_legend_of_long_names_has_fewer_columns_and_is_not_cut():
    short, long = (
        line_plot({f"{word}{i}": ([0.0, 1.0], [0.0, 1.0]) for i in range(6)}, "x", "y").figure
        for word in ("a", "a_name_that_is_as_long_as_names_of_models_are_")
    )
    for sheet in (short, long):
        sheet.draw_without_rendering()
        box = sheet.legends[0].get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= sheet.bbox.width
    assert short.legends[0]._ncols == 3
    assert long.legends[0]._ncols == 1
    assert long.get_figheight() > short.get_figheight()


def test_shares_stand_beside_each_other_on_a_logarithmic_axis() -> None:
    bands = {"a": Band([0.5, 0.6], [0.7, 0.8]), "b": Band([NAN, 0.5], [NAN, 0.7])}
    chart = share_plot(
        {"a": ([0.1, 1.0], [0.6, 0.7]), "b": ([0.1, 1.0], [NAN, 0.6])}, "share", "AUROC", bands, 0.5
    )
    axes = chart.figure.axes[0]
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["10 %", "100 %"]
    first, second = axes.lines[1:]
    assert list(first.get_ydata()) == [0.6, 0.7]
    assert list(first.get_xdata()) == pytest.approx([0.1, 1.0], rel=0.04)
    assert list(second.get_ydata()) == [0.6]
    assert chart.rows == (("a", 0.1, 0.6, 0.5, 0.7), ("a", 1.0, 0.7, 0.6, 0.8), ("b", 1.0, 0.6, 0.5, 0.7))
    assert "nothing to plot" in share_plot({}, "share", "AUROC", {}, 0.5).html().markup


def test_names_without_end_leave_room_for_the_axes() -> None:
    """They are cut in the middle, in figures alone: the numbers have them whole."""
    long, other = "first" + "n" * 300 + "last", "first" + "n" * 300 + "other"
    charts = [
        interval_plot({long: (0.5, 0.4, 0.6), other: (0.5, 0.4, 0.6)}, "AUROC", 0.5),
        scatter_plot({long: ([0, 1], [0, 1]), other: ([1], [0])}, "x", "y"),
    ]
    for chart in charts:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            svg = chart.html().markup
        assert "firstnnn" in svg
        assert {row[0] for row in chart.rows} == {long, other}
        (axes,) = chart.figure.axes
        assert axes.get_window_extent().width > 100
    assert shown_text("$" + "a" * 80, 10) == r"\$aaaa…aaaa"
    assert shown_text("a" * 10, 10) == "a" * 10
