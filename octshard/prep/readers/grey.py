"""Grey that was stored as colour: channels that are equal. Pure."""

import numpy as np

from octshard.prep.refusals import Refused


def of_channels(values_HWC: np.ndarray, slack: int = 0) -> np.ndarray:
    """Levels (H, W), those of the second channel; Refused `not_oct` if channels differ by more than that."""
    spread_HW = values_HWC.max(axis=2) - values_HWC.min(axis=2)  # which no unsigned number wraps
    if coloured := int((spread_HW > slack).sum()):
        raise Refused("not_oct", f"{coloured} of {spread_HW.size} pixels are in colour, want grey levels")
    return values_HWC[..., 1]
