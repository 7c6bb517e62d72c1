"""Labels joined with scans: of people, eyes or scans; nobody is dropped unseen, nobody is in two splits."""

import dataclasses
import re
from collections.abc import Mapping
from random import Random

import numpy as np
import pytest

from octshard import delimited
from octshard.config.label import LabelConfig
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.probes import labels, targets
from octshard.probes.label_join import Join
from octshard.probes.targets import Target, TargetRequest
from octshard.storage import store

TABLE = (
    "\ufeffparticipant_id\tclinical_site\tstudy_group\tage\n"
    "1001\tUW\thealthy\t61\n"
    "4001\tUCSD\tinsulin_dependent\t58\n"
    "7001\tUAB\tNot reported\t49\n"
    "7002\tUAB\t\t72\n"
    "7003\tUAB\t healthy \t66\n"
)


def test_labels_come_before_participants_and_either_may_be_any_table():
    store.write("memory://labels/p.tsv", TABLE.encode())
    store.write("memory://labels/l.csv", b"key,grade\nx-1,2\nx-2,0\n")
    cfg = LabelConfig(participants="memory://labels/p.tsv", label="clinical_site")
    assert labels.read(cfg).classes == ("UAB", "UCSD", "UW")
    other = dataclasses.replace(
        cfg, labels="memory://labels/l.csv", label="grade", join="key", target="ordinal"
    )
    target = labels.read(other)
    assert (target.kind, target.classes, target.value_of) == ("ordinal", ("0", "2"), {"x-1": 1, "x-2": 0})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "no such file"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"", "columns none"),
        (b"name\tx\n", "for join=participant; or join=COLUMN, the one that names people"),
        (b"PK\x03\x04\0", "no workbook that can be read .BadZipFile.; save it as a CSV"),
    ],
)
def test_a_table_that_is_none_gives_one_line(tmp_path, data, message):
    path = tmp_path / "participants.tsv"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UsageError, match=message):
        labels.read(LabelConfig(participants=str(path), label="x"))
    with pytest.raises(UsageError, match="participants=PATH"):
        labels.read(LabelConfig())


def test_ids_are_compared_as_numbers_however_they_are_written():
    table = "participant_id\tstate\n" + "".join(
        f"0{name}.0\t{'ab'[int(c)]}\n" for name, c in KNOWN.value_of.items()
    )
    target = targets.parse(delimited.parse(table, "t.tsv"), TargetRequest("state"))
    scans = labels.join(target, stored({f"{name}.0": split for name, split in SPLIT_OF.items()}))
    expected = labels.join(KNOWN, stored(SPLIT_OF))
    for split, subset in expected.subsets.items():
        assert scans.subsets[split].participants == subset.participants
        assert (scans.subsets[split].y_N == subset.y_N).all()


def stored(people: dict[str, str], scans: int = 1) -> list[SampleRow]:
    """Rows of `scans` scans for each participant -> split."""
    return [
        SampleRow(f"{name}-{i}", name, "topcon_triton", "", "", "", "", "L", split, "")
        for name, split in people.items()
        for i in range(scans)
    ]


KNOWN = Target(
    "state",
    ("a", "b", "unused"),
    {"1": 0, "2": 0, "3": 1, "4": 1, "5": 0, "6": 1, "7": 1, "8": 0},
    frozenset({"9"}),
)
SPLIT_OF = {
    **dict.fromkeys("1234", "train"),
    **dict.fromkeys("56", "val"),
    **dict.fromkeys("78", "test"),
    "9": "test",
    "10": "train",
}


def test_scans_are_joined_with_their_classes_and_the_others_counted():
    rows = stored(SPLIT_OF, scans=2)
    scans = labels.join(KNOWN, rows)
    assert scans.classes == ("a", "b")
    assert scans.dropped == {"no value in the column": 2, "participant not in the table": 2}
    for split, subset in scans.subsets.items():
        for n, y, name in zip(subset.places_N, subset.y_N, subset.participants, strict=True):
            assert (rows[n].participant, rows[n].split) == (name, split)
            assert y == KNOWN.value_of[name]
    train = scans.counts[0]
    assert (train.scans, train.participants, train.of_class) == (8, 4, {"a": 2, "b": 2})


