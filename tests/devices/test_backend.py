"""What a backend promises, on the CPU; the XLA backend is seen in test_xla.py."""

from typing import NamedTuple

import pytest
import torch

from octshard.config.run import RunConfig
from octshard.devices import select
from octshard.devices.backend import map_tensors
from octshard.errors import UsageError
from octshard.stream.batch import Batch
from octshard.stream.sampler import StreamPosition


class Pair(NamedTuple):
    x: torch.Tensor
    name: str


def test_tensors_are_found_in_nested_values() -> None:
    ones = torch.ones(2)
    batch = Batch(ones, ones, ones, ones, ("k",), (0,), 1, StreamPosition(0, 1), (), ("k",))
    doubled = map_tensors({"a": [Pair(ones, "n"), 3], "b": (batch, None)}, lambda t: t * 2)
    assert doubled["a"][0].x.tolist() == [2.0, 2.0]
    assert (doubled["a"][0].name, doubled["a"][1], doubled["b"][1]) == ("n", 3, None)
    assert doubled["b"][0].mean_B.tolist() == [2.0, 2.0]
    assert doubled["b"][0].position == StreamPosition(0, 1)


def test_fetched_tensors_are_nobody_elses() -> None:
    backend = select.open_backend(RunConfig(device="cpu"))
    weight = torch.zeros(3, requires_grad=True)
    copy = backend.to_host({"w": weight})["w"]
    with torch.no_grad():
        weight += 1
    assert copy.tolist() == [0, 0, 0]
    assert not copy.requires_grad


def test_precision_is_autocast() -> None:
    x = torch.ones(2, 2)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with select.open_backend(RunConfig(device="cpu", precision=precision)).autocast():
            assert (x @ x).dtype == dtype


def test_threads_are_set_when_the_config_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    thread_counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", thread_counts.append)
    select.open_backend(RunConfig(device="cpu", cpu_threads=0))
    select.open_backend(RunConfig(device="cpu", cpu_threads=3))
    assert thread_counts == [3]


def test_what_is_not_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="torch sees no GPU here"):
        select.open_backend(RunConfig(device="cuda"))
    with pytest.raises(UsageError, match=r"run.device=tpu: want auto, cpu, cuda or xla"):
        select.open_backend(RunConfig(device="tpu"))
    with pytest.raises(UsageError, match="want bf16 or fp32"):
        select.open_backend(RunConfig(device="cpu", precision="fp16"))


def test_auto_is_cuda_then_a_tpu_then_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("PJRT_DEVICE", "TPU")
    assert select.automatic() == "xla"
    monkeypatch.setenv("PJRT_DEVICE", "CPU")
    assert select.automatic() == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert select.automatic() == "cuda"
