"""What the probes of a run read and are scored on: a fixed, seeded draw of its labelled volumes.

Train volumes fit, val volumes score; those of test are never drawn. The draw depends on labels and tables
alone, not on the seed of the run, so that runs can be compared.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from octshard.config.run import ROBUSTNESS, RunConfig
from octshard.dataset.participants import canonical
from octshard.errors import UsageError
from octshard.imaging.tiles import CENTRE
from octshard.probes import label_table, labels, nuisance, sites, targets
from octshard.probes.nuisance import DEVICE, SITE, LabelledVolumes, Nuisance
from octshard.probes.targets import Target, TargetRequest
from octshard.rng import rng_for
from octshard.stream.index import SampleIndex

VERSION = 2  # of draw, features and scores: other ones are not to be compared with


@dataclass(frozen=True, eq=False)
class ProbeVolumes:
    """Labelled volumes: those of `index`, in its order. y_N: classes (int64), or numbers (float64)."""

    index: SampleIndex
    y_N: np.ndarray
    participants: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ProbeTask:
    """The volumes that fit and those that score. Scores with the same `name` may be compared, indices with
    the same `robustness_name`. nuisance: what neighbours in val should not follow, or why there is none.
    """

    column: str
    classes: tuple[str, ...]  # empty: the label is a number
    train: ProbeVolumes
    val: ProbeVolumes
    nuisance: Nuisance | str = "nothing says device or site"
    view: str = CENTRE  # of each volume

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
        text = json.dumps([VERSION, self.classes, volumes, *self._other_view])
        return f"{self.column}, {self.metric}, {hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def robustness_name(self) -> str:
        """The nuisance, the label, and a digest of the volumes with both; empty where there is no index."""
        if isinstance(self.nuisance, str):
            return ""
        return ", ".join([self.nuisance.name, self.column, *self._other_view, self.nuisance.digest])

    @property
    def _other_view(self) -> tuple[str, ...]:
        """Nothing for the centre: names of old logs stay."""
        return () if self.view == CENTRE else (self.view,)


class ProbeScores(NamedTuple):
    """By participant, on val: macro AUROC for classes, R2 for numbers. robustness: the index over the
    neighbours of val volumes; None where there is none.
    """

    knn: float
    linear: float
    robustness: float | None = None


def make_task(run: RunConfig, train: SampleIndex, val: SampleIndex) -> ProbeTask:
    """Draws at most run.probe_samples labelled volumes of each index.

    UsageError if the label cannot be probed: no such column, one class, too few people on either side.
    """
    table = label_table.read(run.probe_participants, "run.probe_participants")
    people = [canonical(sample.row.participant) for index in (train, val) for sample in index.samples]
    target = labels.present(targets.parse(table, TargetRequest(run.probe_target)), people)
    fitting, scoring = (draw(target, index, run.probe_samples) for index in (train, val))
    task = ProbeTask(target.column, target.classes, fitting, scoring)
    _check(task)
    site = "" if run.probe_site == run.probe_target else run.probe_site
    nuisance = _nuisance(task, sites.of_table(table, site, "run.probe_site").site_of)
    if run.patience and run.patience_by == ROBUSTNESS and isinstance(nuisance, str):
        raise UsageError(
            f"run.patience_by={ROBUSTNESS}: there is no robustness index ({nuisance}), want it, or linear"
        )
    return dataclasses.replace(task, nuisance=nuisance, view=run.probe_view)


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
    index = dataclasses.replace(index, samples=samples)
    return ProbeVolumes(index, labels.values(target, participants), participants)


def _nuisance(task: ProbeTask, site_of: Mapping[str, str]) -> Nuisance | str:
    """Of val: the device, or else the site."""
    if not task.classes:
        return f"{task.column} is a number"
    rows, val = [sample.row for sample in task.val.index.samples], task.val
    volumes = LabelledVolumes(tuple(row.key for row in rows), val.y_N, val.participants, task.classes)
    text_of = {DEVICE: [row.device for row in rows], SITE: [site_of.get(p, "") for p in val.participants]}
    return nuisance.choose(volumes, text_of)


def _in_turn(people: Sequence[str], target: Target) -> Iterator[str]:
    """`people`, one of each class after the other; numbers are of one class."""
    by_class: dict[float, list[str]] = {}
    for person in people:
        by_class.setdefault(target.value_of[person] if target.classes else 0.0, []).append(person)
    for rank in itertools.zip_longest(*(by_class[value] for value in sorted(by_class))):
        yield from (person for person in rank if person is not None)


def _check(task: ProbeTask) -> None:
    """UsageError for too few people, or none that differ."""
    least_train = 2 * labels.MIN_TRAIN_PARTICIPANTS if task.classes else labels.MIN_TRAIN_NUMBERS
    parts = (("train", task.train, least_train), ("val", task.val, labels.MIN_VAL_PARTICIPANTS))
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
