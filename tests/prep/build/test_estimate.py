"""A dry run tells what a run would do, from files really made, and writes nothing."""

import dataclasses
from pathlib import Path

import pytest

from octshard.config.prep import PrepConfig
from octshard.errors import UsageError
from octshard.prep.build import estimate, run
from tests.support.made_release import changed, sound, unpacked, zipped

SPLITS = {"1001": "train", "4001": "val"}
FILES = [*(sound(i, "1001" if i % 3 else "4001") for i in range(9)), changed(20, lambda data: None)]


def config(root: Path, dst: Path) -> PrepConfig:
    return PrepConfig(
        src=str(root), dst=str(dst), target_spacing=[0.08, 0.04, 0.04], workers=2, shard_bytes=300
    )


@pytest.mark.parametrize("from_zip", [False, True])
def test_an_estimate_is_near_what_the_run_then_does(tmp_path: Path, from_zip: bool) -> None:
    root = (zipped if from_zip else unpacked)(tmp_path / "release", FILES, SPLITS)
    cfg = dataclasses.replace(config(root, tmp_path / "dst"), from_zip=from_zip)
    (found,) = estimate.estimates(cfg, ["all"])
    assert not (tmp_path / "dst").exists()
    assert (found.device, found.files) == ("topcon_triton", 10)
    assert len(found.tried) == estimate.TRIED
    assert all(row.status == "ok" for row in found.tried)  # the missing one is not tried

    (made,) = run.shard(cfg, ["all"])
    size = sum(len(file.data or b"") for file in FILES)
    assert found.bytes_in == pytest.approx(size * 10 / 9, rel=0.1)  # the missing file counts as another
    assert made.bytes * 0.5 < found.bytes_out < made.bytes * 2
    assert found.shards >= made.shards > 1
    assert found.core_seconds > 0


def test_the_text_says_room_time_and_cost(tmp_path: Path) -> None:
    one = estimate.Estimate("zeiss_cirrus", 3600, 7, 2e9, 1e30, 7200.0, ())
    cfg = dataclasses.replace(config(tmp_path, tmp_path / "dst"), price_per_core_hour=0.5)
    said = estimate.text([one, dataclasses.replace(one, bytes_out=0.0)], cfg)
    assert "TOO LITTLE ROOM" in said
    assert "about 2.00 h with 2 workers" in said  # two devices of 2 core-hours
    assert "about 2.00 USD at 0.5 USD per core-hour" in said
    assert "none of the files looked for is there" in said
    cfg = dataclasses.replace(cfg, dst="memory://bucket")
    assert "TOO LITTLE" not in estimate.text([one], cfg)


def test_a_release_of_missing_files_and_a_wrong_device_are_told(tmp_path: Path) -> None:
    root = unpacked(tmp_path / "release", [changed(1, lambda data: None)], SPLITS)
    (found,) = estimate.estimates(config(root, tmp_path), ["all"])
    assert (found.files, found.tried, found.core_seconds) == (1, (), 0.0)
    with pytest.raises(UsageError, match="zeiss_cirrus"):
        estimate.estimates(config(root, tmp_path), ["zeiss_cirrus"])