def test_names_that_no_scan_is_about_are_known_also_those_of_a_class_that_nobody_has():
    target = dataclasses.replace(KNOWN, value_of={**KNOWN.value_of, "77": 2.0, "78": 0.0})
    scans = labels.join(target, stored({name: split for name, split in SPLIT_OF.items() if name != "9"}))
    assert scans.unused == ("77", "78", "9")
    assert scans.unused_note() == "The table of labels names 3 that no scan is about: 77, 78, 9."
    many = dataclasses.replace(scans, unused=tuple(f"{n:02}" for n in range(13)))
    assert many.unused_note().endswith(": 00, 01, 02, 03, 04, 05, 06, 07, 08, 09 and 3 more.")
    assert labels.join(KNOWN, stored(SPLIT_OF)).unused_note() == ""


@pytest.mark.parametrize(
    ("moved", "message"),
    [
        ({"3": "val"}, "class 'b' has 1 in train, want at least 2"),
        ({"3": "val", "4": "val"}, "train holds 1 classes, want at least 2 to fit"),
        ({"5": "train"}, "val holds 1 classes, want at least 2 to choose the regularisation"),
        ({"7": "train", "8": "train"}, "test holds 0 classes, want at least 2 to score"),
    ],
)
def test_too_few_people_give_one_line_with_the_counts(moved, message):
    with pytest.raises(OctshardError, match=message) as caught:
        labels.join(KNOWN, stored({**SPLIT_OF, **moved}))
    assert "labelled participants: train" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_scan_at_all_gives_one_line():
    with pytest.raises(OctshardError, match="train holds 0 classes"):
        labels.join(KNOWN, [])


def test_a_participant_in_two_splits_is_an_error():
    with pytest.raises(OctshardError, match="the first is 1, in test and train"):
        labels.join(KNOWN, stored(SPLIT_OF) + stored({"1": "test"}))


@pytest.mark.realdata
def test_the_few_real_participants_give_one_line(realdata):
    """Two of the five stored Triton volumes are in train: no probe can be fitted on them."""
    cfg = LabelConfig(participants=str(realdata / "participants.tsv"))
    people = {"1001": "train", "4001": "train", "7001": "val", "7002": "test", "7004": "val"}
    with pytest.raises(OctshardError, match=r"labelled participants: train 2, val 2, test 1") as caught:
        labels.join(labels.read(cfg), stored(people))
    assert "\n" not in str(caught.value)
    with pytest.raises(OctshardError, match=r"want at least|want a categorical"):
        labels.join(labels.read(dataclasses.replace(cfg, label="age", target="classes")), stored(people))


def scan(person: str, eye: str, number: int, split: str) -> SampleRow:
    key = f"{person}-{eye}-{number}"
    return SampleRow(
        key, person, "triton", "", "", "", "", eye, split, f"a/{key}.dcm", sop_instance_uid=f"1.{key}"
    )


def cohort(people: int) -> list[SampleRow]:
    """Two scans of each eye; everybody's first scan of the right eye does not say which eye it is of."""
    return [
        scan(str(p), "" if (eye, n) == ("R", 0) else eye, n, ("train", "train", "val", "test")[p % 4])
        for p in range(people)
        for eye in "LR"
        for n in range(2)
    ]


