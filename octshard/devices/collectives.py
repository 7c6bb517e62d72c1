"""Sums over all processes of a run. How they begin: `start_agreement`; when they stop: `stop_agreement`."""

import torch

from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend, put
from octshard.errors import UsageError


def check_same_weights(cfg: TrainConfig, backend: Backend, sha256: str) -> None:
    """UsageError if processes begin with different weights, such as of a run that writes on meanwhile."""
    if not _same(backend, int(sha256[:4], 16)):  # few enough bits for the sum to be exact
        raise UsageError(
            f"run.init_from={cfg.run.init_from}: {backend.process_count} processes read different weights "
            "there, want a file that nothing replaces: name one checkpoint"
        )


def all_reduce_sum(backend: Backend, value: float) -> float:
    """The sum of `value` over processes; all must call it at the same time. Waits for the device."""
    if backend.process_count == 1:
        return value
    return _all_reduce_sum(backend, value) * backend.process_count / backend.device_count


def _same(backend: Backend, value: int) -> bool:
    """Is `value` that of all processes? Waits for the device."""
    return backend.process_count == 1 or _all_reduce_sum(backend, value) == value * backend.device_count


def _all_reduce_sum(backend: Backend, value: float) -> float:
    """The sum over all devices of the `value` of each one's process. Waits for the device."""
    value_per_device = torch.full((backend.device_count // backend.process_count,), float(value))
    return float(backend.to_host(backend.all_reduce_sum(put(backend, value_per_device).sum())))
