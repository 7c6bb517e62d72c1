"""Resamples of participants: how often each is drawn, the same draws for everything that is compared.

Letters: U participants, R resamples, P rows of predictions.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from octshard.probes.predictions import Predictions
from octshard.probes.targets import NUMBERS


@dataclass(frozen=True, eq=False)
class Resamples:
    """weight_RU: how often each participant is drawn; strata: how many people each stratum has.

    Weights lie in memory by participant, so that those of one are read at once.
    """

    participants: tuple[str, ...]
    weight_RU: np.ndarray
    strata: tuple[int, ...]

    def weights(self, predictions: Predictions) -> np.ndarray:
        """weight_RP of the rows of `predictions`: whoever is drawn brings all of theirs."""
        if predictions.participants == self.participants:
            return self.weight_RU
        place_of = {name: u for u, name in enumerate(self.participants)}
        owner_P = np.array([place_of[name] for name in predictions.participants], np.int64)
        return self.weight_RU.T[owner_P].T


def once(predictions: Predictions) -> np.ndarray:
    """weight_1P: every row once, for the estimate itself."""
    return np.ones((1, len(predictions.y_P)), np.int32)


def resample(predictions: Predictions, resamples: int, rng: np.random.Generator) -> Resamples:
    """Draws participants with replacement: within their class, for numbers from all.

    Stratified, because macro scores are means of per-class quantities, and each must be defined in every
    resample. Somebody whose eyes or scans have several classes stands with the rarest of them. A class of one
    participant never varies: the caller reports how small the classes are.
    """
    names = tuple(sorted(set(predictions.participants)))
    stratum_of = _strata(predictions)
    stratum_U = np.array([stratum_of[name] for name in names])
    sizes = np.unique(stratum_U, return_counts=True)[1]
    return Resamples(names, draw_resamples(stratum_U, resamples, rng), tuple(map(int, sizes)))


def draw_resamples(stratum_U: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """weight_RU: of each stratum as many are drawn as it has."""
    weight_UR = np.zeros((len(stratum_U), resamples), np.int32)
    for stratum in np.unique(stratum_U):
        members = np.flatnonzero(stratum_U == stratum)
        chances = np.full(len(members), 1 / len(members))
        weight_UR[members] = rng.multinomial(len(members), chances, resamples).T
    return weight_UR.T


def _strata(predictions: Predictions) -> Mapping[str, int]:
    """Participant -> class, the rarest that they have; one stratum for numbers."""
    if predictions.kind == NUMBERS:
        return dict.fromkeys(predictions.participants, 0)
    pairs = set(zip(predictions.participants, predictions.y_P.tolist(), strict=True))
    people_of = Counter(label for _, label in pairs)
    stratum_of: dict[str, int] = {}
    for name, label in sorted(pairs, key=lambda pair: (-people_of[pair[1]], -pair[1])):
        stratum_of[name] = label  # the last one is the rarest
    return stratum_of
