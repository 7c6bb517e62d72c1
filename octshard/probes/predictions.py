"""What a head says of test: probabilities or numbers, of each person, eye or scan, beside the truth.

Letters besides those of volume.py: P rows (one for each participant, if not said otherwise), C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.errors import OctshardError
from octshard.probes.targets import CLASSES, NUMBERS, ORDINAL


@dataclass(frozen=True, eq=False)
class Predictions:
    """Probabilities of each row (p_PC, rows sum to 1), or numbers (p_P1), and the true label (y_P).

    participants: who each row is about; intervals go by them. units: what each row is about, where that is
    not the participant. y_P of numbers is float; ordered: of classes, which then stand lowest first. scans:
    what is said of each scan, where rows are means over several.
    """

    participants: tuple[str, ...]
    p_PC: np.ndarray
    y_P: np.ndarray
    units: tuple[str, ...] = ()
    ordered: bool = False
    scans: "Predictions | None" = None

    @property
    def kind(self) -> str:
        """classes, ordinal or numbers."""
        if np.issubdtype(self.y_P.dtype, np.floating):
            return NUMBERS
        return ORDINAL if self.ordered else CLASSES

    @property
    def person_P(self) -> np.ndarray:
        """Whose each row is: numbers from 0, people in text order."""
        return np.unique(np.asarray(self.participants, object), return_inverse=True)[1]

    def same_rows(self, other: "Predictions") -> bool:
        """Whether both are about the same, row by row."""
        names = self.participants == other.participants and self.units == other.units
        return names and np.array_equal(self.y_P, other.y_P)


def by_participant(p_NC: np.ndarray, y_N: np.ndarray, participants: Sequence[str]) -> Predictions:
    """Averages what is said of each participant's scans; participants are in text order.

    OctshardError if the scans of a participant have different labels.
    """
    return by_unit(p_NC, y_N, participants, participants)


def by_unit(
    p_NC: np.ndarray,
    y_N: np.ndarray,
    units: Sequence[str],
    participants: Sequence[str],
    *,
    ordered: bool = False,
) -> Predictions:
    """Averages what is said of the scans of each unit (a person, an eye, a scan); units are in text order.

    OctshardError if the scans of a unit have different labels.
    """
    names, first, owner_N = np.unique(np.asarray(units, object), return_index=True, return_inverse=True)
    total_PC = np.zeros((len(names), p_NC.shape[1]))
    np.add.at(total_PC, owner_N, p_NC)
    y_P = y_N[first]
    if not np.array_equal(y_P[owner_N], y_N):
        name = names[owner_N[np.flatnonzero(y_P[owner_N] != y_N)[0]]]
        raise OctshardError(f"{name}: scans with different labels, want one label for a participant or unit")
    people, kept = tuple(participants[n] for n in first), tuple(map(str, names))
    mean_PC, scans = total_PC / np.bincount(owner_N)[:, None], None
    if len(names) < len(y_N):
        numbers = tuple(map(str, range(len(y_N))))
        scans = Predictions(tuple(participants), np.asarray(p_NC, np.float64), y_N, numbers, ordered)
    return Predictions(people, mean_PC, y_P, () if kept == people else kept, ordered, scans)
