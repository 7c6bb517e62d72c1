"""What cannot fit is refused before it is tried; what is too much later is one line."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.errors import OctshardError, UsageError
from octshard.stream.batch_shape import BatchShape, batch_shape
from octshard.stream.index import SampleIndex
from octshard.train import loop, memory
from octshard.train.objectives.build import CLASSES, build
from tests.support.tiny_run import config_for, write_dataset
from tests.support.token_lists import draw_lists

GB = 10**9


def backend_with(free: int | None) -> Any:
    return SimpleNamespace(
        device=torch.device("cpu"), device_count=1, process_count=1, free_memory=lambda: free
    )


@pytest.mark.parametrize("objective", CLASSES)
@pytest.mark.parametrize("attention", ["joint", "divided"])
def test_the_weights_of_the_estimate_are_those_of_the_model(objective: str, attention: str) -> None:
    words = [f"objective.name={objective}", f"model.attention={attention}"]
    cfg = load(TrainConfig, ["smoke_test"], ["model.depth=4", "predictor.depth=1", *words])
    model = build(cfg)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    averaged = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    true = 4 * (4 * trained + averaged)
    assert 0.95 * true <= memory.weight_bytes(cfg) <= true


@pytest.mark.parametrize("attention", ["joint", "divided"])
@pytest.mark.parametrize("checkpointing", ["false", "true"])
def test_the_least_that_a_volume_takes_is_less_than_autograd_keeps(
    attention: str, checkpointing: str
) -> None:
    """A second count: the tensors that autograd keeps in a real step."""
    words = ["model.depth=2", "model.width=192", "model.heads=3", "predictor.depth=1", "run.precision=fp32"]
    words += ["objective.name=vjepa2", f"model.attention={attention}", f"model.checkpointing={checkpointing}"]
    cfg = load(TrainConfig, ["smoke_test"], words)
    model, kept = build(cfg), dict[int, int]()
    x = torch.zeros(1, 1, *cfg.model.image_size)
    valid_B3 = torch.tensor([cfg.model.image_size])
    lists = draw_lists(cfg, valid_B3, ["key"])

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(x, x, *lists).loss.backward()
    voxels = 9 * x.numel()  # as voxels and as two views
    assert 0 < memory.volume_bytes(cfg, whole(cfg)) - voxels < sum(kept.values())


def whole(cfg: TrainConfig) -> BatchShape:
    """Batches of volumes that fill the image."""
    return batch_shape(SampleIndex("train", (), (), 0, 0), cfg)


@pytest.mark.parametrize(
    "name",
    ["pretrain_vjepa_single_domain", "pretrain_vjepa_multi_domain", "pretrain_vjepa_retina", "smoke_test"],
)
def test_shipped_configs_fit_a_gpu_of_40_gb(name: str) -> None:
    cfg = load(TrainConfig, [name], [])
    memory.check(cfg, backend_with(40 * GB), whole(cfg))


@pytest.mark.parametrize(
    ("words", "free", "line"),
    [
        (
            ["run.per_device_batch=100000"],
            64 * GB,
            r"run.per_device_batch=100000: a step takes at least [\d,]+\.\d GB",
        ),
        (
            ["model.width=98304", "model.depth=48"],
            64 * GB,
            "model, predictor: a step takes .*want a smaller model",
        ),
        (["run.per_device_batch=1000000000"], None, "3 batches of voxels take .* GB, and this machine has"),
    ],
)
def test_what_is_far_too_large_is_refused(words: list[str], free: int | None, line: str) -> None:
    cfg = load(TrainConfig, ["smoke_test"], words)
    with pytest.raises(UsageError, match=line) as error:
        memory.check(cfg, backend_with(free), whole(cfg))
    assert "\n" not in str(error.value)


def test_it_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    shards = write_dataset(tmp_path / "data", {"train": 21})
    huge = ("run.global_batch=100000000", "run.per_device_batch=100000000", "run.samples_budget=100000000")
    with pytest.raises(UsageError, match=r"run\.per_device_batch=100000000"):
        loop.train(config_for(shards, tmp_path / "run", *huge))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_memory_that_is_full_is_one_line() -> None:
    cfg = TrainConfig()
    for allocate in (lambda: torch.empty(10**16), lambda: np.empty(10**16)):
        with (
            pytest.raises(OctshardError, match=r"memory is full at run.per_device_batch=2 \(.*halve it"),
            memory.one_line_errors(cfg),
        ):
            allocate()
    for error in (
        torch.OutOfMemoryError("CUDA out of memory.\nTried to"),
        RuntimeError("RESOURCE_EXHAUSTED: x"),
    ):
        with pytest.raises(OctshardError, match="memory is full"), memory.one_line_errors(cfg):
            raise error
    with pytest.raises(RuntimeError, match=r"^shapes"), memory.one_line_errors(cfg):
        raise RuntimeError("shapes do not fit")
