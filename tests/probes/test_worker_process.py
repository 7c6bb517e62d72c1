"""The environment of the probes' process: its own device, few threads, and no part in the run."""

import os
from pathlib import Path
from typing import cast

import pytest

import octshard
from octshard.config.run import RunConfig
from octshard.config.train import TrainConfig
from octshard.probes import worker_process
from octshard.probes.protocol import ProbeJob
from octshard.probes.task import ProbeTask


@pytest.mark.parametrize(
    ("visible", "device", "gpu"),
    [
        (None, "cpu", ""),
        ("0,1", "cpu", ""),
        (None, "cuda:1", "1"),
        ("4,7", "cuda:1", "7"),
        ("GPU-a,GPU-b", "cuda:0", "GPU-a"),
    ],
)
def test_it_sees_its_own_gpu_alone(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, device: str, gpu: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert worker_process.environment(RunConfig(probe_device=device))["CUDA_VISIBLE_DEVICES"] == gpu


def test_it_is_no_process_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "x", "PJRT_DEVICE": "TPU"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KEPT", "yes")
    environment = worker_process.environment(RunConfig(probe_threads=3))
    assert not {"WORLD_SIZE", "RANK", "MASTER_ADDR", "PJRT_DEVICE"} & environment.keys()
    assert (environment["KEPT"], environment["OMP_NUM_THREADS"]) == ("yes", "3")
    root = str(Path(octshard.__file__).parents[1])
    assert root in environment["PYTHONPATH"].split(os.pathsep)


def test_its_priority_counts_against_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a session of its own it would get half of the CPU (sched(7), autogroup)."""
    monkeypatch.setattr(worker_process, "MODULE", "this")  # any module: it does not matter what it does
    process = worker_process.WorkerProcess(ProbeJob(TrainConfig(), cast(ProbeTask, None), None))
    pid = process._process.pid
    assert os.getsid(pid) == os.getsid(0)
    assert os.getpgid(pid) == pid
    assert os.getpriority(os.PRIO_PROCESS, pid) == worker_process.NICE == 19
    process.end()
