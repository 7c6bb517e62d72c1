"""The inputs of a run: everybody's split is known before anything is written."""

import dataclasses
from pathlib import Path

import pytest

from octshard.config.prep import PrepConfig
from octshard.dataset import tables
from octshard.errors import UsageError
from octshard.prep.build import estimate, inputs, run
from tests.support.log_lines import log_lines
from tests.support.made_release import sound, unpacked

PEOPLE = ("1001", "4001", "7001")


def config(release: Path, dst: Path, **values: object) -> PrepConfig:
    made = PrepConfig(src=str(release), dst=str(dst), target_spacing=[0.08, 0.04, 0.04], workers=1)
    return dataclasses.replace(made, **values)  # type: ignore[arg-type]


def release_of(root: Path, splits: dict[str, str]) -> Path:
    return unpacked(root, [sound(i, person) for i, person in enumerate(PEOPLE)], splits)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"1001": "test", "4001": "test"}, r"of 3 people of the manifest 1 \(7001\) have no row"),
        ({"1001": "test", "4001": "holdout", "7001": ""}, r"1 \(4001\) have the recommended_split 'holdout'"),
    ],
)
def test_somebody_without_a_split_stops_the_run_before_anything_is_written(
    tmp_path: Path, splits: dict[str, str], message: str
) -> None:
    root = release_of(tmp_path / "release", splits)
    for attempt in (run.shard, estimate.estimates):
        with pytest.raises(UsageError, match=message):
            attempt(config(root, tmp_path / "shards"), ["all"])
    assert not (tmp_path / "shards").exists()


def test_split_hash_places_such_people_and_says_how_many(tmp_path: Path) -> None:
    root = release_of(tmp_path / "release", {"1001": "test", "4001": "holdout"})
    (summary,) = run.shard(config(root, tmp_path / "shards", split="hash"), ["all"])
    assert summary.split_sources == {"recommended": 1, "hash": 2}
    rows = tables.open_dataset(summary.folder).rows
    assert {row.participant: row.split_source for row in rows} == {
        "1001": "recommended",
        "4001": "hash",
        "7001": "hash",
    }
    assert {row.split for row in rows if row.participant == "1001"} == {"test"}


def test_a_folder_goes_on_under_the_other_rule_only_if_it_places_nobody_else(tmp_path: Path) -> None:
    root = release_of(tmp_path / "release", dict.fromkeys(PEOPLE, "val"))
    (first,) = run.shard(config(root, tmp_path / "shards", split="hash"), ["all"])
    (again,) = run.shard(config(root, tmp_path / "shards"), ["all"])
    assert (first.kept, again.kept) == (0, again.shards)
    release_of(tmp_path / "release", dict.fromkeys(PEOPLE, "test"))
    with pytest.raises(UsageError, match="begun from another manifest"):
        run.shard(config(root, tmp_path / "shards"), ["all"])


@pytest.mark.parametrize("spelling", ["{}.0", "0{}", " {} ", '"{}"'])
def test_test_people_stay_test_people_however_ids_are_written(tmp_path: Path, spelling: str) -> None:
    root = release_of(tmp_path, {spelling.format(person): "test" for person in PEOPLE})
    cfg = config(root, tmp_path / "shards")
    assert {plan.split for plan in inputs.load(cfg, ["all"]).plans["topcon_triton"]} == {"test"}


def test_only_people_of_the_devices_asked_for_need_a_split(tmp_path: Path) -> None:
    files = [sound(1, "1001"), dataclasses.replace(sound(2, "4001"), device="zeiss_cirrus")]
    root = unpacked(tmp_path, files, {"1001": "test"})
    inputs.load(config(root, tmp_path / "shards"), ["topcon_triton"])
    with pytest.raises(UsageError, match="4001"):
        inputs.load(config(root, tmp_path / "shards"), ["all"])


def test_without_participants_tsv_one_line_says_that_ids_are_hashed(tmp_path: Path) -> None:
    root = release_of(tmp_path, {})
    (root / "participants.tsv").unlink()
    with log_lines() as lines:
        inputs.load(config(root, tmp_path / "shards"), ["all"])
    assert lines == [f"{root}: no participants.tsv, so people are split 70:15:15 by a hash of their ids"]
    (root / "Participants.TSV").write_text("")
    with log_lines() as lines:
        inputs.load(config(root, tmp_path / "shards"), ["all"])
    assert lines == [
        f"WARNING {root}: no participants.tsv (there is Participants.TSV), so people are split 70:15:15 by a "
        "hash of their ids"
    ]


def test_a_manifest_of_few_columns_builds_a_device_of_its_own_name_with_dates(tmp_path: Path) -> None:
    root = release_of(tmp_path / "release", dict.fromkeys(PEOPLE, "train"))
    rows = [(sound(i, person).path, person, f"2024-01-0{i + 1}") for i, person in enumerate(PEOPLE)]
    lines = [f"{person}\t{path}\tmy_device\t{day}" for path, person, day in rows[:2]]
    lines.append(f"{rows[2][1]}\t{rows[2][0]}\tmy_device\t")
    (root / "manifest.tsv").write_text("\n".join(["person_id\tfilepath\tdevice\tdate", *lines]) + "\n")
    (summary,) = run.shard(config(root, tmp_path / "shards"), ["my_device"])
    assert (summary.stored, Path(summary.folder).name) == (3, "my_device")
    acquired = {row.participant: row.acquired for row in tables.open_dataset(summary.folder).rows}
    assert acquired == {"1001": "2024-01-01", "4001": "2024-01-02", "7001": ""}
