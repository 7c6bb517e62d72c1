"""Profiles of grey levels along depth, one for each block of columns, and what is read from them.

Sums are compiled loops of a fixed order: NumPy's differ between processors in the last bits, and what is
found must be the same on every machine.

Axes besides those of volume.py: Q blocks of columns, N samples along depth. Places along N count from 0.0 at
the upper edge of the first sample.
"""

import numpy as np

from octshard.imaging.jit import compiled

COLUMNS = 8  # retina_band.BLOCK, held by a test: a loop of constant length is five times as fast
MOST_ROWS = 257  # times 255 fits in 16 bits
NOWHERE = np.float32(np.nan)
FAINT = np.float32(0.7)  # of the level of tissue: what is darker may lie between two parts


def average(voxels_DHW: np.ndarray, rows: int) -> np.ndarray:
    """float32 (D, Q, N): means of uint8 voxels over COLUMNS and `rows`; the last of each may have fewer."""
    depth, height, width = voxels_DHW.shape
    profiles_DQN = np.empty((depth, -(-width // COLUMNS), -(-height // rows)), np.float32)
    _average(voxels_DHW, rows, np.empty(width, np.uint16), profiles_DQN)
    return profiles_DQN


def peaks(profiles_DQN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(D, Q) each, float32 and int64: the highest level of a profile, and the first sample that has it."""
    level_DQ = np.empty(profiles_DQN.shape[:2], np.float32)
    place_DQ = np.empty(profiles_DQN.shape[:2], np.int64)
    _peaks(profiles_DQN, level_DQ, place_DQ)
    return level_DQ, place_DQ


def likeness(profiles_DQN: np.ndarray, peak_DQ: np.ndarray, step: int, steepest: int) -> np.ndarray:
    """float32 (D, Q): the mean correlation of a profile's steps (over `step` samples) with those beside it.

    Steps, so that a slow change with depth, which all profiles share, does not count. Those beside it are
    moved until the brightest samples (`peaks`) meet, by at most `steepest`. 0 for a lone profile.
    """
    depth, blocks, samples = profiles_DQN.shape
    if blocks == 1 or samples <= step:
        return np.zeros((depth, blocks), np.float32)
    deeper_DQ = np.diff(peak_DQ, axis=1)
    deeper_DQ[np.abs(deeper_DQ) > steepest] = 0
    pairs_DQ = np.zeros((depth, blocks + 1), np.float32)  # of a block and the one before it; 0 at both ends
    _correlate(profiles_DQN, step, deeper_DQ, pairs_DQ)
    beside_Q = np.where(np.isin(np.arange(blocks), (0, blocks - 1)), 1, 2).astype(np.float32)
    return (pairs_DQ[:, :-1] + pairs_DQ[:, 1:]) / beside_Q


def tissue_top(profiles_DQN: np.ndarray, level_DQ: np.ndarray, steady: int, gap: int) -> np.ndarray:
    """float32 (D, Q): the first place from which a profile, and its mean over `steady`, has the level.

    Of parts with `gap` faint samples between them the one with most light counts, not a bar or a reflection
    high in the vitreous. Between two samples by linear interpolation; NaN where there is no such place.
    """
    place_DQ = np.full(level_DQ.shape, NOWHERE)
    _tissue_top(profiles_DQN, level_DQ.astype(np.float32), steady, gap, place_DQ)
    return place_DQ


def brightest(profiles_DQN: np.ndarray, begin_DQ: np.ndarray, level_DQ: np.ndarray, gap: int) -> np.ndarray:
    """int64 (D, Q): the last of the brightest samples from `begin` to the next gap; -1: there is none."""
    place_DQ = np.full(begin_DQ.shape, -1)
    _brightest(profiles_DQN, begin_DQ, level_DQ.astype(np.float32), gap, place_DQ)
    return place_DQ


def brightest_near(profiles_DQN: np.ndarray, dark: float, centre_DQ: np.ndarray, reach: int) -> np.ndarray:
    """int64 (D, Q): as `brightest`, at most `reach` from the centre: what is farther from it counts less."""
    place_DQ = np.full(centre_DQ.shape, -1)
    _brightest_near(profiles_DQN, np.float32(dark), centre_DQ, reach, place_DQ)
    return place_DQ


def parabola(place_DQ: np.ndarray, weight_DQ: np.ndarray, stiff: tuple[float, float, float]) -> np.ndarray:
    """float64 (D, Q): of each B-scan the weighted least squares parabola through the places of its blocks.

    stiff: what is added to the diagonal of the normal equations of level, slope and curvature.
    """
    x_Q = np.linspace(-1, 1, place_DQ.shape[1])
    moments_D8 = np.zeros((len(place_DQ), 8))
    _moments(place_DQ.astype(np.float64), weight_DQ, x_Q, moments_D8)
    a, b, c, d, e, u, v, w = moments_D8.T
    a, c_middle, e = a + stiff[0], c + stiff[1], e + stiff[2]
    # Cramer's rule for [[a, b, c], [b, c_middle, d], [c, d, e]]
    aa, bb, cc = c_middle * e - d * d, c * d - b * e, b * d - c_middle * c
    scale = a * aa + b * bb + c * cc
    level = (u * aa + v * bb + w * cc) / scale
    slope = (u * bb + v * (a * e - c * c) + w * (b * c - a * d)) / scale
    curvature = (u * cc + v * (b * c - a * d) + w * (a * c_middle - b * b)) / scale
    return level[:, None] + (slope[:, None] + curvature[:, None] * x_Q) * x_Q


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
def _dot(a, b, samples):  # type: ignore[no-untyped-def]
    """Four sums at once: one alone would wait for itself."""
    s, t, u, v = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for n in range(0, samples - 3, 4):
        s += a[n] * b[n]
        t += a[n + 1] * b[n + 1]
        u += a[n + 2] * b[n + 2]
        v += a[n + 3] * b[n + 3]
    for n in range(samples - samples % 4, samples):
        s += a[n] * b[n]
    return (s + t) + (u + v)


@compiled
def _peaks(profiles_DQN, level_DQ, place_DQ):  # type: ignore[no-untyped-def]
    depth, blocks, samples = profiles_DQN.shape
    for d in range(depth):
        for q in range(blocks):
            own = profiles_DQN[d, q]
            most = own[0]
            for n in range(1, samples):
                most = max(most, own[n])  # a loop of its own, as it is vectorised
            place = 0
            while own[place] != most:
                place += 1
            level_DQ[d, q], place_DQ[d, q] = most, place


@compiled
def _correlate(profiles_DQN, step, deeper_DQ, pairs_DQ):  # type: ignore[no-untyped-def]
    """Of the steps of each block with those of the next one, which lies so much deeper."""
    depth, blocks, samples = profiles_DQN.shape[0], profiles_DQN.shape[1], profiles_DQN.shape[2] - step
    step_QN = np.empty((blocks, samples), np.float32)  # of one B-scan: it stays in the cache
    norm_Q, ones_N = np.empty(blocks, np.float32), np.ones(samples, np.float32)
    for d in range(depth):
        for q in range(blocks):
            own, profile = step_QN[q], profiles_DQN[d, q]
            for n in range(samples):
                own[n] = profile[n + step] - profile[n]
            mean = _dot(own, ones_N, samples) / np.float32(samples)
            for n in range(samples):
                own[n] -= mean
            norm_Q[q] = np.sqrt(_dot(own, own, samples))
        for q in range(blocks - 1):
            deeper, norms = deeper_DQ[d, q], norm_Q[q] * norm_Q[q + 1]
            own, other = step_QN[q, max(0, -deeper) :], step_QN[q + 1, max(0, deeper) :]
            if norms > 0:
                pairs_DQ[d, q + 1] = _dot(own, other, max(0, samples - abs(deeper))) / norms


@compiled
def _is_steady(own, level, n, steady):  # type: ignore[no-untyped-def]
    if own[n] < level:
        return False
    total, stop = np.float32(0), min(own.size, n + steady)
    for i in range(n, stop):
        total += own[i]
    return total >= level * (stop - n)


@compiled
def _tissue_top(profiles_DQN, level_DQ, steady, gap, place_DQ):  # type: ignore[no-untyped-def]
    depth, blocks, samples = profiles_DQN.shape
    for d in range(depth):
        for q in range(blocks):
            own, level = profiles_DQN[d, q], level_DQ[d, q]
            faint, top, most = level * FAINT, -1, np.float32(0)
            start, light, dark_run = -1, np.float32(0), 0
            first = 0
            while first < samples and own[first] < level:  # nothing begins there
                first += 1
            for n in range(first, samples):
                dark_run = dark_run + 1 if own[n] < faint else 0
                if dark_run >= gap:
                    start, light = -1, np.float32(0)
                elif start < 0 and _is_steady(own, level, n, steady):
                    start = n
                if start >= 0:
                    light += max(own[n] - faint, np.float32(0))
                    if light > most:
                        top, most = start, light
            if top >= 0:
                rise = own[top] - own[top - 1] if top > 0 else np.float32(0)
                place_DQ[d, q] = top + 0.5 - (own[top] - level) / rise if rise > 0 else np.float32(top)


@compiled
def _brightest(profiles_DQN, begin_DQ, level_DQ, gap, place_DQ):  # type: ignore[no-untyped-def]
    for d in range(place_DQ.shape[0]):
        for q in range(place_DQ.shape[1]):
            own, most, dark_run, faint = profiles_DQN[d, q], np.float32(-1), 0, level_DQ[d, q] * FAINT
            for n in range(begin_DQ[d, q], profiles_DQN.shape[2]):
                dark_run = dark_run + 1 if own[n] < faint else 0
                if dark_run >= gap:
                    break
                if own[n] >= most:
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
def _moments(place_DQ, weight_DQ, x_Q, moments_D8):  # type: ignore[no-untyped-def]
    for d in range(place_DQ.shape[0]):
        for q in range(x_Q.size):
            x, weighted = x_Q[q], weight_DQ[d, q]
            for i in range(5):
                moments_D8[d, i] += weighted
                if i < 3:
                    moments_D8[d, 5 + i] += weighted * place_DQ[d, q]
                weighted *= x
