"""Scores of scans -> of people -> means with intervals over people. A person counts once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.probes.scores import Estimate, estimate


@dataclass(frozen=True, eq=False)
class PersonScores:
    """Name of a score -> its value for each person, nan where they have none. People in text order."""

    people: tuple[str, ...]
    values: Mapping[str, np.ndarray]


def by_person(scans: Sequence[Mapping[str, float]], participants: Sequence[str]) -> PersonScores:
    """The mean of each score over the scans of a person that have it."""
    people, owner_N = np.unique(np.asarray(participants), return_inverse=True)
    values = {}
    for name in scans[0]:
        value_N = np.array([scan[name] for scan in scans])
        finite_N = np.isfinite(value_N)
        total_P = np.bincount(owner_N, np.where(finite_N, value_N, 0), len(people))
        values[name] = _ratio(total_P, np.bincount(owner_N, finite_N, len(people)))
    return PersonScores(tuple(map(str, people)), values)


def mean_of(draws: Sequence[PersonScores]) -> PersonScores:
    """Of several draws of one control: for each person the mean over those that are defined."""
    values = {}
    for name in draws[0].values:
        value_RP = np.stack([draw.values[name] for draw in draws])
        finite_RP = np.isfinite(value_RP)
        values[name] = _ratio(np.where(finite_RP, value_RP, 0).sum(axis=0), finite_RP.sum(axis=0))
    return PersonScores(draws[0].people, values)


def draw_resamples(people: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """weight_RP: how often each person is drawn, with replacement."""
    return rng.multinomial(people, np.full(people, 1 / people), size=resamples)


def estimates(scores: PersonScores, weight_RP: np.ndarray) -> dict[str, Estimate]:
    """Mean of each score over the people who have it, with its percentile interval."""
    return {name: _estimate(value_P, weight_RP) for name, value_P in scores.values.items()}


def differences(first: PersonScores, second: PersonScores, weight_RP: np.ndarray) -> dict[str, Estimate]:
    """first - second, person by person, over those who have the score in both (paired)."""
    return {name: _estimate(first.values[name] - second.values[name], weight_RP) for name in first.values}


def flip_p(first_P: np.ndarray, second_P: np.ndarray, flips: int, rng: np.random.Generator) -> float:
    """p of the mean difference if it did not matter which of the two each value came from (two-sided)."""
    gap_P = (first_P - second_P)[np.isfinite(first_P - second_P)]
    if not gap_P.size:
        return float("nan")
    signs_RP = rng.choice([-1.0, 1.0], size=(flips, gap_P.size))
    reached = int((np.abs(signs_RP @ gap_P) >= abs(gap_P.sum()) - 1e-9).sum())
    return (1 + reached) / (1 + flips)


def _estimate(value_P: np.ndarray, weight_RP: np.ndarray) -> Estimate:
    finite_P = np.isfinite(value_P)
    kept_P = np.where(finite_P, value_P, 0)
    means_R = _ratio(weight_RP @ kept_P, weight_RP @ finite_P)
    return estimate(float(_ratio(kept_P.sum(), finite_P.sum())), means_R)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, nan where bottom is 0."""
    top, bottom = np.asarray(top, float), np.asarray(bottom, float)
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
