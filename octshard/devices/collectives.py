"""What all processes of a run must agree on, lest some wait for ever: when to stop, where to begin."""

import threading

import torch

from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend, put
from octshard.errors import UsageError


def any_process(backend: Backend, told_to_stop: threading.Event, *, waits: bool) -> bool:
    """True if this process was told to stop; of several, when `waits`, if any was: all leave together."""
    if backend.process_count == 1:
        return told_to_stop.is_set()
    return waits and _all_reduce_sum(backend, float(told_to_stop.is_set())) > 0  # waits


def check_same_step(cfg: TrainConfig, backend: Backend, step: int) -> None:
    """UsageError if processes go on from different steps: each would train on the wrong samples."""
    if backend.process_count > 1 and _all_reduce_sum(backend, float(step)) != float(
        step * backend.device_count
    ):
        raise UsageError(
            f"run.out={cfg.run.out}: {backend.process_count} processes found different checkpoints there, "
            "want one folder that all hosts see"
        )


def all_reduce_sum(backend: Backend, value: float) -> float:
    """The sum over processes of what each says; all must ask at the same time. Waits for the device."""
    if backend.process_count == 1:
        return value
    return _all_reduce_sum(backend, value) * backend.process_count / backend.device_count


def _all_reduce_sum(backend: Backend, value: float) -> float:
    """The sum over all devices of what each one's process says. Waits for the device."""
    mine = torch.full((backend.device_count // backend.process_count,), value)
    return float(backend.to_host(backend.all_reduce_sum(put(backend, mine).sum())))