def test_eyes_have_labels_of_their_own():
    rows = cohort(24)
    table = "participant,laterality,grade\n" + "".join(
        f"{p}.0,{'OD' if eye == 'R' else 'left'},{(p // 4 + (eye == 'R')) % 2}\n"
        for p in range(24)
        for eye in "LR"
    )
    target = targets.parse(delimited.parse(table, "t"), TargetRequest("grade", join="eye"))
    scans = labels.join(target, rows)
    assert scans.level == "eye"
    assert scans.dropped == {"no value in the column": 0, "eye not in the table": 0, "eye not known": 24}
    train = scans.subsets["train"]
    assert (scans.counts[0].scans, scans.counts[0].units, scans.counts[0].participants) == (36, 24, 12)
    assert scans.counts[0].of_class == {"0": 12, "1": 12}  # everybody has an eye of each
    for n, y, unit in zip(train.places_N, train.y_N, train.units, strict=True):
        person, eye = unit.split("/")
        assert (rows[n].participant, rows[n].eye) == (person, eye)
        assert y == (int(person) // 4 + (eye == "R")) % 2


@pytest.mark.parametrize("column", ["key", "source", "sop_instance_uid"])
def test_scans_have_labels_of_their_own(column):
    rows = cohort(24)
    values = {getattr(row, column): float(i) / 7 for i, row in enumerate(rows)}
    table = f"{column}\tload\n" + "".join(f"{name}\t{value!r}\n" for name, value in values.items())
    scans = labels.join(targets.parse(delimited.parse(table, "t"), TargetRequest("load", join=column)), rows)
    assert (scans.level, scans.kind, scans.classes) == ("scan", "numbers", ())
    for subset in scans.subsets.values():
        assert [values[getattr(rows[n], column)] for n in subset.places_N] == subset.y_N.tolist()


def test_levels_that_no_scan_has_leave_the_others_in_order():
    target = Target("g", ("none", "mild", "severe"), {"1": 2.0, "2": 0.0, "9": 1.0}, ordered=True)
    seen = labels.present(target, ["1", "2"])
    assert (seen.classes, dict(seen.value_of), seen.ordered) == (
        ("none", "severe"),
        {"1": 1.0, "2": 0.0},
        True,
    )


def test_a_table_of_other_people_is_said_at_once():
    target = Target("g", ("a", "b"), {"AX-1": 0.0, "AX-2": 1.0}, frozenset({"AX-3"}))
    with pytest.raises(
        UsageError, match=r"none of the 3 names .*first is AX-1.* the 10 stored .*first is 1\)"
    ):
        labels.join(target, stored(SPLIT_OF))


@pytest.mark.parametrize(
    ("value_of", "message"),
    [
        ({"0": 1.0, "1": 2.0}, "train has 2 with 2 different numbers, want at least 8 participants"),
        ({str(p): float(p % 4 == 3) for p in range(16)}, "train has 8 with 1 different numbers"),
        (
            {str(p): float(p) for p in range(16) if p % 4 != 3},
            "test has 0 with 0 .*2 participants.* to score",
        ),
    ],
)
def test_too_few_numbers_give_one_line(value_of: Mapping[str, float], message: str):
    rows = [row for row in cohort(16) if row.eye == "L"]
    with pytest.raises(OctshardError, match=message):
        labels.join(Target("age", (), value_of), rows)


@pytest.mark.parametrize("join", ["participant", "eye", "key"])
@pytest.mark.parametrize("seed", range(4))
def test_a_table_shuffled_doubled_or_with_gaps_never_puts_a_person_into_two_splits(seed, join):
    rows, random = cohort(40), Random(seed)
    level = Join({"key": "scan"}.get(join, join), "key")
    names = sorted({level.name(row) for row in rows} - {""})
    class_of = {name: int(re.split("[/-]", name)[0]) // 4 % 2 for name in names}
    absent = set(random.sample(names, 3))
    empty = set(random.sample(sorted(set(names) - absent), 3))
    lines = [(name, "" if name in empty else class_of[name]) for name in names if name not in absent]
    lines += random.choices(lines, k=10)
    random.shuffle(lines)
    heading = {"participant": "participant_id,g", "eye": "participant_id,eye,g", "key": "key,g"}[join]
    text = "\n".join([heading, *(f"{name.replace('/', ',')},{value}" for name, value in lines)])
    scans = labels.join(targets.parse(delimited.parse(text, "t"), TargetRequest("g", join=join)), rows)
    places = np.concatenate([subset.places_N for subset in scans.subsets.values()])
    assert len(places) + sum(scans.dropped.values()) == len(rows)  # nobody is dropped unseen
    assert len(set(places.tolist())) == len(places)
    people = [set(subset.participants) for subset in scans.subsets.values()]
    assert sum(map(len, people)) == len(set().union(*people))
    for split, subset in scans.subsets.items():
        for n, y, unit in zip(subset.places_N, subset.y_N, subset.units, strict=True):
            assert (rows[n].split, level.name(rows[n])) == (split, unit)
            assert scans.classes[y] == str(class_of[unit])
    assert scans.dropped["no value in the column"] == sum(level.name(row) in empty for row in rows)
    assert scans.dropped[f"{level.level} not in the table"] == sum(level.name(row) in absent for row in rows)
