"""Labels: participants.tsv and the name of a column -> the class of each participant, and of each scan.

Reads the table of any release as prep does. Every participant has one class or is listed as missing, by the
canonical id (`participants`). Columns of numbers are refused: a class has no order and few values.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octshard import tsv
from octshard.dataset.participants import canonical, row_participants
from octshard.dataset.splits import SPLITS, check_disjoint
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.storage import store

MAX_CLASSES = 20
MIN_TRAIN_PARTICIPANTS = 2  # of each class


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
    """The classes that scans have, the labelled scans of each split, and dropped scans by reason."""

    classes: tuple[str, ...]
    subsets: Mapping[str, Subset]
    counts: tuple[SplitCounts, ...]
    dropped: Mapping[str, int]


def read(url: str, column: str) -> Labels:
    """The labels in the participants.tsv at `url`."""
    return parse(read_text(url, "participants"), column, url)


def read_text(url: str, key: str) -> str:
    """The participants.tsv at `url`; UsageError if there is none. key: the setting that names it."""
    if not url:
        raise UsageError(f"{key}: not set, want {key}=PATH of the release's participants.tsv")
    try:
        data = store.read(url)
    except FileNotFoundError:
        raise UsageError(f"{key} {url}: no such file, want the release's participants.tsv") from None
    return tsv.decode(data, f"participants {url}")


def parse(text: str, column: str, source: str) -> Labels:
    """The labels in the TSV `text`; `source` names it in errors."""
    value_of = parse_values(text, column, source)
    labelled = {participant: value for participant, value in value_of.items() if value}
    classes = tuple(sorted(set(labelled.values())))
    _check_categorical(classes, column, source)
    index = {name: i for i, name in enumerate(classes)}
    class_of = {participant: index[value] for participant, value in labelled.items()}
    return Labels(column, classes, class_of, frozenset(value_of) - frozenset(labelled))


def parse_values(text: str, column: str, source: str) -> dict[str, str]:
    """Participant -> the text in `column` of the TSV `text`, empty where a value is missing."""
    table = tsv.parse(text, f"participants {source}")
    if not set(table.columns).intersection(tsv.PERSON):
        raise UsageError(
            f"participants {source}: columns {', '.join(table.columns) or 'none'}, want one of {tsv.PERSON}"
        )
    label_columns = [name for name in table.columns if name not in tsv.PERSON]
    if column.lower() in tsv.PERSON:
        raise UsageError(
            f"participants {source}: {column} names the people, want a column of classes; there are: "
            f"{', '.join(label_columns) or 'none'}"
        )
    if column.lower() not in table.columns:
        close = difflib.get_close_matches(column, label_columns, 1)
        advice = f"did you mean {close[0]}?" if close else f"there are: {', '.join(label_columns) or 'none'}"
        raise UsageError(f"participants {source}: no label column {column!r}; {advice}")
    value_of: dict[str, str] = {}
    values = table.column((column.lower(),))
    for participant, value in zip(row_participants(table), values, strict=True):
        if not participant:
            continue
        if value_of.setdefault(participant, value) != value:
            raise OctshardError(
                f"participants {source}: participant {participant} has {column} "
                f"{value_of[participant]!r} and {value!r}, want one value"
            )
    return value_of


def join(labels: Labels, rows: Sequence[SampleRow]) -> LabelledScans:
    """Joins the stored scans with their classes; OctshardError if a split or class has too few of them."""
    check_disjoint(rows, "shards")
    people = [canonical(row.participant) for row in rows]
    present = sorted({labels.class_of[person] for person in people if person in labels.class_of})
    renumbered = {c: i for i, c in enumerate(present)}
    classes = tuple(labels.classes[c] for c in present)
    subsets = {}
    for split in SPLITS:
        places = [n for n, row in enumerate(rows) if row.split == split and people[n] in labels.class_of]
        y_N = np.array([renumbered[labels.class_of[people[n]]] for n in places], np.int64)
        subsets[split] = Subset(np.array(places, np.int64), y_N, tuple(people[n] for n in places))
    counts = tuple(_count(split, subset, classes) for split, subset in subsets.items())
    _check_counts(counts, labels.column)
    dropped = {
        "no value in the column": sum(person in labels.missing for person in people),
        "participant not in the table": sum(
            person not in labels.missing and person not in labels.class_of for person in people
        ),
    }
    return LabelledScans(classes, subsets, counts, dropped)


def _count(split: str, subset: Subset, classes: tuple[str, ...]) -> SplitCounts:
    class_of = dict(zip(subset.participants, subset.y_N.tolist(), strict=True))
    of_class = {name: sum(c == i for c in class_of.values()) for i, name in enumerate(classes)}
    return SplitCounts(split, len(subset.participants), len(class_of), of_class)


def _check_counts(counts: tuple[SplitCounts, ...], column: str) -> None:
    totals = ", ".join(f"{count.split} {count.participants}" for count in counts)
    subject = f"label {column} (labelled participants: {totals})"
    for count, use in zip(counts, ("fit", "choose the regularisation", "score"), strict=True):
        present = sum(n > 0 for n in count.of_class.values())
        if present < 2:
            raise OctshardError(f"{subject}: {count.split} holds {present} classes, want at least 2 to {use}")
    for name, participants in counts[0].of_class.items():
        if participants < MIN_TRAIN_PARTICIPANTS:
            raise OctshardError(
                f"{subject}: class {name!r} has {participants} in train, want at least "
                f"{MIN_TRAIN_PARTICIPANTS}; add shards, or probe another label"
            )


def _check_categorical(classes: tuple[str, ...], column: str, source: str) -> None:
    if len(classes) < 2:
        content = f"one value, {classes[0]!r}" if classes else "no value"
        raise UsageError(f"participants {source}: label {column} has {content}, want at least 2 classes")
    if len(classes) > MAX_CLASSES:
        kind = "a number" if all(_is_number(value) for value in classes) else "free text"
        raise UsageError(
            f"participants {source}: label {column} has {len(classes)} distinct values, it looks like "
            f"{kind}; want a categorical column of 2 to {MAX_CLASSES} classes, for example study_group"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
