"""Same-eye pairs: is an eye on one device nearer to itself on another device than to the other eyes there?

Features are averaged over the scans of an eye on a device, and standardised within each device, so that a
constant shift between two devices is not counted; what it costs is shown beside it (`raw`).
"""

from dataclasses import dataclass

import numpy as np

from octshard.probes.examples import standardisation
from octshard.probes.grouped_scans import Scans, index_of
from octshard.probes.scores import Estimate, estimate

MIN_EYES = 2  # on the other device: with one there is nothing to choose from


@dataclass(frozen=True)
class Retrieval:
    """first: how often the same eye is the nearest; chance: of that, if the nearest were drawn at random.

    rank: of the same eye among the eyes of the other device, 0 nearest, 1 farthest, 0.5 by chance. distance:
    cosine distance to the same eye over the mean to the others; below 1 is nearer.
    """

    first: Estimate
    rank: Estimate
    distance: Estimate
    chance: float


@dataclass(frozen=True)
class EyePairs:
    """pairs: (eye, device, other device); people: who has one. Values are nan without any."""

    pairs: int
    people: int
    raw: Retrieval
    within_device: Retrieval


def eye_pairs(scans: Scans, resamples: int, rng: np.random.Generator) -> EyePairs:
    """Over all ordered pairs of groups; intervals over the people who have a pair."""
    eyes = _eyes(scans)
    within_EF = np.empty_like(eyes.values_EF)
    for group in np.unique(eyes.group_E):
        own = eyes.group_E == group
        mean_F, scale_F = standardisation(eyes.values_EF[own])
        within_EF[own] = (eyes.values_EF[own] - mean_F) / scale_F
    mean_F, scale_F = standardisation(eyes.values_EF)
    raw_EF = (eyes.values_EF - mean_F) / scale_F
    raw, within = (_queries(eyes, x_EF) for x_EF in (raw_EF, within_EF))
    _, owner_Q = index_of([eyes.participants[e] for e in raw.eye_Q]) if len(raw.eye_Q) else ((), np.zeros(0))
    people = int(owner_Q.max()) + 1 if len(owner_Q) else 0
    weight_RP = rng.multinomial(people, np.full(people, 1 / people), size=resamples) if people else None
    return EyePairs(
        len(raw.eye_Q), people, _retrieval(raw, owner_Q, weight_RP), _retrieval(within, owner_Q, weight_RP)
    )


@dataclass(frozen=True, eq=False)
class _Eyes:
    values_EF: np.ndarray
    group_E: np.ndarray
    eye_E: np.ndarray
    participants: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Queries:
    eye_Q: np.ndarray
    first_Q: np.ndarray
    rank_Q: np.ndarray
    distance_Q: np.ndarray
    chance_Q: np.ndarray


def _eyes(scans: Scans) -> _Eyes:
    """One row for each eye on each device: the mean of its scans."""
    _, eye_N = index_of(scans.eyes)
    pairs_2E, first, row_N = np.unique(
        np.stack([eye_N, scans.group_N]), axis=1, return_index=True, return_inverse=True
    )
    row_N = row_N.ravel()
    values_EF = np.zeros((len(first), scans.values_NF.shape[1]))
    np.add.at(values_EF, row_N, scans.values_NF)
    values_EF /= np.bincount(row_N)[:, None]
    return _Eyes(values_EF, pairs_2E[1], pairs_2E[0], tuple(scans.participants[n] for n in first))


def _queries(eyes: _Eyes, x_EF: np.ndarray) -> _Queries:
    unit_EF = x_EF / np.maximum(np.linalg.norm(x_EF, axis=1, keepdims=True), 1e-12)
    rows = []
    for group in np.unique(eyes.group_E):
        there = np.flatnonzero(eyes.group_E == group)
        if len(there) < MIN_EYES:
            continue
        place_of = {eye: n for n, eye in enumerate(eyes.eye_E[there].tolist())}
        queries = [
            e for e in range(len(eyes.eye_E)) if eyes.group_E[e] != group and int(eyes.eye_E[e]) in place_of
        ]
        for e in queries:
            away_K = 1 - unit_EF[there] @ unit_EF[e]
            own = place_of[int(eyes.eye_E[e])]
            rows.append((e, *_query(away_K, own)))
    columns = np.array(rows, np.float64).reshape(-1, 5).T
    return _Queries(columns[0].astype(np.int64), *columns[1:])


def _query(away_K: np.ndarray, own: int) -> tuple[float, float, float, float]:
    """(1 if the own eye is nearest, its rank, its distance over the mean to others, chance); ties share."""
    others = np.delete(away_K, own)
    nearer, level = (others < away_K[own] - 1e-9).sum(), (np.abs(others - away_K[own]) <= 1e-9).sum()
    first = 0.0 if nearer else 1 / (1 + level)
    mean = max(float(others.mean()), 1e-12)
    return first, float(nearer + level / 2) / len(others), float(away_K[own]) / mean, 1 / len(away_K)


def _retrieval(queries: _Queries, owner_Q: np.ndarray, weight_RP: np.ndarray | None) -> Retrieval:
    if weight_RP is None:
        nothing = Estimate(float("nan"), float("nan"), float("nan"))
        return Retrieval(nothing, nothing, nothing, float("nan"))
    size_P = np.bincount(owner_Q)

    def mean(value_Q: np.ndarray) -> Estimate:
        """Over people; the pairs of one share their weight."""
        value_P = np.bincount(owner_Q, value_Q) / size_P
        return estimate(float(value_P.mean()), weight_RP @ value_P / weight_RP.sum(axis=1))

    chance = float((np.bincount(owner_Q, queries.chance_Q) / size_P).mean())
    return Retrieval(mean(queries.first_Q), mean(queries.rank_Q), mean(queries.distance_Q), chance)
