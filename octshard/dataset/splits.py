"""The splits of a dataset: train, val and test, by participant. Nobody stands in two of them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from octshard.dataset.participants import canonical
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError

SPLITS = ("train", "val", "test")


def split_overlaps(rows: Iterable[SampleRow]) -> dict[str, tuple[str, ...]]:
    """The participants that stand in more than one split, and in which: there must be none.

    A number that is written in two ways is one participant.
    """
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(canonical(row.participant), set()).add(row.split)
    return {person: tuple(sorted(names)) for person, names in sorted(splits.items()) if len(names) > 1}


def split_sources(rows: Iterable[SampleRow]) -> dict[str, int]:
    """What placed people in their splits (`recommended`, `hash`; empty: not recorded) -> how many people.

    Of people with a stored volume.
    """
    sources = {canonical(row.participant): row.split_source for row in rows if row.status == "ok"}
    return dict(Counter(sources.values()))


def split_sources_text(people: Mapping[str, int]) -> str:
    """The result of `split_sources` in words."""
    words = {
        "recommended": "as participants.tsv recommends",
        "hash": "by a hash of their ids",
        "": "by a rule that is not recorded",
    }
    parts = [f"{people[source]} {text}" for source, text in words.items() if people.get(source)]
    return ", ".join(parts) or "nobody"


def check_disjoint(rows: Iterable[SampleRow], source: str) -> None:
    """UsageError if a participant stands in two splits, as where folders were built at different times."""
    if overlaps := split_overlaps(rows):
        person, names = next(iter(overlaps.items()))
        raise UsageError(
            f"{source}: {len(overlaps)} participants stand in more than one split, want each in one; the "
            f"first is {person}, in {' and '.join(names)}; build all folders with the same participants.tsv"
        )


def check_distinct(stored: Iterable[tuple[str, str]], source: str) -> None:
    """UsageError if a volume stands in two folders. stored: the folder and the key of every volume."""
    folders: dict[str, list[str]] = defaultdict(list)
    for folder, key in stored:
        folders[key].append(folder)
    if repeated := {key: names for key, names in folders.items() if len(names) > 1}:
        key, names = next(iter(repeated.items()))
        raise UsageError(
            f"{source}: {len(repeated)} volumes stand in more than one folder, want each in one; "
            f"the first is {key}, in {' and '.join(names)}"
        )
