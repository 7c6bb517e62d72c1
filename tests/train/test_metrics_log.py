"""The log of a run: the same in metrics.jsonl, W&B and TensorBoard, also after a kill and a resume."""

import json
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.errors import OctshardError, UsageError
from octshard.models import checkpoint
from octshard.storage import store
from octshard.train import loop, metrics_log
from octshard.train.run_identity import RunIdentity
from octshard.train.sinks.sink import Picture
from tests.support.log_readers import read_tensorboard, read_wandb
from tests.support.small_png import small_png
from tests.support.tiny_run import config_for as tiny_config_for
from tests.support.tiny_run import write_dataset

IDENTITY = RunIdentity("run-20261106-0123abcd", ("triton", "vjepa2"), {"model.depth": 12, "data.digest": "f"})


def config_for(out: str, *more: str) -> TrainConfig:
    return load(TrainConfig, [], [f"run.out={out}", "run.pictures=9", *more])


def line_of(step: int, **values: Any) -> dict[str, Any]:
    return {"step": step, "samples_seen": 4 * step, **values}


@pytest.mark.parametrize("place", ["local", "memory://log"])
def test_a_resumed_run_has_no_step_twice(tmp_path: Path, place: str) -> None:
    out = str(tmp_path) if place == "local" else place
    with metrics_log.open_log(config_for(out), IDENTITY, 0, 0) as log:
        for step in (1, 2, 3):
            log.write(line_of(step, loss=step / 2))
            log.write_picture(Picture("views", step, 4 * step, small_png(step)))
        log.flush()
    with metrics_log.open_log(config_for(out), IDENTITY, 2, 8) as log:
        log.write(line_of(3, loss=9.0))
    lines = [line_of(1, loss=0.5), line_of(2, loss=1.0), line_of(3, loss=9.0)]
    assert metrics_log.read(out) == lines
    pictures = store.list_names(store.join(out, "pictures"))
    assert pictures == ["views-000000000004.png", "views-000000000008.png"]


def test_a_silent_log_writes_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = metrics_log.null_log()
    log.write(line_of(1))
    log.write_picture(Picture("views", 1, 4, b""))
    log.flush()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_cannot_write_its_lines_begins_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    begun: list[TrainConfig] = []
    monkeypatch.setattr(metrics_log, "_others", lambda cfg, *_: begun.append(cfg) or [])
    with (
        pytest.raises(OctshardError, match=r"metrics\.jsonl"),
        metrics_log.open_log(config_for(str(tmp_path)), IDENTITY, 0, 0),
    ):
        pass
    assert not begun


@pytest.mark.parametrize(
    ("word", "module"), [("run.wandb=offline", "wandb"), ("run.tensorboard=true", "tensorboard")]
)
def test_what_is_not_installed_is_said_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"{module} is not here"):
        loop.train(tiny_config_for("no-such-folder", tmp_path / "out", "run.epochs=1", word))
    assert list(tmp_path.iterdir()) == []


