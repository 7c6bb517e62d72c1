"""The robustness index: are the nearest scans of other people alike by biology, or by the device?

index = SO / (SO + OS) over the nearest neighbours of every scan: SO of the same class and another device, OS
of another class and the same device; 0 is all device, 1 all biology (Koemen et al. 2025, PathoROB; the ratio
of de Jong et al. 2025 without the neighbours that tell nothing).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from octshard.probes.grouped_scans import Scans, people_of, unit_rows
from octshard.probes.scores import Estimate, estimate

BLOCK = 512  # queries at once, for memory
SPARE = 4  # neighbours kept beyond those counted, as a multiple: a resample leaves out about 37 % of people


@dataclass(frozen=True)
class RobustnessIndex:
    """`index` with its interval over people; `chance`: the value if neighbours were drawn at random, nan
    where class and group are one; `neighbours`: how many of each scan were counted.
    """

    index: Estimate
    chance: float
    neighbours: int


def robustness_index(
    scans: Scans, neighbours: int, weight_RP: np.ndarray, rng: np.random.Generator
) -> RobustnessIndex:
    """The index over `scans`; weight_RP counts people (in text order) as queries and as neighbours alike.

    As many neighbours as the smallest class and the smallest group have scans of other people, or
    `neighbours`, if that is less. A person's scans share one weight; rng breaks ties.
    """
    scans = scans.part(rng.permutation(len(scans.participants)))
    people = people_of(scans)
    counted = min(neighbours, *_least_others(scans, people.owner_N))
    if counted < 1:
        nothing = float("nan")
        return RobustnessIndex(Estimate(nothing, nothing, nothing), nothing, 0)
    query = _Query(people.owner_N, _share(people.owner_N), counted)
    kept = min(SPARE * counted + SPARE, len(scans.participants))
    near_NM, far_NM = _nearest(scans, people.owner_N, kept)
    kind_NM = _kinds(scans, near_NM) * np.isfinite(far_NM)
    ones_1P = np.ones((1, len(people.names)), np.int64)
    value, spread_R = (
        _index(kind_NM, people.owner_N[near_NM], weight, query) for weight in (ones_1P, weight_RP)
    )
    return RobustnessIndex(estimate(float(value[0]), spread_R), chance(scans), counted)


def chance(scans: Scans) -> float:
    """The index if every scan of every other person were a neighbour; nan where class and group are one."""
    owner_N = people_of(scans).owner_N
    share_N = _share(owner_N)
    same = other = 0.0
    for rows in _blocks(len(owner_N)):
        stranger_BN = owner_N[rows, None] != owner_N
        same_class = scans.y_N[rows, None] == scans.y_N
        same_group = scans.group_N[rows, None] == scans.group_N
        same += float(share_N[rows] @ (stranger_BN & same_class & ~same_group).sum(axis=1))
        other += float(share_N[rows] @ (stranger_BN & ~same_class & same_group).sum(axis=1))
    return same / (same + other) if same + other > 0 else float("nan")


@dataclass(frozen=True, eq=False)
class _Query:
    owner_N: np.ndarray
    share_N: np.ndarray
    counted: int


def _index(kind_NM: np.ndarray, neighbour_NM: np.ndarray, weight_RP: np.ndarray, query: _Query) -> np.ndarray:
    """(R,): each scan's neighbours, each as often as its person is drawn, until `counted` are counted."""
    index_R = np.full(len(weight_RP), np.nan)
    for r, weight_P in enumerate(weight_RP):
        times_NM = weight_P[neighbour_NM]
        before_NM = np.cumsum(times_NM, axis=1) - times_NM
        times_NM = np.clip(query.counted - before_NM, 0, times_NM)
        mass_N = weight_P[query.owner_N] * query.share_N
        same, other = (float(mass_N @ (times_NM * (kind_NM == kind)).sum(axis=1)) for kind in (1, -1))
        if same + other > 0:
            index_R[r] = same / (same + other)
    return index_R


def _kinds(scans: Scans, near_NM: np.ndarray) -> np.ndarray:
    """1 for a neighbour of the same class and another group, -1 for the opposite, else 0."""
    same_class = scans.y_N[near_NM] == scans.y_N[:, None]
    same_group = scans.group_N[near_NM] == scans.group_N[:, None]
    return np.asarray(same_class.astype(np.int8) - same_group.astype(np.int8))


def _nearest(scans: Scans, owner_N: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(places, cosines) of each scan's nearest of other people, -inf behind the last of them."""
    unit_NF = unit_rows(scans.values_NF)
    places, cosines = [], []
    for rows in _blocks(len(unit_NF)):
        cosine_BN = unit_NF[rows] @ unit_NF.T
        cosine_BN[owner_N[rows, None] == owner_N] = -np.inf
        order_BM = np.argsort(-cosine_BN, axis=1, kind="stable")[:, :count]
        places.append(order_BM)
        cosines.append(np.take_along_axis(cosine_BN, order_BM, axis=1))
    return np.concatenate(places), np.concatenate(cosines)


def _share(owner_N: np.ndarray) -> np.ndarray:
    """1 / the scans of its person."""
    return np.asarray(1 / np.bincount(owner_N)[owner_N])


def _least_others(scans: Scans, owner_N: np.ndarray) -> tuple[int, int]:
    """The fewest scans of other people that a scan has in its own class, and in its own group."""
    least = []
    for of_N in (scans.y_N, scans.group_N):
        total_N = np.bincount(of_N)[of_N]
        _, own_N, size = np.unique(np.stack([owner_N, of_N]), axis=1, return_inverse=True, return_counts=True)
        least.append(int((total_N - size[own_N.ravel()]).min()))
    return least[0], least[1]


def _blocks(total: int) -> Iterator[np.ndarray]:
    for start in range(0, total, BLOCK):
        yield np.arange(start, min(start + BLOCK, total))
