"""Scans: features with the person, the class and the device (or site) of each, as every measure takes them.

Letters besides those of volume.py: N scans, P people, U units that labels are about, C classes, G groups
(devices, or sites), R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.errors import OctshardError
from octshard.probes.examples import Examples, standardisation


@dataclass(frozen=True, eq=False)
class Scans:
    """values_NF with, of each scan, its class (an index), its group (an index), its person, and its split.

    eyes: text that is the same for two scans if they show the same part of the same eye. units: what the
    class of each scan is of, where that is not the person: an eye, or the scan.
    """

    values_NF: np.ndarray
    y_N: np.ndarray
    group_N: np.ndarray
    participants: tuple[str, ...]
    eyes: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    units: tuple[str, ...] = ()

    @property
    def owners(self) -> tuple[str, ...]:
        """The unit of each scan."""
        return self.units or self.participants

    def part(self, places_N: np.ndarray) -> "Scans":
        """The scans at these places, or those that a mask keeps."""
        places_N = np.arange(len(self.participants))[places_N]
        participants, eyes, splits, units = (
            tuple(texts[n] for n in places_N) if texts else ()
            for texts in (self.participants, self.eyes, self.splits, self.units)
        )
        return Scans(
            self.values_NF[places_N], self.y_N[places_N], self.group_N[places_N],
            participants, eyes, splits, self.classes, self.groups, units,
        )  # fmt: skip

    def split(self, *names: str) -> "Scans":
        """The scans of these splits."""
        return self.part(np.isin(np.array(self.splits), names))

    def examples(self) -> Examples:
        """As a head takes them."""
        return Examples(self.values_NF, self.y_N, self.participants, self.units)


@dataclass(frozen=True, eq=False)
class People:
    """Who the scans are of, in text order: who is resampled, and whose scans are no neighbours of each other.

    owner_N: the person of each scan; y_P: their class, of several the one that fewest people have; people_C:
    how many have each class; scans_PG: how many scans each has in each group.
    """

    names: tuple[str, ...]
    owner_N: np.ndarray
    y_P: np.ndarray
    people_C: np.ndarray
    scans_PG: np.ndarray


@dataclass(frozen=True, eq=False)
class Units:
    """What labels are about, in text order: people, eyes or scans. owner_N: the unit of each scan; y_U: its
    class; person_U: whose it is, a place among People; scans_UG: how many scans it has in each group.
    """

    owner_N: np.ndarray
    y_U: np.ndarray
    person_U: np.ndarray
    scans_UG: np.ndarray


def people_of(scans: Scans) -> People:
    """The people of these scans."""
    names, owner_N = np.unique(np.array(scans.participants), return_inverse=True)
    pairs_X2 = np.unique(np.stack([owner_N, scans.y_N], axis=1), axis=0)
    people_C = np.bincount(pairs_X2[:, 1], minlength=len(scans.classes))
    rarest_last = np.lexsort((-pairs_X2[:, 1], -people_C[pairs_X2[:, 1]]))
    y_P = np.zeros(len(names), np.int64)
    for person, y in pairs_X2[rarest_last]:
        y_P[person] = y
    return People(tuple(map(str, names)), owner_N, y_P, people_C, _counts(owner_N, scans))


def units_of(scans: Scans) -> Units:
    """The units of these scans; OctshardError if one has several classes."""
    names, first, owner_N = np.unique(np.array(scans.owners), return_index=True, return_inverse=True)
    y_U = scans.y_N[first]
    if (several_N := y_U[owner_N] != scans.y_N).any():
        level = "unit" if scans.units else "participant"
        name = names[owner_N[several_N][0]]
        raise OctshardError(f"{level} {name}: scans of several classes, want one class per {level}")
    person_U = np.unique(np.array(scans.participants), return_inverse=True)[1][first]
    return Units(owner_N, y_U, person_U, _counts(owner_N, scans))


def _counts(owner_N: np.ndarray, scans: Scans) -> np.ndarray:
    """(owners, G): how many scans each owner has in each group."""
    scans_XG = np.zeros((int(owner_N.max(initial=-1)) + 1, len(scans.groups)), np.int64)
    np.add.at(scans_XG, (owner_N, scans.group_N), 1)
    return scans_XG


def unit_rows(values_NF: np.ndarray) -> np.ndarray:
    """Standardised over these scans, each row then of length 1 (a row of zeros stays), float32."""
    mean_F, scale_F = standardisation(values_NF)
    x_NF = (values_NF - mean_F) / scale_F
    return np.asarray(x_NF / np.maximum(np.linalg.norm(x_NF, axis=1, keepdims=True), 1e-12), np.float32)


def index_of(texts: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """(the distinct texts in order, the place in them of each)."""
    names, place_N = np.unique(np.array(texts), return_inverse=True)
    return tuple(map(str, names)), place_N
