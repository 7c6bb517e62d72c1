"""One process per GPU; DistributedDataParallel when torchrun started several."""

import contextlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from octshard.config.train import RunConfig
from octshard.devices.backend import DTYPES, Backend, Transfer, Tree, autocast_for, map_tensors
from octshard.errors import UsageError


@dataclass(frozen=True)
class Cuda:
    """A Backend; host tensors are pinned, and copied in a stream of their own."""

    dtype: torch.dtype | None
    compile: bool
    device: torch.device
    process_index: int
    process_count: int
    copy_stream: torch.cuda.Stream  # copies run beside the computation

    @property
    def device_count(self) -> int:
        return self.process_count

    def empty(self, shape: Sequence[int]) -> Tensor:
        with torch.cuda.device(self.device):  # a new thread would open a context on the first GPU
            return torch.empty(*shape, dtype=torch.uint8, pin_memory=True)

    def pin(self, values: Tree) -> Tree:
        with torch.cuda.device(self.device):
            return map_tensors(values, _pinned)  # type: ignore[no-any-return]

    def to_device(self, values: Tree) -> Transfer[Tree]:
        with torch.cuda.device(self.device), torch.cuda.stream(self.copy_stream):
            on_device = map_tensors(values, lambda t: t.to(self.device, non_blocking=True))
            return Transfer(on_device, self.copy_stream.record_event())

    def ready(self, transfer: Transfer[Tree]) -> Tree:
        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(transfer.event)

        def record(tensor: Tensor) -> Tensor:
            tensor.record_stream(stream)  # else its memory is given to the next copy while it is read
            return tensor

        return map_tensors(transfer.values, record)  # type: ignore[no-any-return]

    def replicate(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def to_host(self, values: Tree) -> Tree:
        return map_tensors(values, lambda t: t.detach().to("cpu", copy=True))  # type: ignore[no-any-return]

    def autocast(self) -> AbstractContextManager[Any]:
        return autocast_for("cuda", self.dtype)

    def wrap(self, model: nn.Module) -> nn.Module:
        wrapped = model
        if self.process_count > 1:
            wrapped = nn.SyncBatchNorm.convert_sync_batchnorm(model)
            wrapped = nn.parallel.DistributedDataParallel(wrapped, device_ids=[self.device.index])
        return torch.compile(wrapped) if self.compile else wrapped  # type: ignore[return-value]

    def accumulate(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        inner = getattr(wrapped, "_orig_mod", wrapped)
        if last or not isinstance(inner, nn.parallel.DistributedDataParallel):
            return contextlib.nullcontext()
        return inner.no_sync()

    def mark_step(self) -> None:
        pass

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        if self.process_count > 1:
            tensor = tensor.clone()
            torch.distributed.all_reduce(tensor)
        return tensor

    def counters(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        if self.process_count > 1:
            torch.distributed.destroy_process_group()


def _pinned(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_pinned() else tensor.pin_memory()


def open_cuda(run: RunConfig) -> Backend:
    """The GPU of this process (LOCAL_RANK under torchrun); UsageError if torch sees none."""
    if not torch.cuda.is_available():
        raise UsageError("run.device=cuda: torch sees no GPU here, want one; or run.device=cpu")
    process_count, process_index = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    if process_count > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl")
    copy_stream = torch.cuda.Stream(device)
    return Cuda(DTYPES[run.precision], run.compile, device, process_index, process_count, copy_stream)
