"""What lies beside each place of a grid of B-scans (D) and blocks of columns (Q): medians over a window."""

import numpy as np

from octshard.imaging.jit import compiled


def neighbours(place_DQ: np.ndarray, planes: int, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """(D, Q) each, of so many planes and blocks on each side: the median of what is no NaN, and its share."""
    median_DQ, share_DQ = np.full_like(place_DQ, np.nan), np.zeros_like(place_DQ)
    _neighbours(place_DQ, planes, blocks, median_DQ, share_DQ)
    return median_DQ, share_DQ


@compiled
def _with(place, ordered, count):  # type: ignore[no-untyped-def]
    """Puts a place among the first `count` of `ordered`, unless it is NaN; how many these are then."""
    if np.isnan(place):
        return count
    k = count
    while k > 0 and ordered[k - 1] > place:
        ordered[k] = ordered[k - 1]
        k -= 1
    ordered[k] = place
    return count + 1


@compiled
def _without(place, ordered, count):  # type: ignore[no-untyped-def]
    """The reverse of `_with`."""
    if np.isnan(place):
        return count
    k = 0
    while ordered[k] != place:
        k += 1
    for i in range(k, count - 1):
        ordered[i] = ordered[i + 1]
    return count - 1


@compiled
def _neighbours(place_DQ, planes, beside, median_DQ, share_DQ):  # type: ignore[no-untyped-def]
    """What a window holds is kept in order: one column goes and one comes as it moves along."""
    depth, blocks = place_DQ.shape
    ordered = np.empty((2 * planes + 1) * (2 * beside + 2), place_DQ.dtype)  # a column comes before one goes
    for d in range(depth):
        first_plane, last_plane = max(0, d - planes), min(depth, d + planes + 1)
        count, first, last = 0, 0, 0  # columns first to last are in the window
        for q in range(blocks):
            while last < min(blocks, q + beside + 1):
                for i in range(first_plane, last_plane):
                    count = _with(place_DQ[i, last], ordered, count)
                last += 1
            while first < q - beside:
                for i in range(first_plane, last_plane):
                    count = _without(place_DQ[i, first], ordered, count)
                first += 1
            share_DQ[d, q] = count / ((last_plane - first_plane) * (last - first))
            if count > 0:
                median_DQ[d, q] = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
