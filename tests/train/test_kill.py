"""kill -9 in the middle of training, twice, then the same command again: the run that was never killed."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from octshard.models import checkpoint
from octshard.train import metrics_log, step_stats
from tests.support.tiny_run import config_for, write_dataset

SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from tests.support.tiny_run import config_for
from octshard.train import loop

def on_progress(step, steps, note):
    if step == {kill_at}:
        os.kill(os.getpid(), signal.SIGKILL)

loop.train(config_for({shards!r}, {out!r}, *{settings!r}), on_progress)
"""
SETTINGS = ("run.samples_budget=48", "run.checkpoint_every_epochs=0.4", "run.log_every_steps=1")  # 12 steps


def start(shards: str, out: Path, kill_at: int) -> int:
    tests = str(Path(__file__).parents[2])
    script = SCRIPT.format(tests=tests, kill_at=kill_at, shards=shards, out=str(out), settings=SETTINGS)
    return subprocess.run([sys.executable, "-c", script], timeout=400, check=False).returncode


def test_killed_twice_is_bit_identical_to_never_killed(tmp_path: Path) -> None:
    """Checkpoints fall due at steps 2, 4, 6, ...: one kill comes while one is written, one between two."""
    shards = write_dataset(tmp_path / "data", {"train": 21, "val": 4})
    assert start(shards, tmp_path / "whole", kill_at=-1) == 0
    assert start(shards, tmp_path / "cut", kill_at=6) == -signal.SIGKILL
    assert start(shards, tmp_path / "cut", kill_at=9) == -signal.SIGKILL
    assert start(shards, tmp_path / "cut", kill_at=-1) == 0
    whole, cut = (payload_of(shards, tmp_path / name) for name in ("whole", "cut"))
    assert whole["step"] == cut["step"] == 12
    assert whole["position"] == cut["position"]
    assert all(torch.equal(tensor, cut["model"][name]) for name, tensor in whole["model"].items())
    old, new = whole["optimizer"]["state"], cut["optimizer"]["state"]
    assert all(torch.equal(old[i][name], new[i][name]) for i in old for name in old[i])
    assert untimed(tmp_path / "whole") == untimed(tmp_path / "cut")


def payload_of(shards: str, out: Path) -> dict[str, Any]:
    latest = checkpoint.latest(config_for(shards, out).run.out)
    assert latest is not None
    return dict(latest.payload)


def untimed(out: Path) -> list[dict[str, Any]]:
    lines = metrics_log.read(str(out))
    return [{k: v for k, v in line.items() if k not in step_stats.SPEEDS} for line in lines]
