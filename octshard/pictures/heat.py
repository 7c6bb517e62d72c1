"""Shares of tokens over grey levels: the more of a colour, the larger the share."""

import numpy as np

from octshard.pictures.panels import TARGET

DARKENED = 0.6  # what white becomes where there is no share, so that the colour stands out
FLOOR = 0.5  # of the colour, where the scan is black


def over(grey_HW: np.ndarray, share_HW: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3): uint8 grey levels, and the colour by shares in [0, 1]."""
    light_HW1, share_HW1 = grey_HW[..., None] / 255, share_HW[..., None]
    coloured_HW3 = (FLOOR + (1 - FLOOR) * light_HW1) * np.array(TARGET)
    mixed_HW3 = (1 - share_HW1) * DARKENED * light_HW1 + share_HW1 * coloured_HW3
    return np.rint(255 * mixed_HW3).astype(np.uint8)
