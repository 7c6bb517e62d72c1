"""Profiles of grey levels along depth, one for each block of columns, and what is read from them. Compiled.

Axes besides those of volume.py: Q blocks of columns, N samples along depth. Places along N count from 0.0 at
the upper edge of the first sample.
"""

import numpy as np

from octshard.imaging.jit import compiled

COLUMNS = 8  # retina_band.BLOCK, held by a test: a loop of constant length is five times as fast
MOST_ROWS = 257  # times 255 fits in 16 bits
NOWHERE = np.float32(np.nan)


def average(voxels_DHW: np.ndarray, rows: int) -> np.ndarray:
    """float32 (D, Q, N): means of uint8 voxels over COLUMNS and `rows`; the last of each may have fewer."""
    depth, height, width = voxels_DHW.shape
    profiles_DQN = np.empty((depth, -(-width // COLUMNS), -(-height // rows)), np.float32)
    _average(voxels_DHW, rows, np.empty(width, np.uint16), profiles_DQN)
    return profiles_DQN


def likeness(profiles_DQN: np.ndarray, step: int, steepest: int) -> np.ndarray:
    """float32 (D, Q): the correlation of a profile's differences over `step` samples with those beside it.

    Differences, so that a slow change with depth, which all profiles share, does not count. Those beside it
    are moved until the brightest samples meet, by at most `steepest`. 0 for a lone profile.
    """
    alike_DQ = np.zeros(profiles_DQN.shape[:2], np.float32)
    if profiles_DQN.shape[1] > 1:
        deeper_DQ = np.diff(profiles_DQN.argmax(axis=2), axis=1)
        deeper_DQ[np.abs(deeper_DQ) > steepest] = 0
        _likeness(profiles_DQN, step, np.pad(deeper_DQ, ((0, 0), (1, 1))), alike_DQ)
    return alike_DQ


def first_rise(profiles_DQN: np.ndarray, level_DQ: np.ndarray, steady: int) -> np.ndarray:
    """float32 (D, Q): the first place from which a profile, and its mean over `steady`, has the level.

    Between two samples by linear interpolation; NaN where there is no such place.
    """
    place_DQ = np.full(level_DQ.shape, NOWHERE)
    _first_rise(profiles_DQN, level_DQ.astype(np.float32), steady, place_DQ)
    return place_DQ


def brightest(profiles_DQN: np.ndarray, begin_DQ: np.ndarray) -> np.ndarray:
    """int64 (D, Q): the first of the brightest samples from `begin` on; -1 where there is none."""
    place_DQ = np.full(begin_DQ.shape, -1)
    _brightest(profiles_DQN, begin_DQ, place_DQ)
    return place_DQ


def brightest_near(profiles_DQN: np.ndarray, dark: float, centre_DQ: np.ndarray, reach: int) -> np.ndarray:
    """int64 (D, Q): as `brightest`, at most `reach` from the centre: what is farther from it counts less."""
    place_DQ = np.full(centre_DQ.shape, -1)
    _brightest_near(profiles_DQN, np.float32(dark), centre_DQ, reach, place_DQ)
    return place_DQ


def neighbours(place_DQ: np.ndarray, planes: int, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """(D, Q) each, of so many planes and blocks on each side: the median of what is no NaN, and its share."""
    median_DQ, share_DQ = np.full_like(place_DQ, np.nan), np.zeros_like(place_DQ)
    _neighbours(place_DQ, planes, blocks, median_DQ, share_DQ)
    return median_DQ, share_DQ


@compiled
def _average(voxels_DHW, rows, sums_W, profiles_DQN):  # type: ignore[no-untyped-def]
    depth, height, width = voxels_DHW.shape
    whole = width // COLUMNS
    for d in range(depth):
        for n in range(profiles_DQN.shape[2]):
            top, end = n * rows, min(height, n * rows + rows)
            for w in range(width):
                sums_W[w] = voxels_DHW[d, top, w]
            for h in range(top + 1, end):
                for w in range(width):
                    sums_W[w] += voxels_DHW[d, h, w]
            share = np.float32(1) / np.float32((end - top) * COLUMNS)
            for q in range(whole):
                total = np.uint32(0)
                for i in range(COLUMNS):
                    total += sums_W[q * COLUMNS + i]
                profiles_DQN[d, q, n] = np.float32(total) * share
            if whole < profiles_DQN.shape[1]:
                total = np.uint32(0)
                for w in range(whole * COLUMNS, width):
                    total += sums_W[w]
                voxels = (end - top) * (width - whole * COLUMNS)
                profiles_DQN[d, whole, n] = np.float32(total) / np.float32(voxels)


@compiled
def _likeness(profiles_DQN, step, deeper_DQ, alike_DQ):  # type: ignore[no-untyped-def]
    """deeper_DQ: by how much a block lies deeper than the one before it; one more than there are blocks."""
    depth, blocks, samples = profiles_DQN.shape
    for d in range(depth):
        for q in range(blocks):
            left, right = profiles_DQN[d, max(q - 1, 0)], profiles_DQN[d, min(q + 1, blocks - 1)]
            own, up, down = profiles_DQN[d, q], deeper_DQ[d, q], deeper_DQ[d, q + 1]
            first, last = np.float32(q > 0), np.float32(q < blocks - 1)
            begin, end = max(0, up, -down), samples - step - max(0, -up, down)
            x, y, xx, yy, xy = 0.0, 0.0, 0.0, 0.0, 0.0
            for n in range(begin, end):
                a = own[n + step] - own[n]
                b = first * (left[n - up + step] - left[n - up])
                b += last * (right[n + down + step] - right[n + down])
                x += a
                y += b
                xx += a * a
                yy += b * b
                xy += a * b
            pairs = max(0, end - begin)
            spread = (pairs * xx - x * x) * (pairs * yy - y * y)
            if spread > 0:
                alike_DQ[d, q] = (pairs * xy - x * y) / np.sqrt(spread)


@compiled
def _first_rise(profiles_DQN, level_DQ, steady, place_DQ):  # type: ignore[no-untyped-def]
    depth, blocks, samples = profiles_DQN.shape
    for d in range(depth):
        for q in range(blocks):
            own, level = profiles_DQN[d, q], level_DQ[d, q]
            for n in range(samples):
                if own[n] < level:
                    continue
                total, stop = np.float32(0), min(samples, n + steady)
                for i in range(n, stop):
                    total += own[i]
                if total < level * (stop - n):
                    continue
                step = own[n] - own[n - 1] if n > 0 else np.float32(0)
                place_DQ[d, q] = n + 0.5 - (own[n] - level) / step if step > 0 else np.float32(n)
                break


@compiled
def _brightest(profiles_DQN, begin_DQ, place_DQ):  # type: ignore[no-untyped-def]
    for d in range(place_DQ.shape[0]):
        for q in range(place_DQ.shape[1]):
            own, most = profiles_DQN[d, q], np.float32(-1)
            for n in range(begin_DQ[d, q], profiles_DQN.shape[2]):
                if own[n] > most:
                    most = own[n]
                    place_DQ[d, q] = n


@compiled
def _brightest_near(profiles_DQN, dark, centre_DQ, reach, place_DQ):  # type: ignore[no-untyped-def]
    fading = np.float32(0.3) / np.float32(reach)
    for d in range(place_DQ.shape[0]):
        for q in range(place_DQ.shape[1]):
            own, centre, most = profiles_DQN[d, q], centre_DQ[d, q], np.float32(0)
            for n in range(max(0, centre - reach), min(profiles_DQN.shape[2], centre + reach + 1)):
                weighted = (own[n] - dark) * (np.float32(1) - fading * np.float32(abs(n - centre)))
                if weighted > most:
                    most = weighted
                    place_DQ[d, q] = n


@compiled
def _neighbours(place_DQ, planes, beside, median_DQ, share_DQ):  # type: ignore[no-untyped-def]
    depth, blocks = place_DQ.shape
    ordered = np.empty((2 * planes + 1) * (2 * beside + 1), place_DQ.dtype)
    for d in range(depth):
        for q in range(blocks):
            count, all_places = 0, 0
            for i in range(max(0, d - planes), min(depth, d + planes + 1)):
                for j in range(max(0, q - beside), min(blocks, q + beside + 1)):
                    all_places += 1
                    place = place_DQ[i, j]
                    if np.isnan(place):
                        continue
                    k = count
                    while k > 0 and ordered[k - 1] > place:
                        ordered[k] = ordered[k - 1]
                        k -= 1
                    ordered[k] = place
                    count += 1
            share_DQ[d, q] = count / all_places
            if count > 0:
                median_DQ[d, q] = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
