"""A bad number names its step and its volumes, all of them, with their losses."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from octshard.config.train import RunConfig, TrainConfig
from octshard.devices import select
from octshard.errors import OctshardError
from octshard.train import nonfinite
from octshard.train.setup import Run
from octshard.train.step_stats import LogWindow, StepRecord

NAN, INF = float("nan"), float("inf")


def run_in(folder: Path, process_index: int = 0, process_count: int = 1) -> Run:
    cpu = select.open_backend(RunConfig(device="cpu"))
    row = SimpleNamespace(key="eye-4-1")
    index = SimpleNamespace(
        samples=[SimpleNamespace(row=row, shard=SimpleNamespace(url="shards/train-0.tar"))]
    )
    backend = SimpleNamespace(to_host=cpu.to_host, process_index=process_index, process_count=process_count)
    cfg = TrainConfig(run=RunConfig(out=str(folder)))
    return cast(Run, SimpleNamespace(cfg=cfg, backend=backend, inputs=SimpleNamespace(index=index)))


def window_of(losses: list[float], norm: float) -> LogWindow:
    window = LogWindow(5)
    for step in range(1, 6):
        keys = tuple(f"eye-{step}-{i}" for i in range(len(losses)))
        window.add(StepRecord(step, keys, torch.tensor(losses), torch.tensor(norm), 0.5))
    return window


def test_finite_numbers_pass(tmp_path: Path) -> None:
    nonfinite.check(run_in(tmp_path), torch.tensor([3.0, 0.0]), 5, window_of([1.0], 1.0))
    assert list(tmp_path.iterdir()) == []


def test_the_volume_with_the_bad_loss_is_named_and_all_are_in_the_file(tmp_path: Path) -> None:
    """Two steps of five were bad, so the fourth was the first."""
    with pytest.raises(
        OctshardError, match=r"step 4: .*the loss is not for eye-4-1, eye-4-2 \(all 3"
    ) as error:
        nonfinite.check(run_in(tmp_path), torch.tensor([NAN, 2.0]), 5, window_of([1.5, NAN, INF], NAN))
    assert "\n" not in str(error.value)
    assert "--accept-changes" in str(error.value)
    text = (tmp_path / "nonfinite-step-00000004.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "step": 4,
        "lr": 0.5,
        "grad_norm": "nan",
        "precision": "bf16",
        "volumes": [
            {"key": "eye-4-0", "shard": None, "loss": 1.5},
            {"key": "eye-4-1", "shard": "shards/train-0.tar", "loss": "nan"},
            {"key": "eye-4-2", "shard": None, "loss": "inf"},
        ],
    }


def test_of_a_bad_gradient_alone_the_volumes_are_named_a_few_in_the_line(tmp_path: Path) -> None:
    with pytest.raises(OctshardError, match=r"its volumes: eye-4-0, .*eye-4-7 and 2 more \(all 10"):
        nonfinite.check(run_in(tmp_path), torch.tensor([NAN, 2.0]), 5, window_of([1.0] * 10, INF))
    volumes = json.loads((tmp_path / "nonfinite-step-00000004.json").read_text())["volumes"]
    assert [volume["key"] for volume in volumes] == [f"eye-4-{i}" for i in range(10)]


def test_each_of_several_processes_has_a_file_of_its_own(tmp_path: Path) -> None:
    for index in range(2):
        with pytest.raises(OctshardError, match=f"process-{index}"):
            nonfinite.check(run_in(tmp_path, index, 2), torch.tensor([NAN, 1.0]), 5, window_of([1.0], NAN))
    assert len(list(tmp_path.iterdir())) == 2