class TestAllThree:
    """What W&B and TensorBoard hold, decoded and laid beside metrics.jsonl."""

    @pytest.fixture(autouse=True)
    def _installed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        pytest.importorskip("wandb", reason="needs octshard[wandb]")
        pytest.importorskip("tensorboard", reason="needs octshard[tensorboard]")
        monkeypatch.setenv("WANDB_SILENT", "true")
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            monkeypatch.setenv(name, str(tmp_path / "home"))

    def test_a_run_is_the_same_in_all(self, tmp_path: Path) -> None:
        shards = write_dataset(tmp_path / "data", {"train": 21, "val": 4}, device="triton")
        words = ("run.wandb=offline", "run.wandb_artifacts=true", "run.tensorboard=true", "run.tags=[mine]")
        loop.train(tiny_config_for(shards, tmp_path / "run", "run.samples_budget=24", *words))
        lines = metrics_log.read(str(tmp_path / "run"))
        (wandb,) = read_wandb(tmp_path / "run")
        board = read_tensorboard(tmp_path / "run")
        assert wandb.rows == lines
        assert board.lines == by_samples(lines)
        for name in ("loss", "lr", "weight_decay", "grad_norm", "ema", "skipped_files"):
            assert name in lines[0], name
        for name in ("volumes_per_s_per_device", "data_wait", "data_wait_worst_s", "data_wait_worst_step"):
            assert name in lines[0], name
        identity = json.loads((tmp_path / "run" / "run.json").read_text())
        assert identity["name"].startswith("run-20")
        assert identity["tags"] == ["triton", "vjepa2", "mine"]
        assert len(identity["config"]["data.digest"]) == 16
        assert (wandb.name, wandb.tags) == (identity["name"], sorted(identity["tags"]))
        assert {key: wandb.config[key] for key in identity["config"]} == identity["config"]
        assert wandb.axes == {"samples_seen": "", "*": "samples_seen"}
        texts = {name: text for name, ((_, text),) in board.texts.items()}
        assert (texts["name"], texts["tags"]) == (identity["name"], "triton, vjepa2, mine")
        assert json.loads(texts["config"].strip("`")) == identity["config"]
        infos = checkpoint.list_checkpoints(str(tmp_path / "run"))
        files = [[f"{info.name}.json", f"{info.name}.pt"] for info in infos]
        assert [paths for _, paths in wandb.artifacts] == files

    def test_a_killed_and_resumed_run_is_the_same_in_all(self, tmp_path: Path) -> None:
        """Killed after step 5, resumed from step 3; a late probe of step 2 before, one of step 3 after."""
        out = tmp_path / "run"
        script = SCRIPT.format(root=str(Path(__file__).parents[2]), out=str(out))
        # W&B's own process holds the pipes: `run` returns when it has written all
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=300)
        assert done.returncode == -signal.SIGKILL, done.stderr
        cfg = config_for(str(out), "run.wandb=offline", "run.tensorboard=true")
        with metrics_log.open_log(cfg, IDENTITY, 3, 12) as log:
            log.write(line_of(3, knn=0.75))
            for step in (4, 5, 6):
                log.write(line_of(step, loss=step / 7))
            log.write_picture(Picture("views", 6, 24, small_png(6)))
        lines = metrics_log.read(str(out))
        assert [line["step"] for line in lines] == [1, 2, 3, 2, 3, 4, 5, 6]
        board = read_tensorboard(out)
        assert board.lines == by_samples(lines)
        assert board.pictures == {("views", samples): small_png(samples // 4) for samples in (8, 24)}
        first, second = read_wandb(out)
        assert (first.run_id, first.name, first.tags) == (second.run_id, second.name, second.tags)
        assert second.exit_code == 0
        # W&B takes nothing back: what came after the checkpoint stands there twice, at the same samples_seen
        rows = [row for row in first.rows if "views" not in row]
        assert rows == [*lines[:4], line_of(4, loss=4 / 7), line_of(5, loss=5 / 7)]
        assert [row for row in second.rows if "views" not in row] == lines[4:]
        pictures = [row["samples_seen"] for run in (first, second) for row in run.rows if "views" in row]
        assert pictures == [8, 20, 24]


def by_samples(lines: list[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """All lines of one samples_seen as one, without it; `step` only where it was not passed before."""
    merged: dict[int, dict[str, float]] = {}
    last = 0
    for line in lines:
        values = {name: single(value) for name, value in line.items() if name != "samples_seen"}
        if line["step"] <= last:
            del values["step"]
        last = max(last, line["step"])
        merged.setdefault(line["samples_seen"], {}).update(values)
    return merged


def single(value: float) -> float:
    """In single precision, as event files hold it."""
    number: float = struct.unpack("f", struct.pack("f", value))[0]
    return number


SCRIPT = """
import os, pathlib, signal, sys
sys.path.insert(0, {root!r})
from octshard.train import metrics_log
from octshard.train.sinks.sink import Picture
from tests.support.log_readers import count_rows
from tests.support.small_png import small_png
from tests.train.test_metrics_log import IDENTITY, config_for, line_of

cfg = config_for({out!r}, "run.wandb=offline", "run.tensorboard=true")
with metrics_log.open_log(cfg, IDENTITY, 0, 0) as log:
    for step in (1, 2, 3):
        log.write(line_of(step, loss=step / 7))
    log.write(line_of(2, knn=0.5))
    log.write_picture(Picture("views", 2, 8, small_png(2)))
    for step in (4, 5):
        log.write(line_of(step, loss=step / 7))
    log.write_picture(Picture("views", 5, 20, small_png(5)))
    log.flush()
    while count_rows(pathlib.Path({out!r})) < 8:
        os.sched_yield()
    os.kill(os.getpid(), signal.SIGKILL)
"""
