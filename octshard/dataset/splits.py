"""The splits of a dataset: train, val and test, by participant."""

from collections.abc import Iterable

from octshard.dataset.tables import SampleRow

SPLITS = ("train", "val", "test")


def split_overlaps(rows: Iterable[SampleRow]) -> dict[str, tuple[str, ...]]:
    """The participants that stand in more than one split, and in which: there must be none."""
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row.participant, set()).add(row.split)
    return {person: tuple(sorted(found)) for person, found in sorted(splits.items()) if len(found) > 1}
