"""A run moves between backends and world sizes, one step on each: a checkpoint of any loads on any other."""

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from octshard.models import checkpoint
from octshard.train import loop
from tests.support.processes import ROOT, environments
from tests.support.tiny_run import config_for, write_dataset

pytestmark = [
    pytest.mark.xla,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("torch_xla") is None, reason="torch_xla is not installed"),
]
LENGTH = ("run.samples_budget=20", "run.checkpoint_every_epochs=9", "run.val_samples=4")  # five steps
SCRIPT = """
import signal
from octshard.devices.stop_agreement import StopAgreement
from octshard.train import loop
from tests.support.tiny_run import config_for

def stops_after(self, step):  # as if all had agreed upon it
    if step >= {stop}:
        self.request(signal.SIGTERM)
    return step >= {stop}

StopAgreement.stops_after = stops_after
outcome = loop.train(config_for({shards!r}, {out!r}, *{settings!r}))
assert outcome.step == min(5, {stop}), outcome
"""
XLA = {"PJRT_DEVICE": "CPU", "XLA_FLAGS": "--xla_backend_optimization_level=0"}


def move(shards: str, out: Path, device: str, count: int, stop: int) -> None:
    """Goes on until step `stop` on `count` devices."""
    settings = (*LENGTH, f"run.device={device}", f"run.per_device_batch={4 // count}")
    script = SCRIPT.format(stop=stop, shards=shards, out=str(out), settings=settings)
    several: list[Mapping[str, str]] = [{"OMP_NUM_THREADS": "1"}]
    if device == "xla":
        several = [{**XLA, "CPU_NUM_DEVICES": str(count)}]
    elif count > 1:
        several = environments(count)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, **environment}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for environment in several
    ]  # fmt: skip
    errors = [process.communicate(timeout=400)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), errors


def last_of(out: Path) -> Mapping[str, Any]:
    latest = checkpoint.latest(str(out))
    assert latest is not None
    return latest.payload


def test_a_checkpoint_of_any_backend_and_world_size_goes_on_on_any_other(tmp_path: Path) -> None:
    shards = write_dataset(tmp_path / "data", {"train": 21, "val": 4})
    hosts = [("cpu", 1), ("xla", 4), ("cpu", 2), ("xla", 1), ("cpu", 1)]
    for stop, (device, count) in enumerate(hosts, start=1):
        move(shards, tmp_path / "moving", device, count, stop)
    loop.train(config_for(shards, tmp_path / "staying", *LENGTH))
    moving, staying = last_of(tmp_path / "moving"), last_of(tmp_path / "staying")
    assert [moving[name] for name in ("step", "samples_seen", "position", "changes")] == [
        staying[name] for name in ("step", "samples_seen", "position", "changes")
    ]
    assert list(moving["model"]) == list(staying["model"])
    for name, tensor in staying["model"].items():
        torch.testing.assert_close(moving["model"][name], tensor, rtol=1e-3, atol=1e-4)
    for i, moments in staying["optimizer"]["state"].items():
        other = moving["optimizer"]["state"][i]
        assert moments.keys() == other.keys()
        assert float(other["step"]) == 5
