"""The path of a circular B-scan, where a file tells its start and its centre."""

import numpy as np

CIRCLE_POINTS = 48


def circle(start_2: np.ndarray, centre_2: np.ndarray) -> np.ndarray:
    """(n_points, 2) of (row, col), all round and back, from the right; where it starts plays no part."""
    turn_P = np.linspace(0, 2 * np.pi, CIRCLE_POINTS)
    radius = np.hypot(*(start_2 - centre_2))
    return centre_2 + radius * np.stack([np.sin(turn_P), np.cos(turn_P)], axis=1)
