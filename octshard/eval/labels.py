"""Labels: participants.tsv and the name of a column -> the class of each participant, and of each scan.

Reads any release of the table (byte-order mark, either id column) and promises that every participant has one
class or is listed as missing. Columns of numbers are refused: a class has no order and few values.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octshard import tsv
from octshard.dataset.splits import SPLITS, check_disjoint
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.storage import store

MOST_CLASSES = 20
FEWEST = 2  # train participants that each class must have


@dataclass(frozen=True)
class Labels:
    """Classes of `column` in text order, and the index into them of each participant that has a value."""

    column: str
    classes: tuple[str, ...]
    class_of: Mapping[str, int]
    missing: frozenset[str]  # participants of the table without a value


@dataclass(frozen=True, eq=False)
class Subset:
    """The labelled scans of a split: places_N in the list of all scans, their class and participant."""

    places_N: np.ndarray
    y_N: np.ndarray
    participants: tuple[str, ...]


@dataclass(frozen=True)
class SplitCounts:
    """Labelled scans and participants of a split; `of_class` counts participants."""

    split: str
    scans: int
    participants: int
    of_class: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class LabelledScans:
    """What is probed: the classes that scans have, the scans of each split, and why others were dropped."""

    classes: tuple[str, ...]
    subsets: Mapping[str, Subset]
    counts: tuple[SplitCounts, ...]
    dropped: Mapping[str, int]


def read(url: str, column: str) -> Labels:
    """The labels in the participants.tsv at `url`."""
    if not url:
        raise UsageError("participants: not set, want participants=PATH of the release's participants.tsv")
    try:
        data = store.read(url)
    except FileNotFoundError:
        raise UsageError(f"participants {url}: no such file, want the release's participants.tsv") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"participants {url}: byte {error.start} is not UTF-8 text, want a TSV table"
        ) from error
    return parse(text, column, url)


def parse(text: str, column: str, where: str) -> Labels:
    """The labels in the TSV `text`; `where` names it in errors."""
    table = tsv.parse(text, where)
    if not set(table.columns).intersection(tsv.PERSON):
        raise UsageError(
            f"participants {where}: columns {', '.join(table.columns) or 'none'}, want one of {tsv.PERSON}"
        )
    if column.lower() not in table.columns or column.lower() in tsv.PERSON:
        close = difflib.get_close_matches(column, table.columns, 1)
        advice = f"did you mean {close[0]}?" if close else f"there are: {', '.join(table.columns)}"
        raise UsageError(f"participants {where}: no label column {column!r}; {advice}")
    value_of: dict[str, str] = {}
    for participant, value in zip(table.column(tsv.PERSON), table.column((column.lower(),)), strict=True):
        if value_of.setdefault(participant, value) != value:
            raise OctshardError(
                f"participants {where}: participant {participant} has {column} "
                f"{value_of[participant]!r} and {value!r}, want one value"
            )
    value_of.pop("", None)
    given = {name: value for name, value in value_of.items() if value}
    classes = tuple(sorted(set(given.values())))
    _check_categorical(classes, column, where)
    index = {name: i for i, name in enumerate(classes)}
    class_of = {name: index[value] for name, value in given.items()}
    return Labels(column, classes, class_of, frozenset(value_of) - frozenset(given))


def join(known: Labels, rows: Sequence[SampleRow]) -> LabelledScans:
    """Joins the stored scans with their classes; OctshardError if they cannot be fitted and scored on."""
    check_disjoint(rows, "shards")
    present = sorted({known.class_of[row.participant] for row in rows if row.participant in known.class_of})
    renumbered = {c: i for i, c in enumerate(present)}
    classes = tuple(known.classes[c] for c in present)
    subsets = {}
    for split in SPLITS:
        mine = [n for n, row in enumerate(rows) if row.split == split and row.participant in known.class_of]
        people = tuple(rows[n].participant for n in mine)
        y_N = np.array([renumbered[known.class_of[name]] for name in people], np.int64)
        subsets[split] = Subset(np.array(mine, np.int64), y_N, people)
    counts = tuple(_count(split, subset, classes) for split, subset in subsets.items())
    _check_counts(counts, known.column)
    dropped = {
        "no value in the column": sum(row.participant in known.missing for row in rows),
        "participant not in the table": sum(
            row.participant not in known.missing and row.participant not in known.class_of for row in rows
        ),
    }
    return LabelledScans(classes, subsets, counts, dropped)


def _count(split: str, subset: Subset, classes: tuple[str, ...]) -> SplitCounts:
    class_of = dict(zip(subset.participants, subset.y_N.tolist(), strict=True))
    of_class = {name: sum(c == i for c in class_of.values()) for i, name in enumerate(classes)}
    return SplitCounts(split, len(subset.participants), len(class_of), of_class)


def _check_counts(counts: tuple[SplitCounts, ...], column: str) -> None:
    found = ", ".join(f"{count.split} {count.participants}" for count in counts)
    who = f"label {column} (labelled participants: {found})"
    for count, use in zip(counts, ("fit", "choose the regularisation", "score"), strict=True):
        present = sum(n > 0 for n in count.of_class.values())
        if present < 2:
            raise OctshardError(f"{who}: {count.split} holds {present} classes, want at least 2 to {use}")
    for name, people in counts[0].of_class.items():
        if people < FEWEST:
            raise OctshardError(
                f"{who}: class {name!r} has {people} in train, want at least {FEWEST}; "
                "add shards, or probe another label"
            )


def _check_categorical(classes: tuple[str, ...], column: str, where: str) -> None:
    if len(classes) < 2:
        found = f"one value, {classes[0]!r}" if classes else "no value"
        raise OctshardError(f"participants {where}: label {column} has {found}, want at least 2 classes")
    if len(classes) > MOST_CLASSES:
        kind = "a number" if all(_is_number(value) for value in classes) else "free text"
        raise UsageError(
            f"participants {where}: label {column} has {len(classes)} distinct values, it looks like {kind}; "
            f"want a categorical column of 2 to {MOST_CLASSES} classes, for example study_group"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
