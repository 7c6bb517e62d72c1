"""What is true of scans, in words, and which scans are drawn: some of each class and device.

Numbers have thirds in place of classes, by the labelled scans.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from octshard.dataset.participants import canonical
from octshard.dataset.splits import SPLITS
from octshard.dataset.tables import SampleRow
from octshard.probes.labels import LabelledScans
from octshard.probes.targets import NUMBERS
from octshard.report.numbers import alike
from octshard.rng import seed_for

T = TypeVar("T")
THIRDS = ("lowest third", "middle third", "highest third")


@dataclass(frozen=True, eq=False)
class Truth:
    """place of a scan -> its label in words and as a table has it, and the group that it stands for.

    is_number: of the label.
    """

    text_of: Mapping[int, str]
    cell_of: Mapping[int, str | float]
    group_of: Mapping[int, str]
    is_number: bool


def of(labelled: LabelledScans) -> Truth:
    """Of all labelled scans."""
    subsets = [labelled.subsets[split] for split in SPLITS]
    y_of = {
        int(place): y
        for subset in subsets
        for place, y in zip(subset.places_N, subset.y_N.tolist(), strict=True)
    }
    if labelled.kind != NUMBERS:
        names = {place: labelled.classes[y] for place, y in y_of.items()}
        texts = {place: name.replace("_", " ") for place, name in names.items()}
        return Truth(texts, names, texts, is_number=False)
    bounds = np.quantile(list(y_of.values()), (1 / 3, 2 / 3))
    thirds = {place: THIRDS[int(np.searchsorted(bounds, y))] for place, y in y_of.items()}
    texts = dict(zip(y_of, alike(list(y_of.values())), strict=True))
    return Truth(texts, y_of, thirds, is_number=True)


def some_of_each(
    truth: Truth, places: Sequence[int], rows: Sequence[SampleRow], seed: object, most: int
) -> list[int]:
    """`most` scans of `places`, of as many people, classes and devices as there are, in the order of these.

    A seeded order of keys decides between equal ones. rows: of all scans, by place.
    """
    ordered = sorted(places, key=lambda place: (seed_for(seed, rows[place].key), rows[place].key))

    def traits(place: int) -> tuple[str, ...]:
        row, group = rows[place], truth.group_of[place]
        return canonical(row.participant), group, f"{group}\n{row.device}", row.device

    drawn = in_turn(ordered, traits, most)
    return sorted(drawn, key=lambda place: (truth.group_of[place], rows[place].device, rows[place].key))


def in_turn(items: Sequence[T], traits: Callable[[T], tuple[str, ...]], most: int) -> list[T]:
    """Up to `most` items: always the one whose first trait was drawn least, then whose second one was, and
    so on; of equal ones the first.
    """
    left, counts, drawn = list(items), Counter[tuple[int, str]](), list[T]()
    while left and len(drawn) < most:
        item = min(left, key=lambda each: [counts[trait] for trait in enumerate(traits(each))])
        left.remove(item)
        counts.update(enumerate(traits(item)))
        drawn.append(item)
    return drawn
