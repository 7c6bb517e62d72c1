"""What the neighbours of a run's val volumes should not follow: their device, or else their site.

The robustness index of each snapshot is made of it; volumes without one stand aside.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.config.eval import RobustnessConfig
from octshard.probes import neighbours
from octshard.probes.grouped_scans import Scans, index_of, people_of
from octshard.rng import rng_for

DEVICE, SITE = "device", "site"
NEIGHBOURS = RobustnessConfig().neighbours
LEAST = 5  # people of each class and each group: fewer are no neighbourhood


@dataclass(frozen=True, eq=False)
class Nuisance:
    """scans: the volumes that have it, of classes and groups with enough people, still without features;
    places_N: theirs among all volumes.
    """

    name: str
    scans: Scans
    places_N: np.ndarray

    @property
    def digest(self) -> str:
        """Of the volumes with class and group."""
        scans = self.scans
        text = json.dumps([scans.eyes, scans.y_N.tolist(), scans.group_N.tolist(), scans.groups])
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def index(self, values_NF: np.ndarray) -> float:
        """The robustness index of features of all volumes: 0 all nuisance, 1 all biology."""
        scans = dataclasses.replace(self.scans, values_NF=values_NF[self.places_N])
        nobody_0P = np.zeros((0, len(people_of(scans).names)), np.int64)
        result = neighbours.robustness_index(scans, NEIGHBOURS, nobody_0P, rng_for("probe", "ties"))
        return result.index.value


@dataclass(frozen=True, eq=False)
class LabelledVolumes:
    """keys, classes (y_N, an index into `classes`) and participants of volumes."""

    keys: tuple[str, ...]
    y_N: np.ndarray
    participants: tuple[str, ...]
    classes: tuple[str, ...]


def choose(volumes: LabelledVolumes, text_of: Mapping[str, Sequence[str]]) -> Nuisance | str:
    """The first name in text_of (name -> group of each volume, empty: not known) of which there is an index;
    if there is none, why.
    """
    reasons = []
    for name, texts in text_of.items():
        nuisance = _nuisance(name, volumes, np.array(texts, object))
        if isinstance(nuisance, Nuisance):
            return nuisance
        reasons.append(nuisance)
    return "; ".join(reasons)


def _nuisance(name: str, volumes: LabelledVolumes, text_N: np.ndarray) -> Nuisance | str:
    known_N = np.flatnonzero(text_N != "")
    if len(groups := sorted(set(text_N[known_N]))) < 2:
        return f"all val volumes are of one {name}, {groups[0]}" if groups else f"no val volume has a {name}"
    places_N = _enough(known_N, volumes, text_N)
    if len(set(text_N[places_N])) < 2 or len(set(volumes.y_N[places_N].tolist())) < 2:
        return f"val has no two classes and no two values of {name} with {LEAST} people each"
    names, group_N = index_of(list(text_N[places_N]))
    people = tuple(volumes.participants[n] for n in places_N)
    scans = Scans(
        np.zeros((len(places_N), 0)), volumes.y_N[places_N], group_N, people,
        tuple(volumes.keys[n] for n in places_N), ("val",) * len(places_N), volumes.classes, names,
    )  # fmt: skip
    if not np.isfinite(neighbours.chance(scans)):
        return f"class and {name} are one in val"
    return Nuisance(name, scans, places_N)


def _enough(places_N: np.ndarray, volumes: LabelledVolumes, text_N: np.ndarray) -> np.ndarray:
    """Without the volumes of a class or a group of few people, until all that are left have enough."""
    people_N = np.array(volumes.participants, object)
    while True:
        kept_N = places_N
        for value_N in (volumes.y_N, text_N):
            few = [
                value
                for value in set(value_N[kept_N].tolist())
                if len(set(people_N[kept_N[value_N[kept_N] == value]])) < LEAST
            ]
            kept_N = kept_N[~np.isin(value_N[kept_N], np.array(few, value_N.dtype))]
        if len(kept_N) == len(places_N):
            return kept_N
        places_N = kept_N
