"""The host as the device: one process, torch's threads."""

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from octshard.config.train import RunConfig
from octshard.devices.backend import DTYPES, Backend, Sent, Tree, autocast_for, map_tensors
from octshard.devices.buffers import Buffers


@dataclass(frozen=True)
class Cpu:
    """One process, torch's threads."""

    dtype: torch.dtype | None  # of autocast; None = fp32
    device: torch.device = torch.device("cpu")
    process: int = 0
    processes: int = 1
    devices: int = 1
    buffers: Buffers = field(default_factory=Buffers)

    def empty(self, shape: Sequence[int]) -> Tensor:
        return self.buffers.take(shape)

    def stage(self, values: Tree) -> Tree:
        return values

    def send(self, values: Tree) -> Sent[Tree]:
        return Sent(values)

    def receive(self, sent: Sent[Tree]) -> Tree:
        return sent.values

    def replicate(self, tensor: Tensor) -> Tensor:
        return tensor

    def fetch(self, values: Tree) -> Tree:
        return map_tensors(values, lambda t: t.detach().clone())  # type: ignore[no-any-return]

    def autocast(self) -> AbstractContextManager[Any]:
        return autocast_for("cpu", self.dtype)

    def wrap(self, model: nn.Module) -> nn.Module:
        return model

    def accumulating(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def sync(self) -> None:
        pass

    def total(self, tensor: Tensor) -> Tensor:
        return tensor

    def counters(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        pass


def open_cpu(run: RunConfig) -> Backend:
    return Cpu(DTYPES[run.precision])
