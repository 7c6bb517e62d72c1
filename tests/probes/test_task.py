"""Which volumes a probe reads: by participant, the same ones for every run; and which labels are numbers."""

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octshard.config.run import RunConfig
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.probes import task
from octshard.probes.targets import Target
from octshard.probes.task import ProbeTask
from octshard.storage import store
from octshard.stream.cache_folder import ShardFile
from octshard.stream.index import SampleIndex, SampleRef


def index_of(scans: Mapping[str, int], split: str = "train") -> SampleIndex:
    """So many scans of each participant."""
    rows = [
        SampleRow(
            f"{person}-{n}", person, "d", "m", "m", "p", "Macula", "l", split, "", sha256=f"{person}{n}"
        )
        for person, count in scans.items()
        for n in range(count)
    ]
    shard = ShardFile("x.tar", 1, "0")
    return SampleIndex(split, tuple(SampleRef(shard, 0, row) for row in rows), (), 0, 1)


def run_for(table: str, name: str, **settings: object) -> RunConfig:
    url = f"memory://{name}/participants.tsv"
    store.write(url, table.encode())
    return RunConfig(probe_participants=url, **settings)  # type: ignore[arg-type]


def table_of(values: Mapping[str, object]) -> str:
    return "person_id\tstudy_group\n" + "".join(f"{person}\t{value}\n" for person, value in values.items())


def people(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{n}" for n in range(count)]


@given(
    st.dictionaries(st.integers(0, 30).map(lambda n: f"p{n}"), st.integers(1, 4), min_size=1),
    st.integers(1, 40),
)
def test_everybodys_first_comes_before_anybodys_second(scans: dict[str, int], limit: int) -> None:
    target = Target("t", (), dict.fromkeys(scans, 1.5))
    volumes = task.draw(target, index_of(scans), limit)
    assert len(volumes.participants) == min(limit, sum(scans.values()))
    counts = Counter(volumes.participants)
    most = max(counts.values())
    assert all(counts[person] >= min(scans[person], most - 1) for person in scans)
    keys = [sample.row.key for sample in volumes.index.samples]
    assert keys == [s.row.key for s in index_of(scans).samples if s.row.key in keys]  # in the index's order


def test_classes_come_in_turn_and_people_without_a_label_never() -> None:
    scans = dict.fromkeys((*people("a", 30), *people("b", 5), *people("c", 9)), 2)
    value_of = {person: float("ab".index(person[0])) for person in scans if person[0] in "ab"}
    volumes = task.draw(Target("t", ("a", "b"), value_of), index_of(scans), 12)
    drawn = set(volumes.participants)
    assert Counter(person[0] for person in drawn) == {"a": 7, "b": 5}
    assert volumes.y_N.tolist() == ["ab".index(person[0]) for person in volumes.participants]


def task_for(name: str, train: int = 12, val: int = 4, **settings: object) -> ProbeTask:
    values = {person: "xyz"[n % 2] for n, person in enumerate((*people("t", train), *people("v", val)))}
    run = run_for(table_of({**values, "other": "z"}), name, **settings)
    indexes = (index_of(dict.fromkeys(people(split[0], 50), 2), split) for split in ("train", "val"))
    return task.make_task(run, *indexes)


def test_a_class_that_no_volume_has_is_no_part_of_it() -> None:
    drawn = task_for("absent")
    assert drawn.classes == ("x", "y")
    assert {person[0] for person in drawn.train.participants} == {"t"}
    assert {person[0] for person in drawn.val.participants} == {"v"}
    assert drawn.name.startswith("study_group, macro AUROC, ")


def test_the_draw_depends_on_no_seed_and_its_name_on_the_draw() -> None:
    name = task_for("seed", seed=0).name
    assert task_for("seed", seed=7).name == name
    assert task_for("seed", probe_samples=17).name != name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"train": 3},
            r"\(labelled participants drawn: train 3, val 4\): train has 2 classes, want at least 4",
        ),
        ({"val": 1}, "val has 1 classes, want at least 2 participants and 2 classes"),
        ({"train": 0}, "train has 0 classes"),
        ({"probe_target": "age"}, "no label column 'age'; there are: study_group"),
        ({"probe_target": "person_id"}, "person_id names what the rows are about"),
    ],
)
def test_too_few_people_are_a_usage_error(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        task_for("few", **settings)  # type: ignore[arg-type]


def test_a_class_of_few_is_named() -> None:
    values = {person: "rare" if n < 1 else "xy"[n % 2] for n, person in enumerate(people("t", 30))}
    run = run_for(table_of(values), "rare")
    index = index_of(dict.fromkeys(values, 1))
    with pytest.raises(UsageError, match="class 'rare' has 1 in train, want at least 2"):
        task.make_task(run, index, index)


def test_a_missing_table_is_named_by_its_setting() -> None:
    with pytest.raises(UsageError, match=r"run.probe_participants memory://gone/p.tsv: no such file"):
        task.make_task(RunConfig(probe_participants="memory://gone/p.tsv"), index_of({}), index_of({}))


def test_a_person_with_two_values_is_an_error() -> None:
    run = run_for("person_id\tstudy_group\na\t1.5\na\t2.5\n", "two")
    with pytest.raises(OctshardError, match=r"has study_group '1.5' and '2.5' .*want one value"):
        task.make_task(run, index_of({}), index_of({}))


def test_a_csv_is_as_good_as_a_tsv() -> None:
    values = {person: "xy"[n % 2] for n, person in enumerate(people("t", 12))}
    index = index_of(dict.fromkeys(values, 1))
    names = set()
    for text in (table_of(values), table_of(values).replace("\t", ",")):
        names.add(task.make_task(run_for(text, "csv"), index, index).name)
    assert len(names) == 1


def test_numbers_are_kept_as_they_are() -> None:
    values = {person: 1.5 * n for n, person in enumerate((*people("t", 9), *people("v", 3)))}
    run = run_for(table_of(values), "numbers")
    indexes = (index_of(dict.fromkeys(people(split[0], 9), 1), split) for split in ("train", "val"))
    drawn = task.make_task(run, *indexes)
    assert (drawn.classes, drawn.metric) == ((), "R2")
    assert drawn.train.y_N.dtype == np.float64
    assert all(
        math.isclose(y, values[person])  # type: ignore[arg-type]
        for person, y in zip(drawn.train.participants, drawn.train.y_N, strict=True)
    )
