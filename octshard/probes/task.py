"""What the probes of a run read and are scored on: a fixed, seeded draw of its labelled volumes.

Train volumes fit, val volumes score; those of test are never drawn. The draw depends on labels and tables
alone, not on the seed of the run, so that runs can be compared.
"""

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from octshard.config.run import RunConfig
from octshard.dataset.participants import canonical
from octshard.errors import UsageError
from octshard.probes import labels
from octshard.rng import rng_for
from octshard.stream.index import SampleIndex

VERSION = 2  # of draw, features and scores: other ones are not to be compared with
MIN_TRAIN_NUMBERS = 8  # participants with a number: two of eight choose the regularisation
MIN_VAL_PARTICIPANTS = 2


@dataclass(frozen=True)
class Target:
    """The label of each participant: an index into `classes`, or, where there are none, a number."""

    column: str
    classes: tuple[str, ...]
    value_of: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class ProbeVolumes:
    """Labelled volumes: those of `index`, in its order. y_N: classes (int64), or numbers (float64)."""

    index: SampleIndex
    y_N: np.ndarray
    participants: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ProbeTask:
    """The volumes that fit and those that score. Scores with the same `name` may be compared."""

    column: str
    classes: tuple[str, ...]  # empty: the label is a number
    train: ProbeVolumes
    val: ProbeVolumes

    @property
    def metric(self) -> str:
        """How it is scored, by participant."""
        return "macro AUROC" if self.classes else "R2"

    @property
    def name(self) -> str:
        """The label, the metric, and a digest of the volumes with their labels."""
        volumes = [
            [sample.row.key, sample.row.sha256, y]
            for part in (self.train, self.val)
            for sample, y in zip(part.index.samples, part.y_N.tolist(), strict=True)
        ]
        text = json.dumps([VERSION, self.classes, volumes])
        return f"{self.column}, {self.metric}, {hashlib.sha256(text.encode()).hexdigest()[:8]}"


class ProbeScores(NamedTuple):
    """By participant, on val: macro AUROC for classes, R2 for numbers."""

    knn: float
    linear: float


def make_task(run: RunConfig, train: SampleIndex, val: SampleIndex) -> ProbeTask:
    """Draws at most run.probe_samples labelled volumes of each index.

    UsageError if the label cannot be probed: no such column, one class, too few people on either side.
    """
    text = labels.read_text(run.probe_participants, "run.probe_participants")
    target = present(parse_target(text, run.probe_target, run.probe_participants), (train, val))
    parts = [draw(target, index, run.probe_samples) for index in (train, val)]
    task = ProbeTask(target.column, target.classes, *parts)
    _check(task)
    return task


def parse_target(text: str, column: str, source: str) -> Target:
    """The label in `column` of a participants.tsv: numbers, if all are and they are more than eval takes for
    classes or not whole; else classes.
    """
    value_of = {person: value for person, value in labels.parse_values(text, column, source).items() if value}
    number_of = {
        person: number for person, value in value_of.items() if (number := _number(value)) is not None
    }
    distinct = set(number_of.values())
    whole = all(number.is_integer() for number in distinct)
    if len(number_of) == len(value_of) and (len(distinct) > labels.MAX_CLASSES or not whole):
        return Target(column, (), number_of)
    parsed = labels.parse(text, column, source)
    return Target(column, parsed.classes, {person: float(c) for person, c in parsed.class_of.items()})


def present(target: Target, indexes: Sequence[SampleIndex]) -> Target:
    """`target` without the classes that nobody in the indexes has."""
    people = {canonical(sample.row.participant) for index in indexes for sample in index.samples}
    value_of = {person: value for person, value in target.value_of.items() if person in people}
    if not target.classes:
        return Target(target.column, (), value_of)
    codes = sorted(set(value_of.values()))
    classes = tuple(target.classes[int(c)] for c in codes)
    return Target(target.column, classes, {person: float(codes.index(c)) for person, c in value_of.items()})


def draw(target: Target, index: SampleIndex, limit: int) -> ProbeVolumes:
    """At most `limit` labelled volumes: classes in turn, everybody's first before anybody's second."""
    places_of: dict[str, list[int]] = {}
    for place, sample in enumerate(index.samples):
        if (person := canonical(sample.row.participant)) in target.value_of:
            places_of.setdefault(person, []).append(place)
    rng = rng_for("probe", index.split)
    shuffled = [sorted(places_of)[i] for i in rng.permutation(len(places_of))]
    people = list(_in_turn(shuffled, target))
    volumes = {person: rng.permutation(places_of[person]).tolist() for person in people}
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*(volumes[person] for person in people)))
    places = sorted(itertools.islice((place for place in rounds if place is not None), limit))
    samples = tuple(index.samples[place] for place in places)
    participants = tuple(canonical(sample.row.participant) for sample in samples)
    y_N = np.array([target.value_of[person] for person in participants], np.float64)
    return ProbeVolumes(
        dataclasses.replace(index, samples=samples),
        y_N.astype(np.int64) if target.classes else y_N,
        participants,
    )


def _in_turn(people: Sequence[str], target: Target) -> Iterator[str]:
    """`people`, one of each class after the other; numbers are of one class."""
    by_class: dict[float, list[str]] = {}
    for person in people:
        by_class.setdefault(target.value_of[person] if target.classes else 0.0, []).append(person)
    for rank in itertools.zip_longest(*(by_class[value] for value in sorted(by_class))):
        yield from (person for person in rank if person is not None)


def _check(task: ProbeTask) -> None:
    """UsageError for too few people, or none that differ."""
    least_train = 2 * labels.MIN_TRAIN_PARTICIPANTS if task.classes else MIN_TRAIN_NUMBERS
    parts = (("train", task.train, least_train), ("val", task.val, MIN_VAL_PARTICIPANTS))
    counts = ", ".join(f"{split} {len(set(part.participants))}" for split, part, _ in parts)
    subject = f"run.probe_target={task.column} (labelled participants drawn: {counts})"
    advice = "add shards, raise run.probe_samples, or probe another column"
    for split, part, least in parts:
        people, values = len(set(part.participants)), len(set(part.y_N.tolist()))
        if people < least or values < 2:
            kind = "classes" if task.classes else "values"
            raise UsageError(
                f"{subject}: {split} has {values} {kind}, want at least {least} "
                f"participants and 2 {kind}; {advice}"
            )
    class_of = dict(zip(task.train.participants, task.train.y_N.tolist(), strict=True))
    for c, name in enumerate(task.classes):
        if (count := sum(value == c for value in class_of.values())) < labels.MIN_TRAIN_PARTICIPANTS:
            raise UsageError(
                f"{subject}: class {name!r} has {count} in train, want at least "
                f"{labels.MIN_TRAIN_PARTICIPANTS}; {advice}"
            )


def _number(text: str) -> float | None:
    """The finite number that `text` is, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
