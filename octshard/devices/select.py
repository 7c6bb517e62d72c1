"""Which backend a run gets."""

import os
from collections.abc import Callable

import torch

from octshard.config import fields
from octshard.config.run import RunConfig
from octshard.devices.backend import Backend
from octshard.devices.cpu import open_cpu
from octshard.devices.cuda import open_cuda
from octshard.devices.xla import open_xla

_KINDS: dict[str, Callable[[RunConfig], Backend]] = {"cpu": open_cpu, "cuda": open_cuda, "xla": open_xla}


def open_backend(run: RunConfig) -> Backend:
    """The backend that run.device names (auto: cuda, else xla on a TPU machine, else cpu), with its threads
    set.
    """
    fields.check(run, "run.")
    name = run.device if run.device != "auto" else automatic()
    if run.cpu_threads and name == "cpu":
        torch.set_num_threads(run.cpu_threads)
    return _KINDS[name](run)


def automatic() -> str:
    """What run.device=auto takes."""
    if torch.cuda.is_available():
        return "cuda"
    return "xla" if os.environ.get("PJRT_DEVICE", "").upper() == "TPU" else "cpu"
