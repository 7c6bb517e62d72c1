"""Positions of tokens in a grid (d, h, w): rotary angles and sin-cos vectors, number by number."""

import math

import numpy as np

from tests.support.numpy_step.weights import Array

BASE = 10000.0
Grid = tuple[int, int, int]


def coordinates(token: int, grid: Grid) -> Grid:
    """Along D, H, W; the last axis runs fastest."""
    _, height, width = grid
    return token // (height * width), token // width % height, token % width


def places(ids_N: Array, grid: Grid, scale: Grid = (1, 1, 1)) -> Array:
    """(N, 3): the middle of each token, which covers `scale` of the image's; the first of those is at 0."""
    rows = [
        [i * s + (s - 1) / 2 for i, s in zip(coordinates(int(token), grid), scale, strict=True)]
        for token in ids_N
    ]
    return np.array(rows)


def rotary_angles(place_N3: Array, head_dim: int) -> Array:
    """(N, head_dim / 2): the pairs of D, those of H, those of W, and pairs that stay as they are."""
    pairs = head_dim // 6
    rows = []
    for token_3 in place_N3:
        angles = [place * BASE ** (-k / pairs) for place in token_3 for k in range(pairs)]
        rows.append(angles + [0.0] * (head_dim // 2 - 3 * pairs))
    return np.array(rows)


def sincos(place_N3: Array, width: int) -> Array:
    """(N, width): for each axis all sines, then all cosines; what is left is 0."""
    frequencies = [BASE ** (-k / (width // 6)) for k in range(width // 6)]
    rows = []
    for token_3 in place_N3:
        row = []
        for place in token_3:
            row += [math.sin(place * f) for f in frequencies] + [math.cos(place * f) for f in frequencies]
        rows.append(row + [0.0] * (width - len(row)))
    return np.array(rows)
