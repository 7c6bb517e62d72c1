"""A share of the labels: some of the train people of each class, with all their scans."""

from dataclasses import dataclass

import numpy as np

from octshard.probes.examples import Examples
from octshard.probes.labels import MIN_TRAIN_PARTICIPANTS


@dataclass(frozen=True)
class FractionPlan:
    """people: of each class, of that share; reason: why it cannot be, or empty."""

    fraction: float
    people: tuple[int, ...]
    reason: str = ""


def plan(train: Examples, fraction: float, classes: tuple[str, ...]) -> FractionPlan:
    """Of each class the nearest whole number of people; too few of one are a reason."""
    sizes = [len(_people(train, c)) for c in range(len(classes))]
    counts = tuple(int(fraction * size + 0.5) for size in sizes)
    few = [c for c, count in enumerate(counts) if count < MIN_TRAIN_PARTICIPANTS]
    if not few:
        return FractionPlan(fraction, counts)
    c = few[0]
    return FractionPlan(
        fraction,
        counts,
        f"{100 * fraction:g} % of {sizes[c]} train people of {classes[c]} are {counts[c]}, want at least "
        f"{MIN_TRAIN_PARTICIPANTS}",
    )


def draw(train: Examples, people: tuple[int, ...], rng: np.random.Generator) -> Examples:
    """The scans of so many people of each class."""
    drawn = {
        person for c, count in enumerate(people) for person in rng.permutation(_people(train, c))[:count]
    }
    kept = [n for n, person in enumerate(train.participants) if person in drawn]
    return Examples(train.x_NF[kept], train.y_N[kept], tuple(train.participants[n] for n in kept))


def _people(train: Examples, c: int) -> list[str]:
    return sorted({person for person, y in zip(train.participants, train.y_N, strict=True) if y == c})
