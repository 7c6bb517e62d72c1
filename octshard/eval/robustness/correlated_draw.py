"""Draws of people in which a class goes with a group as closely as asked: none, all, or anything between.

Each person gives one scan of one group; where the label is of eyes, each eye. At every strength a class has
as many people, so that what changes is the correlation alone; who gives which is a bipartite matching.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from octshard.probes.grouped_scans import Scans, units_of


@dataclass(frozen=True, eq=False)
class Pairing:
    """match_CG: True where a class and a group go together at full strength."""

    match_CG: np.ndarray

    def counts(self, count: int, strength: float) -> np.ndarray:
        """(C, G): of `count` people a class, how many in each group: at 0 all alike, at 1 in its own alone.

        With two classes and two groups `strength` is Cramer's V.
        """
        classes, groups = self.match_CG.shape
        own_CG = self.match_CG / self.match_CG.sum(axis=1, keepdims=True)
        share_CG = (1 - strength) / groups + strength * own_CG
        return np.stack([_whole(count * share_CG[c], count) for c in range(classes)])


def pairing(classes: int, groups: int, rng: np.random.Generator) -> Pairing:
    """Classes and groups dealt to each other, as evenly as their numbers allow."""
    kinds = min(classes, groups)
    kind_C, kind_G = rng.permutation(classes) % kinds, rng.permutation(groups) % kinds
    return Pairing(kind_C[:, None] == kind_G[None])


def largest(scans: Scans, pairings: Sequence[Pairing], strengths: Sequence[float]) -> int:
    """The most people a class that every pairing and strength can be given."""
    units = units_of(scans)
    has_UG = units.scans_UG > 0
    members = [np.flatnonzero(units.y_U == c) for c in range(len(scans.classes))]

    def fits(count: int) -> bool:
        tables = (p.counts(count, strength) for p in pairings for strength in strengths)
        return all(
            _match(has_UG[members[c]], counts_G) is not None
            for counts_CG in tables
            for c, counts_G in enumerate(counts_CG)
        )

    return _greatest(fits, min(map(len, members)))


def draw(scans: Scans, pairing: Pairing, strength: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Places of count x C scans, one a person. ValueError if there are too few people (`largest`)."""
    units = units_of(scans)
    places = []
    for c, counts_G in enumerate(pairing.counts(count, strength)):
        members = rng.permutation(np.flatnonzero(units.y_U == c))
        groups = _match(units.scans_UG[members] > 0, counts_G)
        if groups is None:
            raise ValueError(f"draw: class {c} has too few people for {counts_G.tolist()}")
        for unit, group in zip(members, groups, strict=True):
            if group >= 0:
                own = np.flatnonzero((units.owner_N == unit) & (scans.group_N == group))
                places.append(int(rng.choice(own)))
    return np.array(places)


def _match(has_PG: np.ndarray, counts_G: np.ndarray) -> np.ndarray | None:
    """The group of each person, -1 for those who are not needed; None if the counts cannot be met."""
    group_S = np.repeat(np.arange(len(counts_G)), counts_G)
    if len(group_S) > len(has_PG):
        return None
    slot_P = maximum_bipartite_matching(csr_array(has_PG[:, group_S].T), perm_type="row")
    if (slot_P >= 0).sum() < len(group_S):
        return None
    return np.where(slot_P >= 0, group_S[slot_P], -1)


def _whole(share_G: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers that sum to `total`: the largest remainders are rounded up."""
    whole_G = np.floor(share_G + 1e-9).astype(np.int64)
    rest = total - int(whole_G.sum())
    whole_G[np.argsort(whole_G - share_G, kind="stable")[:rest]] += 1
    return whole_G


def _greatest(fits: Callable[[int], bool], most: int) -> int:
    """The greatest number up to `most` that fits, where all below one that fits do too."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
