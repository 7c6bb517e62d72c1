"""Scans: features with the person, the class and the device (or site) of each, as every measure takes them.

Letters besides those of volume.py: N scans, P people, C classes, G groups (devices, or sites), R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.errors import OctshardError
from octshard.probes.examples import Examples, standardisation


@dataclass(frozen=True, eq=False)
class Scans:
    """values_NF with, of each scan, its class (an index), its group (an index), its person, and its split.

    eyes: text that is the same for two scans if they show the same part of the same eye.
    """

    values_NF: np.ndarray
    y_N: np.ndarray
    group_N: np.ndarray
    participants: tuple[str, ...]
    eyes: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    groups: tuple[str, ...]

    def part(self, places_N: np.ndarray) -> "Scans":
        """The scans at these places, or those that a mask keeps."""
        places_N = np.arange(len(self.participants))[places_N]
        participants, eyes, splits = (
            tuple(texts[n] for n in places_N) for texts in (self.participants, self.eyes, self.splits)
        )
        return Scans(
            self.values_NF[places_N], self.y_N[places_N], self.group_N[places_N],
            participants, eyes, splits, self.classes, self.groups,
        )  # fmt: skip

    def split(self, *names: str) -> "Scans":
        """The scans of these splits."""
        return self.part(np.isin(np.array(self.splits), names))

    def examples(self) -> Examples:
        """As a head takes them."""
        return Examples(self.values_NF, self.y_N, self.participants)


@dataclass(frozen=True, eq=False)
class People:
    """Who the scans are of, in text order. owner_N: the person of each scan; y_P: their class; scans_PG: how
    many scans each has in each group.
    """

    names: tuple[str, ...]
    owner_N: np.ndarray
    y_P: np.ndarray
    scans_PG: np.ndarray


def people_of(scans: Scans) -> People:
    """The people of these scans; OctshardError if one has several classes."""
    names, first, owner_N = np.unique(np.array(scans.participants), return_index=True, return_inverse=True)
    y_P = scans.y_N[first]
    if (several_N := y_P[owner_N] != scans.y_N).any():
        person = names[owner_N[several_N][0]]
        raise OctshardError(f"participant {person}: scans of several classes, want one class per participant")
    scans_PG = np.zeros((len(names), len(scans.groups)), np.int64)
    np.add.at(scans_PG, (owner_N, scans.group_N), 1)
    return People(tuple(map(str, names)), owner_N, y_P, scans_PG)


def unit_rows(values_NF: np.ndarray) -> np.ndarray:
    """Standardised over these scans, each row then of length 1 (a row of zeros stays), float32."""
    mean_F, scale_F = standardisation(values_NF)
    x_NF = (values_NF - mean_F) / scale_F
    return np.asarray(x_NF / np.maximum(np.linalg.norm(x_NF, axis=1, keepdims=True), 1e-12), np.float32)


def index_of(texts: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """(the distinct texts in order, the place in them of each)."""
    names, place_N = np.unique(np.array(texts), return_inverse=True)
    return tuple(map(str, names)), place_N
