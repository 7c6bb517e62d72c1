"""Examples: features of scans with their target and participant, and how much each scan weighs."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from octshard.probes.dealt_labels import deal


@dataclass(frozen=True, eq=False)
class Examples:
    """Features of scans with their target and participant.

    x_NF: rows of features, or token grids x_NVF, in which a row of zeros is padding. y_N: an index of a class
    or of an ordered level (int64), or a number (float64). units: what the target of each scan is of, where
    that is not the participant: an eye, or the scan.
    """

    x_NF: np.ndarray
    y_N: np.ndarray
    participants: tuple[str, ...]
    units: tuple[str, ...] = ()

    @property
    def owners(self) -> tuple[str, ...]:
        """The unit of each scan, over which what is said of scans is averaged."""
        return self.units or self.participants

    def rows(self, order_N: np.ndarray) -> "Examples":
        """Those scans, in that order."""
        people, units = (
            tuple(names[n] for n in order_N) if names else () for names in (self.participants, self.units)
        )
        return Examples(self.x_NF[order_N], self.y_N[order_N], people, units)


def share(examples: Examples) -> np.ndarray:
    """share_N: 1 / the scans of its participant, so that everybody adds up to 1."""
    _, owner_N = np.unique(np.asarray(examples.participants), return_inverse=True)
    return 1.0 / np.bincount(owner_N)[owner_N]


def standardisation(x_NF: np.ndarray, weight_N: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population std of each feature in float64; a feature that does not vary gets scale 1.

    weight_N: how much each scan counts; None: all alike.
    """
    mean_F = np.average(x_NF.astype(np.float64), axis=0, weights=weight_N)
    std_F = np.sqrt(np.average(np.square(x_NF - mean_F), axis=0, weights=weight_N))
    flat_F = std_F <= 1e-6 * np.maximum(np.abs(mean_F), 1e-6)  # below float32's rounding: noise, not signal
    return mean_F, np.where(flat_F, 1.0, std_F)


def balance(examples: Examples) -> np.ndarray:
    """weight_N, mean 1: the same total for every class, and for every participant within its class."""
    share_N = share(examples)
    participants_C = np.bincount(examples.y_N, weights=share_N)
    weight_N = share_N / participants_C[examples.y_N]
    return weight_N / weight_N.mean()


def even(examples: Examples) -> np.ndarray:
    """weight_N, mean 1: the same total for every participant."""
    share_N = share(examples)
    return share_N / share_N.mean()


def shuffled(examples: Examples, rng: np.random.Generator) -> Examples:
    """The control: targets dealt among people; the scans of one unit keep one target."""
    _, first, owner_N = np.unique(np.asarray(examples.owners), return_index=True, return_inverse=True)
    _, person_N = np.unique(np.asarray(examples.participants), return_inverse=True)
    dealt_U = deal(examples.y_N[first], person_N[first], rng)
    return dataclasses.replace(examples, y_N=dealt_U[owner_N])
