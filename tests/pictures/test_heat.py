"""Shares over grey levels: none darkens, all colours, and the scan shows through both."""

import numpy as np

from octshard.pictures import heat
from octshard.pictures.panels import TARGET


def test_no_share_is_a_darker_grey_and_a_whole_one_the_colour() -> None:
    grey_HW = np.array([[0, 255], [0, 255]], np.uint8)
    over_HW3 = heat.over(grey_HW, np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert over_HW3[0].tolist() == [[0, 0, 0], [153, 153, 153]]
    assert over_HW3[1, 1].tolist() == np.rint(255 * np.array(TARGET)).tolist()
    assert over_HW3[1, 0].tolist() == np.rint(255 * 0.5 * np.array(TARGET)).tolist()
