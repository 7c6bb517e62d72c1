"""A setting that changes nothing is said, and torch.compile on the CPU is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from octshard.config.load import load, shipped_configs
from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.train import loop, no_effect
from tests.support.log_lines import log_lines
from tests.support.tiny_run import config_for, write_dataset


def on(device: str) -> Any:
    return SimpleNamespace(device=torch.device(device))


@pytest.mark.parametrize(
    ("device", "words", "line"),
    [
        ("xla", ["run.compile=true"], "run.compile=true has no effect: torch.compile is for cuda alone"),
        ("cpu", ["run.deterministic=true"], "run.deterministic=true has no effect: it is for cuda alone"),
        ("cuda", ["run.cpu_threads=3"], "run.cpu_threads=3 has no effect: it is for the cpu alone"),
        ("cpu", ["run.wandb_project=mine"], "run.wandb_project=mine has no effect: run.wandb is off"),
        ("cpu", ["optim.cooldown=0.1"], "optim.cooldown=0.1 has no effect: optim.schedule is cosine"),
        ("cpu", ["data.cache_bytes=5"], "data.cache_bytes=5 has no effect: data.cache_dir is empty"),
        ("cpu", ["data.max_substitutes=3"], "data.max_substitutes=3 has no effect: data.on_bad_sample"),
        (
            "cpu",
            ["objective.name=byol", "predictor.heads=2"],
            "predictor.heads=2 has no effect: the predictor",
        ),
        (
            "cpu",
            ["objective.context_ramp=[0,0.5]"],
            "objective.context_ramp=[0.0, 0.5] has no effect: objective.name is vjepa2, want vjepa2_1",
        ),
        (
            "cpu",
            ["objective.name=byol", "objective.context_weight=0.2"],
            "objective.context_weight=0.2 has no effect: objective.name is byol, want vjepa2_1",
        ),
        (
            "cpu",
            ["objective.masks=[{kind: cubes, scale: 0.3}]"],
            "objective.masks[0].scale=0.3 has no effect: kind is cubes, want blocks",
        ),
        (
            "cpu",
            ["objective.masks=[{kind: blocks, ratio: 0.3}]"],
            "objective.masks[0].ratio=0.3 has no effect",
        ),
    ],
)
def test_what_changes_nothing_is_said_with_its_reason(device: str, words: list[str], line: str) -> None:
    (said,) = no_effect.lines(load(TrainConfig, [], words), on(device))
    assert said.startswith(line)


def test_what_an_objective_reads_has_an_effect() -> None:
    words = ["objective.name=vjepa2_1", "objective.context_weight=0.2", "objective.context_ramp=[0,0.5]"]
    assert list(no_effect.lines(load(TrainConfig, [], words), on("cpu"))) == []


@pytest.mark.parametrize("name", shipped_configs())
def test_shipped_configs_hold_nothing_idle(name: str) -> None:
    assert list(no_effect.lines(load(TrainConfig, [name], []), on("cuda"))) == []


def test_compile_on_the_cpu_is_refused_and_the_rest_is_logged(tmp_path: Path) -> None:
    shards = write_dataset(tmp_path / "data", {"train": 21})
    words = ("run.samples_budget=4", "data.cache_bytes=5")
    with pytest.raises(UsageError, match=r"run\.compile=true: torch\.compile is for cuda alone"):
        loop.train(config_for(shards, tmp_path / "run", *words, "run.compile=true"))
    assert not (tmp_path / "run" / "config.yaml").exists()
    with log_lines() as lines:
        loop.train(config_for(shards, tmp_path / "run", *words))
    assert "WARNING data.cache_bytes=5 has no effect: data.cache_dir is empty" in lines
    assert any("0 usable val samples" in line for line in lines)
