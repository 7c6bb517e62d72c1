"""Mask sets of `kind: retina`: cubes, and a share of the targets lies in the retinal band of the volume.

Cubes are hidden in the band until it holds its share of the targets, at most `ratio` of it, so that the
context sees the retina too; then elsewhere until `ratio` of the volume is hidden. Placement and score have
one band.
"""

from typing import NamedTuple

import numpy as np

from octshard.config.objective import MaskSet
from octshard.imaging.volume import triple
from octshard.train.objectives.hidden import cube_order_of
from octshard.train.objectives.token_counts import TokenCounts


class Choice(NamedTuple):
    """bool (d, h, w): what is hidden, and what of it are the targets."""

    hidden_dhw: np.ndarray
    target_dhw: np.ndarray


class Coverage(NamedTuple):
    """purity: the share of the targets that lie in the band; covered: the share of the band that is target,
    the inner-retina coverage.
    """

    purity: float
    covered: float


def coverage_of(target_dhw: np.ndarray, band_dhw: np.ndarray) -> Coverage:
    """Of one volume; both bool over its valid tokens, each true somewhere."""
    both = int((target_dhw & band_dhw).sum())
    return Coverage(both / int(target_dhw.sum()), both / int(band_dhw.sum()))


def targets_in_band(mask_set: MaskSet, targets: int, band: int, others: int) -> int:
    """How many of so many targets lie in a band of `band` tokens, with `others` outside it."""
    share = min(round(mask_set.band * targets), int(mask_set.ratio * band))
    return max(share, targets - others)


def draw(mask_set: MaskSet, counts: TokenCounts, band_dhw: np.ndarray, rng: np.random.Generator) -> Choice:
    """T targets, and K tokens or more that are not hidden. Whole cubes, but the last is cut in the band, and
    the last elsewhere.
    """
    valid, band_N = band_dhw.size, band_dhw.ravel()
    band = int(band_N.sum())
    inside = targets_in_band(mask_set, counts.T, band, valid - band)
    outside = counts.T - inside
    cube_N = cube_order_of(mask_set, triple(band_dhw.shape), rng).ravel()
    order_N = cube_N + rng.random(valid)  # whole cubes, within them at random
    in_band = _first(order_N, band_N, inside)
    # elsewhere: the rest of cubes that are hidden, then cubes without a token of the band, then the others
    touches_N = np.isin(cube_N, cube_N[band_N])
    turn_N = np.where(np.isin(cube_N, cube_N[in_band]), 0, 1 + touches_N)
    most = valid - counts.K - inside
    count = max(outside, min(most, round(mask_set.ratio * valid) - inside, valid - band))
    elsewhere = _first(order_N + turn_N * valid, ~band_N, count)
    target = np.concatenate([in_band, rng.permutation(elsewhere)[:outside]])
    return Choice(*(_flags(ids, band_dhw) for ids in (np.concatenate([in_band, elsewhere]), target)))


def _first(order_N: np.ndarray, among_N: np.ndarray, count: int) -> np.ndarray:
    """The `count` places of `among_N` that come first."""
    places: np.ndarray = np.flatnonzero(among_N)
    return places[np.argsort(order_N[places])[:count]]


def _flags(places: np.ndarray, like_dhw: np.ndarray) -> np.ndarray:
    flags_dhw = np.zeros_like(like_dhw)
    flags_dhw.flat[places] = True
    return flags_dhw
