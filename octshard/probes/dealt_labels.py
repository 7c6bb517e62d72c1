"""Labels dealt among people at random: what a score would be if labels told nothing of who has them.

Eyes and scans of one person are alike, and so are their labels. Torn apart they would count as many
people, and p would be too small.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from octshard.probes.metrics import METRICS, measure
from octshard.probes.predictions import Predictions
from octshard.probes.resamples import once

ALIKE = 8  # people at least, among whom labels are dealt


def deal(y_U: np.ndarray, person_U: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """y_U with all labels of a person given to another one of as many rows, in their order.

    person_U: whose each row is, numbers from 0. A number of rows that fewer than ALIKE people have is dealt
    with the next one: what is too many for one of them fills what is open at others.
    """
    count_P = np.bincount(person_U)
    start_P = np.cumsum(count_P) - count_P
    place_U = np.argsort(person_U, kind="stable")  # person by person
    label_U, owner_U = y_U[place_U], person_U[place_U]
    rank_U = np.arange(len(y_U)) - start_P[owner_U]
    giver_P = _givers(count_P, rng)
    is_filled_U = rank_U < count_P[giver_P][owner_U]
    is_given_U = rank_U < count_P[np.argsort(giver_P)][owner_U]
    dealt_U = np.empty_like(y_U)
    dealt_U[place_U[is_filled_U]] = label_U[(start_P[giver_P][owner_U] + rank_U)[is_filled_U]]
    dealt_U[place_U[~is_filled_U]] = label_U[~is_given_U]
    return dealt_U


def _givers(count_P: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """giver_P: a permutation of the people within groups of as many rows, or nearly so."""
    groups: list[list[int]] = [[]]
    for count in np.unique(count_P):
        if len(groups[-1]) >= ALIKE:
            groups.append([])
        groups[-1] += np.flatnonzero(count_P == count).tolist()
    if len(groups) > 1 and len(groups[-1]) < ALIKE:
        groups[-2:] = [groups[-2] + groups[-1]]
    giver_P = np.arange(len(count_P))
    for group in groups:
        giver_P[group] = rng.permutation(group)
    return giver_P


def label_p(runs: Sequence[Predictions], deals: int, rng: np.random.Generator) -> float:
    """p that the score which decides, its mean over the runs, is reached with the labels of test dealt."""
    metric, person_P = METRICS[runs[0].kind][0], runs[0].person_P

    def score(y_P: np.ndarray) -> float:
        dealt = [dataclasses.replace(run, y_P=y_P) for run in runs]
        return float(np.mean([measure(run, once(run))[metric][0] for run in dealt]))

    value = score(runs[0].y_P)
    reached = sum(score(deal(runs[0].y_P, person_P, rng)) >= value for _ in range(deals))
    return (1 + reached) / (1 + deals)
