"""`prep shard --where`: which rows of the manifest are inputs, counted, recorded, and held to on resume."""

import dataclasses
import json
from pathlib import Path

import pytest

from octshard.config.prep import PrepConfig
from octshard.dataset import tables
from octshard.errors import UsageError
from octshard.prep.build import estimate, inputs, run
from octshard.prep.verify import verify
from tests.support.log_lines import log_lines
from tests.support.made_release import sound, unpacked

PEOPLE = ("1001", "1002", "4001", "7001")
SPLITS = {"1001": "train", "1002": "train", "4001": "val", "7001": "test"}
CIRRUS = "zeiss_cirrus"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans of every person, and one more of 7001 from another device."""
    files = [sound(i, PEOPLE[i % 4]) for i in range(8)]
    files.append(dataclasses.replace(sound(9, "7001"), device=CIRRUS))
    return unpacked(tmp_path_factory.mktemp("release"), files, SPLITS)


def config(release: Path, dst: Path, where: str, **values: object) -> PrepConfig:
    made = PrepConfig(
        src=str(release), dst=str(dst), target_spacing=[0.08, 0.04, 0.04], workers=1, where=where
    )
    return dataclasses.replace(made, **values)  # type: ignore[arg-type]


def people(folder: str) -> list[str]:
    return sorted(row.participant for row in tables.open_dataset(folder).rows)


def test_what_is_left_out_has_no_row_and_is_counted(release: Path, tmp_path: Path) -> None:
    cfg = config(release, tmp_path, "participant in ('1001', '4001') and split != 'test'", max_refused="0")
    with log_lines() as lines:
        (summary,) = run.shard(cfg, ["all"])
    assert people(summary.folder) == ["1001", "1001", "4001", "4001"]
    assert (summary.stored, summary.left_out, summary.refused) == (4, 4, {})
    info = tables.read_info(summary.folder)
    assert (info["left_out"], info["config"]["where"]) == (4, cfg.where)
    assert json.loads((Path(summary.folder) / "plan.json").read_text())["config"]["where"] == cfg.where
    assert f"where={cfg.where} leaves out 5 of 9 files" in lines
    assert f"{CIRRUS}: where is true for none of its files, no folder is made" in lines
    assert not (tmp_path / CIRRUS).exists()
    assert not list(verify(summary.folder, True))
    assert run.shard(cfg, ["all"])[0].kept == summary.shards
    spelling = 'participant in ["1001","4001"]   and (split != "test")'
    assert run.shard(config(release, tmp_path, spelling), ["all"])[0].kept == summary.shards
    assert tables.read_info(summary.folder)["config"]["where"] == spelling
    assert not list(verify(summary.folder, True))  # plan.json has the first spelling
    for other in ("", "participant == '1001'"):
        with pytest.raises(UsageError, match=r"begun with another config \(where: .*; use another DST"):
            run.shard(config(release, tmp_path, other), ["topcon_triton"])


def test_without_where_a_folder_is_as_it_was_before_there_was_one(release: Path, tmp_path: Path) -> None:
    (summary,) = run.shard(config(release, tmp_path, ""), [CIRRUS])
    info = tables.read_info(summary.folder)
    assert "left_out" not in info
    assert "where" not in info["config"]
    with pytest.raises(
        UsageError, match=rf"{CIRRUS}: begun with another config, as where=.* is true for no file"
    ):
        inputs.load(config(release, tmp_path, "device == 'topcon_triton'"), ["all"])


def test_the_volumes_are_those_of_the_whole_release(release: Path, tmp_path: Path) -> None:
    """In the same splits under the same keys, with the same voxels; --limit draws among what is selected."""
    (whole,) = run.shard(config(release, tmp_path / "whole", ""), ["topcon_triton"])
    (part,) = run.shard(config(release, tmp_path / "part", "participant > '1001'"), ["topcon_triton"])
    expected = {
        row.key: (row.split, row.xxh3)
        for row in tables.open_dataset(whole.folder).rows
        if row.participant > "1001"
    }
    assert {row.key: (row.split, row.xxh3) for row in tables.open_dataset(part.folder).rows} == expected
    plans = inputs.load(config(release, tmp_path, "participant == '7001'", limit=2), ["topcon_triton"]).plans
    assert {m.entry.participant for plan in plans["topcon_triton"] for m in plan.members} == {"7001"}


def test_only_people_that_are_selected_need_a_split(release: Path, tmp_path: Path) -> None:
    root = unpacked(tmp_path / "release", [sound(1, "1001"), sound(2, "4001")], {"1001": "test"})
    with pytest.raises(UsageError, match="4001"):
        inputs.load(config(root, tmp_path / "shards", ""), ["all"])
    for where in ("participant != '4001'", "split == 'test'", "split is not None"):
        assert inputs.load(config(root, tmp_path / "shards", where), ["all"]).left_out == {"topcon_triton": 1}


@pytest.mark.parametrize(
    ("where", "devices", "message"),
    [
        (
            "'saturated' in flags",
            ["all"],
            "flags is known only once a file is converted; before that there are participant",
        ),
        ("devise == 'x'", ["all"], r"no column devise; did you mean device\?"),
        ("participant == '1'", ["all"], "true for no file of topcon_triton, zeiss_cirrus"),
        ("device == 'topcon_triton'", [CIRRUS], "true for no file of zeiss_cirrus"),
        ("exit()", ["all"], r"exit\(\) is a call"),
    ],
)
def test_a_mistake_stops_the_run_before_anything_is_written(
    release: Path, tmp_path: Path, where: str, devices: list[str], message: str
) -> None:
    for attempt in (run.shard, estimate.estimates):
        with pytest.raises(UsageError, match=message):
            attempt(config(release, tmp_path / "shards", where), devices)
    assert not (tmp_path / "shards").exists()
