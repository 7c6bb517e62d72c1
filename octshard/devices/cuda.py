"""One process per GPU; DistributedDataParallel when torchrun started several."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from octshard.config.run import RunConfig
from octshard.devices import processes
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
from octshard.devices.processes import Processes
from octshard.errors import UsageError

CUDNN_LEADS = (9, 0)  # compute capability
MAX_SHAPES = 512  # each stage of a mask ratio (100 at most) has one, or as many as sequences have lengths (4)


@dataclass(frozen=True)
class Cuda:
    """A Backend; host tensors are pinned, and copied in a stream of their own."""

    dtype: torch.dtype | None
    compiles: bool
    attention: list[SDPBackend]  # kernels in the order in which they are tried
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

    @property
    def sequences(self) -> Sequences:
        return "few lengths" if self.compiles else "any length"

    def free_memory(self) -> int | None:
        return torch.cuda.mem_get_info(self.device)[1]  # all of it: what others hold may go

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        with torch.cuda.device(self.device):  # a new thread would open a context on the first GPU
            return torch.empty(*shape, dtype=dtype, pin_memory=True)

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

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        with sdpa_kernel(self.attention, set_priority=True), autocast_for("cuda", self.dtype):
            yield

    def compile(self, function: Function) -> Function:
        """Not as CUDA graphs: these want inputs at fixed addresses, and every batch comes at another one; and
        at the size of ViT-B a kernel takes longer than its launch.
        """
        if not self.compiles:
            return function
        allow_recompiles()
        return torch.compile(function, dynamic=False)  # type: ignore[return-value]

    def wrap(self, model: nn.Module) -> nn.Module:
        if self.process_count > 1:
            model = processes.distribute(_with_shared_statistics(model), self.device)
        return self.compile(model)

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
        torch.cuda.empty_cache()

    def close(self) -> None:
        processes.leave(self.process_count)


def attention_order(capability: tuple[int, int], *, deterministic: bool) -> list[SDPBackend]:
    """Which kernel computes attention: of these the first that can, so that masks pass flash by.

    cuDNN leads from compute capability 9.0 on: on one H200 it was faster than flash at every width of a head
    (1.6 times at 64, 1.9 at 128). On older GPUs torch's own order. Its gradients do not repeat bit for bit;
    those of the others do where torch is told to be deterministic.
    """
    order = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    if deterministic:
        return order
    cudnn = [SDPBackend.CUDNN_ATTENTION]
    return [*cudnn, *order] if capability >= CUDNN_LEADS else [*order, *cudnn]


def allow_recompiles() -> None:
    """So that every shape is compiled: after the eighth of a function torch goes on without compiling it."""
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = MAX_SHAPES


def be_deterministic() -> None:
    """From now on torch takes kernels whose results repeat bit for bit, or raises; in this whole process."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first product
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # only finds faults
    torch.backends.cudnn.benchmark = False  # the fastest kernel of a trial may be another each time


def _with_shared_statistics(model: nn.Module) -> nn.Module:
    """Every BatchNorm over the batch of all processes; not compiled, because it communicates."""
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.forward = torch.compiler.disable(module.forward)  # type: ignore[method-assign]
    return model


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
    if run.deterministic:
        be_deterministic()
    attention = attention_order(torch.cuda.get_device_capability(device), deterministic=run.deterministic)
    joined, copy_stream = processes.join("nccl", run.start_timeout_s), torch.cuda.Stream(device)
    return Cuda(DTYPES[run.precision], run.compile, attention, device, joined, copy_stream)
