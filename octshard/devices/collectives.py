"""What all processes of a run must agree on: where to begin. When to stop: `stop_agreement`."""

import torch

from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend, put
from octshard.errors import UsageError


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
    """The sum of `value` over processes; all must call it at the same time. Waits for the device."""
    if backend.process_count == 1:
        return value
    return _all_reduce_sum(backend, value) * backend.process_count / backend.device_count


def _all_reduce_sum(backend: Backend, value: float) -> float:
    """The sum over all devices of the `value` of each one's process. Waits for the device."""
    value_per_device = torch.full((backend.device_count // backend.process_count,), value)
    return float(backend.to_host(backend.all_reduce_sum(put(backend, value_per_device).sum())))
