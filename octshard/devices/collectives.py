"""What all processes of a run must agree on, lest some wait for ever: when to stop, where to begin."""

import threading

import torch

from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend, put
from octshard.errors import UsageError


def told(backend: Backend, told_to_stop: threading.Event, *, waits: bool) -> bool:
    """True if this process was told to stop; of several, when `waits`, if any was: all leave together."""
    if backend.processes == 1:
        return told_to_stop.is_set()
    return waits and _summed(backend, float(told_to_stop.is_set())) > 0  # waits


def want_same_step(cfg: TrainConfig, backend: Backend, step: int) -> None:
    """UsageError if processes go on from different steps: each would train on the wrong samples."""
    if backend.processes > 1 and _summed(backend, float(step)) != float(step * backend.devices):
        raise UsageError(
            f"run.out={cfg.run.out}: {backend.processes} processes found different checkpoints there, "
            "want one folder that all hosts see"
        )


def summed(backend: Backend, value: float) -> float:
    """The sum over processes of what each says; all must ask at the same time. Waits for the device."""
    if backend.processes == 1:
        return value
    return _summed(backend, value) * backend.processes / backend.devices


def _summed(backend: Backend, value: float) -> float:
    """The sum over all devices of what each one's process says. Waits for the device."""
    mine = torch.full((backend.devices // backend.processes,), value)
    return float(backend.fetch(backend.total(put(backend, mine).sum())))
