"""Which backend a run gets."""

import os
from collections.abc import Callable

import torch

from octshard.config.train import RunConfig
from octshard.devices.backend import DTYPES, Backend
from octshard.devices.cpu import open_cpu
from octshard.devices.cuda import open_cuda
from octshard.devices.xla import open_xla
from octshard.errors import UsageError

_KINDS: dict[str, Callable[[RunConfig], Backend]] = {"cpu": open_cpu, "cuda": open_cuda, "xla": open_xla}


def open_backend(run: RunConfig) -> Backend:
    """The backend that run.device names (auto: cuda, else xla on a TPU machine, else cpu), with its threads
    set.
    """
    name = run.device if run.device != "auto" else _automatic()
    if name not in _KINDS:
        raise UsageError(f"run.device={name}: unknown, want auto, {', '.join(_KINDS)}")
    if run.precision not in DTYPES:
        raise UsageError(f"run.precision={run.precision}: unknown, want {' or '.join(DTYPES)}")
    if run.cpu_threads and name == "cpu":
        torch.set_num_threads(run.cpu_threads)
    return _KINDS[name](run)


def _automatic() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "xla" if os.environ.get("PJRT_DEVICE", "").upper() == "TPU" else "cpu"
