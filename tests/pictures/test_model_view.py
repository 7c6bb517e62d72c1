"""Tokens on the grid, and which B-scans are shown."""

import numpy as np

from octshard.pictures.model_view import on_grid, planes, token_grid
from tests.support.model_views import made_up


def test_ids_of_the_whole_grid_lie_in_the_valid_part() -> None:
    flags = on_grid(np.array([0, 5, 23]), (2, 3, 4), (2, 2, 4))  # 5 = (0, 1, 1); 23 = (1, 2, 3) is padding
    assert np.argwhere(flags).tolist() == [[0, 0, 0], [0, 1, 1]]


def test_a_token_that_holds_one_voxel_counts() -> None:
    assert token_grid((4, 129, 300), (4, 16, 16)) == (1, 9, 19)


def test_planes_are_even_and_never_more_than_there_are() -> None:
    view = made_up()
    assert planes(view, 3) == [1, 3, 5]
    assert planes(view, 99) == [0, 1, 2, 3, 4, 5]


def test_plain_means_that_nothing_was_done_to_the_crop() -> None:
    view = made_up()
    assert not view.is_plain
    assert made_up(crop_DHW=view.crop_DHW, target_DHW=view.crop_DHW, context_DHW=view.crop_DHW).is_plain
