"""Features in a plane: groups that lie apart stay apart, and rare groups share a colour."""

import numpy as np
import pytest

from octshard.eval.figures.projection import OTHERS, project, projection_chart
from octshard.rng import rng_for


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_two_groups_lie_apart_and_the_picture_repeats(method: str) -> None:
    rng = rng_for("projection")
    values_NF = rng.normal(size=(40, 12))
    values_NF[:20] += 6
    xy_N2 = project(values_NF, method, 3)
    np.testing.assert_array_equal(xy_N2, project(values_NF, method, 3))
    centres_22 = np.stack([xy_N2[:20].mean(axis=0), xy_N2[20:].mean(axis=0)])
    nearest_N = np.linalg.norm(xy_N2[:, None] - centres_22, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest_N, np.repeat([0, 1], 20))


@pytest.mark.parametrize("method", ["pca", "tsne"])
@pytest.mark.parametrize("shape", [(4, 1), (5, 3)])
def test_few_points_and_few_features_have_a_picture(method: str, shape: tuple[int, int]) -> None:
    xy_N2 = project(rng_for("few").normal(size=shape), method, 0)
    assert xy_N2.shape == (shape[0], 2)
    assert np.isfinite(xy_N2).all()


@pytest.mark.parametrize("method", ["pca", "tsne"])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e30])
def test_rows_that_are_all_equal_are_one_point(method: str, value: float) -> None:
    xy_N2 = project(np.full((40, 8), value), method, 0)
    np.testing.assert_array_equal(xy_N2, np.zeros((40, 2)))


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_one_row_that_differs_has_a_picture(method: str) -> None:
    values_NF = np.ones((40, 8))
    values_NF[7, 3] = 2
    xy_N2 = project(values_NF, method, 0)
    assert np.isfinite(xy_N2).all()
    assert np.abs(xy_N2).max() > 0


def test_three_points_have_none() -> None:
    with pytest.raises(ValueError, match="3 rows, want at least 4"):
        project(np.zeros((3, 2)), "pca", 0)


def test_rare_groups_share_a_colour() -> None:
    chart = projection_chart(np.arange(10.0).reshape(5, 2), ["b", "a", "b", "c", "d"], "pca", 2)
    assert [row[0] for row in chart.rows] == ["b", "b", "a", OTHERS, OTHERS]
