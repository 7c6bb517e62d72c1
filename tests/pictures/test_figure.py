"""The figure: true proportions, the same bytes twice, vector text, and nothing lies over something else."""

import io
from itertools import combinations
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from octshard.errors import UsageError
from octshard.pictures import figure
from tests.support.model_views import made_up


@pytest.mark.parametrize("form", figure.FORMATS)
def test_the_same_volume_gives_the_same_bytes(form: str) -> None:
    assert figure.render(made_up(), form, 2) == figure.render(made_up(), form, 2)


def test_png_has_300_dots_per_inch_and_no_date() -> None:
    with Image.open(io.BytesIO(figure.render(made_up(), "png", 3))) as image:
        assert image.size[0] == 2160
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert set(image.info) == {"dpi"}


def test_text_of_vector_files_is_text() -> None:
    assert b"Targets: what is to be predicted</text>" in figure.render(made_up(), "svg", 2)
    assert b"/FontFile2" in figure.render(made_up(), "pdf", 2)


@pytest.mark.parametrize("spacing", [(0.5, 0.02, 0.1), (0.05, 0.02, 0.02), (0.01, 0.5, 0.02)])
@pytest.mark.parametrize("columns", [1, 4, 8])
def test_a_mm_is_a_mm_on_both_axes(spacing: Any, columns: int) -> None:
    """From the pixels of each panel, and from those of the en face view, 6 x 24 voxels along D and W."""
    drawn = figure.draw(made_up(spacing_mm=spacing), columns)
    en_face, *panels = [axes.get_window_extent() for axes in drawn.axes]
    assert len(panels) == 5 * min(columns, 6)
    for panel in panels:  # 24 rows, with padding, and 24 columns
        assert panel.height / panel.width == pytest.approx(24 * spacing[1] / (24 * spacing[2]), rel=1e-6)
    assert en_face.height / en_face.width == pytest.approx(6 * spacing[0] / (24 * spacing[2]), rel=1e-6)


@pytest.mark.parametrize("spacing", [(0.5, 0.02, 0.1), (0.01, 0.5, 0.02), None])
def test_nothing_overlaps_or_leaves_the_sheet(spacing: Any) -> None:
    view = made_up(spacing_mm=spacing, colours_dhw3=np.zeros((3, 3, 3, 3)))
    drawn = figure.draw(view, 4)
    renderer = FigureCanvasAgg(drawn).get_renderer()
    boxes = [axes.get_window_extent() for axes in drawn.axes]
    boxes += [text.get_window_extent(renderer) for text in drawn.texts]
    boxes += [drawn.legends[0].get_window_extent(renderer)]
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= drawn.bbox.width
        assert 0 <= box.y0 < box.y1 <= drawn.bbox.height
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other), (one, other)


def test_a_title_that_is_too_long_is_cut() -> None:
    title, detail = "$_" * 200, "detail " * 50
    drawn = figure.draw(made_up(title=title, detail=detail), 2)
    renderer = FigureCanvasAgg(drawn).get_renderer()
    for text in drawn.texts[:2]:
        assert text.get_text().endswith("…")
        assert (title + detail).startswith(text.get_text()[:-1]) or detail.startswith(text.get_text()[:-1])
        assert 6.5 * 72 < text.get_window_extent(renderer).x1 / drawn.dpi * 72 <= 7.2 * 72


def test_a_matplotlibrc_of_the_user_changes_nothing() -> None:
    plain = figure.render(made_up(), "png", 2)
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30, "image.interpolation": "nearest"}):
        assert figure.render(made_up(), "png", 2) == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_the_bar_is_as_long_as_it_says() -> None:
    drawn = figure.draw(made_up(), 1)
    for axes, width_mm in zip(drawn.axes[:2], (2.4, 2.4), strict=True):
        (bar,) = [line for line in axes.lines if line.get_color() == "white"]
        (label,) = [text.get_text() for text in axes.texts if "mm" in text.get_text()]
        assert np.ptp(bar.get_xdata()) == pytest.approx(float(label.removesuffix(" mm")))
        assert axes.get_xlim() == pytest.approx((0, width_mm))


def test_where_the_spacing_is_not_known_there_is_no_bar() -> None:
    drawn = figure.draw(made_up(spacing_mm=None), 1)
    assert not [text for axes in drawn.axes for text in axes.texts if "mm" in text.get_text()]


def test_lines_of_the_en_face_view_lie_where_the_b_scans_were_taken() -> None:
    view = made_up()  # reversed: the B-scans 1, 3, 5 of the views are 4, 2, 0 of the stored volume
    lines = [line.get_ydata()[0] for line in figure.draw(view, 3).axes[0].lines if len(line.get_xdata()) == 2]
    assert lines[:3] == pytest.approx([0.5 * (n + 0.5) for n in (4, 2, 0)])


def test_another_suffix_is_a_usage_error() -> None:
    assert figure.format_of("gs://bucket/a.b/x.PDF") == "pdf"
    with pytest.raises(UsageError, match=r"x\.jpg: want a name that ends in \.png, \.pdf or \.svg"):
        figure.format_of("x.jpg")


def test_panels_by_themselves_have_the_figure_s_titles_and_true_proportions() -> None:
    view = made_up()
    images = figure.panel_images(view, 3)
    assert [title for title, _ in images][:2] == ["As stored", "Target view: moved only"]
    assert len(images) == 5
    for _, image_HW3 in images:
        assert image_HW3.dtype == np.uint8
        high, wide, _ = image_HW3.shape
        assert wide / high == pytest.approx(24 * 0.1 / (24 * 0.02), rel=0.02)  # whole tokens: 24 x 24 voxels
    context, target = images[3][1], images[4][1]
    assert not np.array_equal(context, target)
