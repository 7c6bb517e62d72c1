"""A share of the labels: some of the train people, of each class alike, with all their scans."""

from dataclasses import dataclass

import numpy as np

from octshard.probes.examples import Examples
from octshard.probes.labels import MIN_TRAIN_NUMBERS, MIN_TRAIN_PARTICIPANTS


@dataclass(frozen=True)
class FractionPlan:
    """people: of that share, of each class, or of all if the target is a number; reason: why it cannot be."""

    fraction: float
    people: tuple[int, ...]
    reason: str = ""


def plan(train: Examples, fraction: float, classes: tuple[str, ...]) -> FractionPlan:
    """The nearest whole number of people, of each class; too few are a reason. classes: none for numbers."""
    sizes = [len(people) for people in _strata(train, len(classes))]
    least = MIN_TRAIN_PARTICIPANTS if classes else MIN_TRAIN_NUMBERS
    counts = tuple(int(fraction * size + 0.5) for size in sizes)
    few = [n for n, count in enumerate(counts) if count < least]
    if not few:
        return FractionPlan(fraction, counts)
    n = few[0]
    of_class = f" of {classes[n]}" if classes else ""
    reason = (
        f"{100 * fraction:g} % of {sizes[n]} train people{of_class} are {counts[n]}, want at least {least}"
    )
    return FractionPlan(fraction, counts, reason)


def draw(train: Examples, chosen: FractionPlan, rng: np.random.Generator) -> Examples:
    """The scans of so many people."""
    classes = len(chosen.people) if np.issubdtype(train.y_N.dtype, np.integer) else 0
    strata = zip(_strata(train, classes), chosen.people, strict=True)
    drawn = {person for people, count in strata for person in rng.permutation(people)[:count]}
    kept = [n for n, person in enumerate(train.participants) if person in drawn]
    participants = tuple(train.participants[n] for n in kept)
    units = tuple(train.units[n] for n in kept) if train.units else ()
    return Examples(train.x_NF[kept], train.y_N[kept], participants, units)


def _strata(train: Examples, classes: int) -> list[list[str]]:
    """The people of each class; all of them in one list if there are no classes."""
    pairs = list(zip(train.participants, train.y_N.tolist(), strict=True))
    if not classes:
        return [sorted({person for person, _ in pairs})]
    return [sorted({person for person, y in pairs if y == c}) for c in range(classes)]
