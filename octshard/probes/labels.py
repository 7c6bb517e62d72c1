"""Labels joined with the stored scans: which scan has which class or number, in which split, about whom.

Every scan has a label or is counted by why it has none. Splits go by participant, whatever labels are about.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.config.label import LabelConfig
from octshard.dataset.participants import canonical
from octshard.dataset.splits import SPLITS, check_disjoint
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.probes import label_table, targets
from octshard.probes.label_join import EYE
from octshard.probes.targets import NUMBERS, Target, TargetRequest

MIN_TRAIN_PARTICIPANTS = 2  # of each class
MIN_TRAIN_NUMBERS = 8  # participants with a number: two of eight choose the regularisation
MIN_VAL_PARTICIPANTS = 2
SHOWN_NAMES = 10  # of those that nothing used
USES = ("fit", "choose the regularisation", "score")  # of the three splits


@dataclass(frozen=True, eq=False)
class Subset:
    """The labelled scans of a split: places_N in the list of all scans, their label and participant.

    y_N: index of the class (int64), or a number (float64). units: what the label of each scan is about: the
    participant, `participant/L`, or what names the scan.
    """

    places_N: np.ndarray
    y_N: np.ndarray
    participants: tuple[str, ...]
    units: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitCounts:
    """Labelled scans, units and participants of a split; `of_class` counts participants, each in every class
    that one of theirs has.
    """

    split: str
    scans: int
    participants: int
    of_class: Mapping[str, int]
    units: int = 0


@dataclass(frozen=True, eq=False)
class LabelledScans:
    """The classes that scans have (none for numbers), the labelled scans of each split, dropped scans by why.

    kind: classes, ordinal or numbers; level: participant, eye or scan; unused: the names in the table that
    no scan is about, in text order.
    """

    classes: tuple[str, ...]
    subsets: Mapping[str, Subset]
    counts: tuple[SplitCounts, ...]
    dropped: Mapping[str, int]
    kind: str = targets.CLASSES
    level: str = "participant"
    unused: tuple[str, ...] = ()

    def unused_note(self) -> str:
        """Which names those are, in a sentence; empty where there are none."""
        if not self.unused:
            return ""
        more = len(self.unused) - SHOWN_NAMES
        listed = ", ".join(self.unused[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
        return f"The table of labels names {len(self.unused)} that no scan is about: {listed}."


def read(cfg: LabelConfig) -> Target:
    """The target that `cfg` names, in labels or else in participants."""
    setting = "labels" if cfg.labels else "participants"
    table = label_table.read(cfg.labels or cfg.participants, setting)
    return targets.parse(table, TargetRequest(cfg.label, cfg.target, tuple(cfg.order), cfg.join))


def join(target: Target, rows: Sequence[SampleRow]) -> LabelledScans:
    """Joins the stored scans with their labels; OctshardError if a split or class has too few people."""
    check_disjoint(rows, "shards")
    names = [target.join.name(row) for row in rows]
    _check_match(target, names)
    unused = sorted((target.value_of.keys() | target.missing) - set(names))
    kind, target = target.kind, present(target, names)
    subsets = {split: _subset(target, rows, names, split) for split in SPLITS}
    counts = tuple(_count(split, subset, target.classes) for split, subset in subsets.items())
    totals = ", ".join(f"{count.split} {count.participants}" for count in counts)
    subject = f"label {target.column} (labelled participants: {totals})"
    if kind == NUMBERS:
        _check_numbers(counts, subsets, subject)
    else:
        _check_classes(counts, subject)
    return LabelledScans(
        classes=target.classes,
        subsets=subsets,
        counts=counts,
        dropped=_dropped(target, names),
        kind=kind,
        level=target.join.level,
        unused=tuple(unused),
    )


def present(target: Target, names: Sequence[str]) -> Target:
    """`target` without the classes that nothing named has; those that are left stay in their order."""
    scans = set(names)
    codes = sorted({int(value) for name, value in target.value_of.items() if name in scans})
    if not target.classes:
        return target
    renumbered = {code: float(i) for i, code in enumerate(codes)}
    value_of = {
        name: renumbered[int(value)] for name, value in target.value_of.items() if int(value) in renumbered
    }
    return Target(
        target.column,
        tuple(target.classes[code] for code in codes),
        value_of,
        target.missing,
        target.ordered,
        target.join,
    )


def values(target: Target, names: Sequence[str]) -> np.ndarray:
    """y_N: of labelled names, indices of classes (int64) or numbers (float64)."""
    y_N = np.array([target.value_of[name] for name in names], np.float64)
    return y_N if target.kind == NUMBERS else y_N.astype(np.int64)


def _subset(target: Target, rows: Sequence[SampleRow], names: Sequence[str], split: str) -> Subset:
    places = [n for n, row in enumerate(rows) if row.split == split and names[n] in target.value_of]
    units = tuple(names[n] for n in places)
    participants = tuple(canonical(rows[n].participant) for n in places)
    return Subset(np.array(places, np.int64), values(target, units), participants, units)


def _count(split: str, subset: Subset, classes: tuple[str, ...]) -> SplitCounts:
    pairs = set(zip(subset.participants, subset.y_N.tolist(), strict=True))
    people_of = Counter(c for _, c in pairs)
    of_class = {name: people_of[i] for i, name in enumerate(classes)}
    people, units = len(set(subset.participants)), len(set(subset.units))
    return SplitCounts(split, len(subset.participants), people, of_class, units)


def _dropped(target: Target, names: Sequence[str]) -> dict[str, int]:
    level = target.join.level
    dropped = {
        "no value in the column": sum(name in target.missing for name in names),
        f"{level} not in the table": sum(
            name != "" and name not in target.missing and name not in target.value_of for name in names
        ),
    }
    if level == EYE:
        dropped["eye not known"] = names.count("")
    return dropped


def _check_match(target: Target, names: Sequence[str]) -> None:
    """UsageError if the table names nothing that is stored: it was joined by the wrong column."""
    table = sorted(target.value_of.keys() | target.missing)
    stored = sorted(set(names) - {""})
    if table and stored and not set(table).intersection(stored):
        level = target.join.level
        raise UsageError(
            f"label {target.column}: none of the {len(table)} names of its table (the first is {table[0]}) "
            f"is among the {len(stored)} stored (the first is {stored[0]}), each a {level}; want "
            "join=participant, eye, key or a column that names them as the shards do, or names in the shards "
            "as in the table (prep index --pattern)"
        )


def _check_classes(counts: tuple[SplitCounts, ...], subject: str) -> None:
    for count, use in zip(counts, USES, strict=True):
        classes = sum(n > 0 for n in count.of_class.values())
        if classes < 2:
            raise OctshardError(f"{subject}: {count.split} holds {classes} classes, want at least 2 to {use}")
    for name, participants in counts[0].of_class.items():
        if participants < MIN_TRAIN_PARTICIPANTS:
            raise OctshardError(
                f"{subject}: class {name!r} has {participants} in train, want at least "
                f"{MIN_TRAIN_PARTICIPANTS}; add shards, or probe another label"
            )


def _check_numbers(counts: tuple[SplitCounts, ...], subsets: Mapping[str, Subset], subject: str) -> None:
    least = (MIN_TRAIN_NUMBERS, MIN_VAL_PARTICIPANTS, MIN_VAL_PARTICIPANTS)
    for count, use, people in zip(counts, USES, least, strict=True):
        distinct = len(set(subsets[count.split].y_N.tolist()))
        if count.participants < people or distinct < 2:
            raise OctshardError(
                f"{subject}: {count.split} has {count.participants} with {distinct} different numbers, want "
                f"at least {people} participants and 2 numbers to {use}; add shards, or probe another label"
            )
