"""What is true of scans, in words, and which scans are drawn: some of each class and device.

Numbers have thirds in place of classes, by the labelled scans.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.dataset.participants import canonical
from octshard.dataset.splits import SPLITS
from octshard.dataset.tables import SampleRow
from octshard.probes.labels import LabelledScans
from octshard.probes.targets import NUMBERS
from octshard.report.numbers import alike
from octshard.rng import seed_for

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


def some_of_each(truth: Truth, places: Sequence[int], rows: Sequence[SampleRow], seed: object) -> list[int]:
    """All `places`, in the order in which they are drawn: one of each class and device, then another of each,
    always of people who have none yet, as long as there are such.

    Within a class and device a seeded order of keys decides. rows: of all scans, by place.
    """
    ordered = sorted(places, key=lambda place: (seed_for(seed, rows[place].key), rows[place].key))
    counts: dict[tuple[str, str], int] = {}
    ranks: dict[int, tuple[bool, int, str, str]] = {}
    people: set[str] = set()
    for place in ordered:
        person, group = canonical(rows[place].participant), (truth.group_of[place], rows[place].device)
        repeated = person in people
        people.add(person)
        ranks[place] = (repeated, counts.get(group, 0), *group)
        counts[group] = counts.get(group, 0) + 1
    return sorted(ordered, key=ranks.__getitem__)
