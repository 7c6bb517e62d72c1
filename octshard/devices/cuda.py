"""One process per GPU; DistributedDataParallel when torchrun started several."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from octshard.config.train import RunConfig
from octshard.devices import processes
from octshard.devices.backend import DTYPES, Backend, Transfer, Tree, autocast_for, map_tensors
from octshard.devices.processes import Processes
from octshard.errors import UsageError


@dataclass(frozen=True)
class Cuda:
    """A Backend; host tensors are pinned, and copied in a stream of their own."""

    dtype: torch.dtype | None
    compile: bool
    device: torch.device
    processes: Processes
    copy_stream: torch.cuda.Stream  # copies run beside the computation

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

    def free_memory(self) -> int | None:
        return torch.cuda.mem_get_info(self.device)[1]  # all of it: what others hold may go

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
        return processes.accumulate(wrapped, last=last)

    def mark_step(self) -> None:
        pass

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        return processes.all_reduce_sum(tensor, self.process_count)

    def counters(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        processes.leave(self.process_count)


def _pinned(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_pinned() else tensor.pin_memory()


def open_cuda(run: RunConfig) -> Backend:
    """The GPU of this process (LOCAL_RANK under torchrun); UsageError if torch sees none."""
    if not torch.cuda.is_available():
        raise UsageError("run.device=cuda: torch sees no GPU here, want one; or run.device=cpu")
    local_index, gpus = processes.local_index(), torch.cuda.device_count()
    if local_index >= gpus:
        raise UsageError(
            f"LOCAL_RANK={local_index}: this machine has {gpus} GPUs, want torchrun --nproc-per-node={gpus}"
        )
    device = torch.device("cuda", local_index)
    torch.cuda.set_device(device)
    joined, copy_stream = processes.join("nccl"), torch.cuda.Stream(device)
    return Cuda(DTYPES[run.precision], run.compile, device, joined, copy_stream)
