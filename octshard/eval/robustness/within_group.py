"""What is left of a score within one device: only people scanned on the same device are compared.

A head that read the device instead of the class orders people of different devices well, and people of one
device not at all. So score - score within devices is what the device gave it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.probes import linear, scores
from octshard.probes.grouped_scans import Scans, units_of
from octshard.probes.scores import Estimate, estimate


@dataclass(frozen=True)
class WithinGroup:
    """Macro AUROC over all pairs of test people (`overall`), over pairs of one group (`within`), and their
    difference on the same resamples (`given`). reason: why there is nothing, or empty.
    """

    overall: Estimate
    within: Estimate
    given: Estimate
    reason: str = ""


def within_group(scans: Scans, regularisation: Sequence[float], weight_RP: np.ndarray) -> WithinGroup:
    """A head on all train people, C chosen on val; a person (or eye) is scored once on each group.

    weight_RP counts the people of test.
    """
    train, val, test = (scans.split(name) for name in ("train", "val", "test"))
    if few := [s for s, part in (("val", val), ("test", test)) if len(np.unique(part.y_N)) < 2]:
        return _nothing(f"fewer than 2 classes in {' and '.join(few)}")
    if len(np.unique(train.y_N)) < len(scans.classes):
        return _nothing("a class that nobody has in train")
    p_NC = linear.predict(linear.fit(train.examples(), val.examples(), regularisation), test.values_NF)
    units = units_of(test)
    unit_X, group_X, p_XC = _by_group(test, units.owner_N, p_NC)
    once_RP = np.concatenate([np.ones((1, weight_RP.shape[1]), np.int64), weight_RP])
    weight_RX = once_RP[:, units.person_U[unit_X]]
    overall_R, within_R = (
        _macro_auroc(p_XC, units.y_U[unit_X], part_X, weight_RX)
        for part_X in (np.zeros_like(group_X), group_X)
    )
    overall, within, given = (
        estimate(float(of_R[0]), of_R[1:]) for of_R in (overall_R, within_R, overall_R - within_R)
    )
    defined = np.isfinite(within_R[0])
    return WithinGroup(overall, within, given, "" if defined else "no group has test people of two classes")


def _by_group(
    test: Scans, owner_N: np.ndarray, p_NC: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(unit, group, mean probabilities) of each unit in each group."""
    pair_2X, place_N = np.unique(np.stack([owner_N, test.group_N]), axis=1, return_inverse=True)
    place_N = place_N.ravel()
    p_XC = np.zeros((pair_2X.shape[1], p_NC.shape[1]))
    np.add.at(p_XC, place_N, p_NC)
    return pair_2X[0], pair_2X[1], p_XC / np.bincount(place_N)[:, None]


def _macro_auroc(p_UC: np.ndarray, y_U: np.ndarray, part_U: np.ndarray, weight_RU: np.ndarray) -> np.ndarray:
    """(R,): AUROC of each class over pairs of one part, parts by their pairs; mean over the classes."""
    auroc_CR = []
    for c in range(p_UC.shape[1]):
        wins_R, pairs_R = np.zeros(len(weight_RU)), np.zeros(len(weight_RU))
        for part in np.unique(part_U):
            own = part_U == part
            positive_U, weight_RO = y_U[own] == c, weight_RU[:, own]
            pairs = weight_RO[:, positive_U].sum(axis=1) * weight_RO[:, ~positive_U].sum(axis=1)
            auroc_R = scores.auroc(positive_U, p_UC[own, c], weight_RO)
            wins_R += np.where(pairs > 0, pairs * np.nan_to_num(auroc_R), 0)
            pairs_R += pairs
        auroc_CR.append(np.divide(wins_R, pairs_R, out=np.full(len(pairs_R), np.nan), where=pairs_R > 0))
    defined = [auroc_R for auroc_R in auroc_CR if np.isfinite(auroc_R[0])]
    return np.mean(defined, axis=0) if defined else np.full(len(weight_RU), np.nan)


def _nothing(reason: str) -> WithinGroup:
    nothing = Estimate(float("nan"), float("nan"), float("nan"))
    return WithinGroup(nothing, nothing, nothing, reason)
