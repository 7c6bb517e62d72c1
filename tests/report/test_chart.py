"""A chart on a page and beside it: one picture, its words, its numbers."""

import csv
import io
import re
from html.parser import HTMLParser

import matplotlib
import numpy as np
from PIL import Image

from octshard.report.chart import Chart
from octshard.report.histograms import histograms
from octshard.report.plots import interval_plot, line_plot, scatter_plot

NAMES = {"$<b>&": (0.5, 0.4, 0.6), "b_$": (0.7, 0.6, 0.8)}


def charts() -> list[Chart]:
    lines = {name: (range(3), value) for name, value in NAMES.items()}
    return [
        line_plot(lines, "$x<i>", "y"),
        interval_plot(NAMES, "$x<i>", 0.5),
        scatter_plot(lines, "$x<i>", "y"),
        histograms(NAMES, "$x<i>"),
    ]


def test_any_text_is_shown_as_it_is_and_every_tag_closed() -> None:
    for chart in charts():
        markup = chart.html("a <caption>").markup
        assert "<b>" not in markup
        assert "<i>" not in markup
        assert "a &lt;caption&gt;" in markup
        HTMLParser().feed(markup)
        assert markup.count("<text") == markup.count("</text>") > 0
        texts = re.findall(r"<text[^>]*>(.*?)</text>", markup)
        assert any("$&lt;b&gt;&amp;" in text for text in texts), texts


def test_charts_of_a_page_share_no_id_but_that_of_one_drawing() -> None:
    """matplotlib numbers axes and lines from 1 in each figure; a marker is named after what it looks like."""
    for chart in charts():
        markup = chart.html().markup
        for name in re.findall(r' id="([^"]+)"', markup):
            assert f"#{name}" in markup, name
        assert len(set(re.findall(r' id="([^"]+)"', markup))) == len(re.findall(r' id="([^"]+)"', markup))


def test_the_same_chart_is_the_same_bytes_whatever_a_matplotlibrc_says() -> None:
    plain = [(chart.html(), chart.files("a")) for chart in charts()]
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "lines.linewidth": 9}):
        assert [(chart.html(), chart.files("a")) for chart in charts()] == plain


def test_a_paper_gets_a_picture_and_the_numbers() -> None:
    chart = interval_plot(NAMES, "x", None)
    files = chart.files("auroc")
    assert list(files) == ["auroc.svg", "auroc.png", "auroc.csv"]
    image = Image.open(io.BytesIO(files["auroc.png"]))
    width, height = chart.figure.get_size_inches()
    np.testing.assert_allclose(image.size, (width * 300, height * 300), atol=1)
    assert files["auroc.svg"].startswith(b"<?xml")
    header, *rows = csv.reader(io.StringIO(files["auroc.csv"].decode()))
    assert header == ["name", "x", "low", "high"]
    assert rows == [["$<b>&", "0.5", "0.4", "0.6"], ["b_$", "0.7", "0.6", "0.8"]]
