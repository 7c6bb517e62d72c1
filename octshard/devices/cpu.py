"""The host as the device, with torch's threads; DistributedDataParallel when torchrun started several."""

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from octshard.config.run import RunConfig
from octshard.devices import host_memory, processes
from octshard.devices.backend import (
    DTYPES,
    Backend,
    Function,
    Sequences,
    Transfer,
    Tree,
    autocast_for,
    map_tensors,
)
from octshard.devices.buffers import BufferPool
from octshard.devices.processes import Processes


@dataclass(frozen=True)
class Cpu:
    """A Backend; nothing is copied to reach the device."""

    dtype: torch.dtype | None  # of autocast; None = fp32
    processes: Processes = Processes()
    device: torch.device = torch.device("cpu")
    buffers: BufferPool = field(default_factory=BufferPool)

    @property
    def process_index(self) -> int:
        return self.processes.index

    @property
    def process_count(self) -> int:
        return self.processes.count

    @property
    def device_count(self) -> int:
        return self.processes.count

    @property
    def store(self) -> Any:
        return self.processes.store

    @property
    def sequences(self) -> Sequences:
        return "any length"

    def free_memory(self) -> int | None:
        return host_memory.free_memory()

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return self.buffers.empty(shape, dtype)

    def pin(self, values: Tree) -> Tree:
        return values

    def to_device(self, values: Tree) -> Transfer[Tree]:
        return Transfer(values)

    def ready(self, transfer: Transfer[Tree]) -> Tree:
        return transfer.values

    def replicate(self, tensor: Tensor) -> Tensor:
        return tensor

    def to_host(self, values: Tree) -> Tree:
        return map_tensors(values, lambda t: t.detach().clone())  # type: ignore[no-any-return]

    def autocast(self) -> AbstractContextManager[Any]:
        return autocast_for("cpu", self.dtype)

    def compile(self, function: Function) -> Function:
        return function

    def wrap(self, model: nn.Module) -> nn.Module:
        return processes.distribute(model) if self.process_count > 1 else model

    def accumulate(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        return processes.accumulate(wrapped, last=last)

    def mark_step(self) -> None:
        pass

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        return processes.all_reduce_sum(tensor, self.process_count)

    def counters(self) -> dict[str, int]:
        return {}

    def alone(self) -> Backend:
        return dataclasses.replace(self, processes=Processes())

    def release_memory(self) -> None:
        pass

    def close(self) -> None:
        processes.leave(self.process_count)


def open_cpu(run: RunConfig) -> Backend:
    """The CPU at run.precision."""
    return Cpu(DTYPES[run.precision], processes.join("gloo", run.start_timeout_s))
