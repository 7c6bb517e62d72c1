"""Curves: the same file each time, text that stays text, every point where its numbers are."""

import pytest

from octshard.pictures.curve import Axes, Curve, draw, render

AXES = Axes("share of labels", "macro AUROC", 0.5)
CURVES = [
    Curve("vjepa2", (0.01, 0.1, 1.0), (0.6, 0.7, 0.9), (0.5, 0.6, 0.85), (0.7, 0.8, 0.95)),
    Curve("random-init", (0.1, 1.0), (0.5, 0.6), (0.4, 0.5), (0.6, 0.7)),
]


@pytest.mark.parametrize("form", ["png", "svg"])
def test_the_same_curves_are_the_same_file(form):
    assert render(CURVES, AXES, form) == render(CURVES, AXES, form)


def test_names_and_shares_are_text():
    text = render(CURVES, AXES, "svg").decode()
    for word in ("vjepa2", "random-init", "1 %", "10 %", "100 %", "macro AUROC", "share of labels"):
        assert word in text


def test_points_stand_at_their_values():
    plot = draw(CURVES, AXES).axes[0]
    lines = [container.lines[0] for container in plot.containers]
    assert [list(line.get_ydata()) for line in lines] == [[0.6, 0.7, 0.9], [0.5, 0.6]]
    assert list(lines[0].get_xdata()) == pytest.approx([0.01, 0.1, 1.0], rel=0.03)
    assert plot.get_xscale() == "log"


def test_one_point_and_no_curve_do_not_crash():
    assert render([Curve("a", (1.0,), (0.7,), (0.6,), (0.8,))], AXES, "svg")
    assert render([], AXES, "png")
