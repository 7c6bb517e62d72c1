"""How well features tell the site and the device of a scan: what goes with these can be read through them.

The same head, fitted on train and scored on test, each person once for each of their sites or devices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.dataset.splits import SPLITS
from octshard.eval.controls.provenance import DEVICE, SITE, Provenance
from octshard.eval.verdict import bracketed
from octshard.probes import scores
from octshard.probes.examples import Examples
from octshard.probes.labels import MIN_TRAIN_PARTICIPANTS, LabelledScans, Subset
from octshard.probes.scores import Estimate, Predictions

COLUMNS = (SITE, DEVICE)
BESIDE = "\x1f"  # between a person and their value, in the name of a unit
WARNING = "Warning"  # how a sentence begins that is one
HIGH = 0.8  # macro AUROC: from here on a page warns
UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"))
Probe = Callable[[Examples, Examples, Examples], Predictions]  # train, val, test
Draw = Callable[[int], np.ndarray]  # people -> weight_RP


@dataclass(frozen=True)
class Reading:
    """How well one column is told, by macro AUROC. values: those told apart; people: in test; problem: why it
    cannot be said, empty if it can.
    """

    column: str
    values: tuple[str, ...]
    people: int
    auroc: Estimate
    problem: str = ""

    @property
    def is_high(self) -> bool:
        """The column can be read off the features."""
        return bool(self.auroc.value >= HIGH)

    def sentence(self, subject: str) -> str:
        """For people, of the features of `subject`; a warning where the column can be read."""
        if self.problem:
            return f"Whether the {subject} features tell the {self.column} is not known: {self.problem}."
        told = f"macro AUROC {bracketed(self.auroc)}, {len(self.values)} {self.column}s, {self.people} people"
        if self.is_high:
            return (
                f"{WARNING}: the {self.column} can be read off the {subject} features ({told}). A label "
                "that goes with it can be read through it."
            )
        return f"The {self.column} as read off the {subject} features: {told}."


def read(
    values_NF: np.ndarray, provenance: Provenance, scans: LabelledScans, probe: Probe, draw: Draw
) -> tuple[Reading, ...]:
    """The readings of COLUMNS from the labelled scans, with intervals over people."""
    readings = []
    for column in COLUMNS:
        text_N = provenance.values[column]
        classes = _classes(text_N, scans.subsets["train"])
        parts = [_examples(values_NF, text_N, scans.subsets[split], classes) for split in SPLITS]
        readings.append(_reading(column, classes, parts, probe, draw))
    return tuple(readings)


def _reading(
    column: str, classes: tuple[str, ...], parts: Sequence[Examples], probe: Probe, draw: Draw
) -> Reading:
    for split, part in zip(SPLITS, parts, strict=True):
        if (count := len(set(part.y_N.tolist()))) < 2:
            those = f"{count or 'no'} {column}{'s' if count != 1 else ''}"
            problem = f"{split} has {those} with at least {MIN_TRAIN_PARTICIPANTS} people in train, want 2"
            return Reading(column, classes, 0, UNKNOWN, problem)
    predictions = probe(*parts)
    owners = [unit.split(BESIDE)[0] for unit in predictions.participants]
    people, owner_P = np.unique(owners, return_inverse=True)
    once_1P = np.ones((1, len(owner_P)), np.int64)
    point, spread = (
        scores.measure(predictions, weight_RP)["macro_auroc"]
        for weight_RP in (once_1P, draw(len(people))[:, owner_P])
    )
    return Reading(column, classes, len(people), scores.estimate(float(point[0]), spread))


def _classes(text_N: Sequence[str], train: Subset) -> tuple[str, ...]:
    """The values that enough people of train have, in text order."""
    people_of: dict[str, set[str]] = {}
    for place, person in zip(train.places_N.tolist(), train.participants, strict=True):
        people_of.setdefault(text_N[place], set()).add(person)
    enough = (text for text, people in people_of.items() if len(people) >= MIN_TRAIN_PARTICIPANTS)
    return tuple(sorted(filter(None, enough)))


def _examples(
    values_NF: np.ndarray, text_N: Sequence[str], subset: Subset, classes: tuple[str, ...]
) -> Examples:
    """The scans of known value; a person with scans of several values is one unit for each."""
    kept = [
        (place, classes.index(text_N[place]), f"{person}{BESIDE}{text_N[place]}")
        for place, person in zip(subset.places_N.tolist(), subset.participants, strict=True)
        if text_N[place] in classes
    ]
    places, y, units = zip(*kept, strict=True) if kept else ((), (), ())
    return Examples(values_NF[np.array(places, np.int64)], np.array(y, np.int64), tuple(units))
