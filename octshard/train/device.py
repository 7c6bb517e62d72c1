"""Where the arithmetic happens: cpu, cuda (one process per GPU, torchrun) or xla (one process per host,
SPMD).

The only torch_xla import. What differs between backends stands here and nowhere else; the loop is the same.
A fourth backend (torch_tpu, the successor of torch_xla) is one more class with these methods and a line in
`_KINDS`.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from octshard.config.train import RunConfig
from octshard.errors import OctshardError, UsageError
from octshard.train.buffers import Buffers

Tree = TypeVar("Tree")


class Backend(Protocol):
    """What the loop asks of a device. `devices`: accelerators of all processes together."""

    @property
    def device(self) -> torch.device: ...
    @property
    def process(self) -> int: ...
    @property
    def processes(self) -> int: ...
    @property
    def devices(self) -> int: ...

    def empty(self, shape: Sequence[int]) -> Tensor:
        """A uint8 tensor on the host for a batch, of whatever is in it, fit for a fast `send`."""
        ...

    def stage(self, values: Tree) -> Tree:
        """Host tensors made ready for a fast `send` (pinned); called in the stream's threads."""
        ...

    def send(self, values: Tree) -> "Sent[Tree]":
        """This process's part of a batch (B first in every tensor) on its way to the device, B spread over
        its accelerators; called in a thread that does nothing else.
        """
        ...

    def receive(self, sent: "Sent[Tree]") -> Tree:
        """What was sent, for use in the calling thread. Does not wait."""
        ...

    def replicate(self, tensor: Tensor) -> Tensor:
        """A host tensor on the device, the same on every accelerator."""
        ...

    def fetch(self, values: Tree) -> Tree:
        """Copies on the host, in one transfer. Waits for the device."""
        ...

    def autocast(self) -> AbstractContextManager[Any]: ...

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose forward and backward act on the global batch; parameters stay those of `model`."""
        ...

    def accumulating(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Around a micro-batch: gradients are exchanged between processes in the last one only."""
        ...

    def sync(self) -> None:
        """Ends a micro-step: XLA cuts its graph here and starts it. Does not wait."""
        ...

    def total(self, tensor: Tensor) -> Tensor:
        """Sum over processes."""
        ...

    def counters(self) -> dict[str, int]:
        """`compiles` so far, and operators that fell back to the host with their counts."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Sent(Generic[Tree]):
    """A batch on the device, and what to wait for before it is read."""

    values: Tree
    event: Any = None


def open_backend(run: RunConfig) -> Backend:
    """The backend that run.device names (auto: cuda, else xla on a TPU machine, else cpu), with its threads
    set.
    """
    name = run.device if run.device != "auto" else _automatic()
    if name not in _KINDS:
        raise UsageError(f"run.device={name}: unknown, want auto, {', '.join(_KINDS)}")
    if run.precision not in _DTYPES:
        raise UsageError(f"run.precision={run.precision}: unknown, want {' or '.join(_DTYPES)}")
    if run.cpu_threads and name == "cpu":
        torch.set_num_threads(run.cpu_threads)
    return _KINDS[name](run)


def put(backend: Backend, values: Tree) -> Tree:
    """`values` on the device, for use in this thread."""
    return backend.receive(backend.send(values))


def map_tensors(values: Any, act: Callable[[Tensor], Tensor]) -> Any:
    """`values` with `act` done to every tensor in its dataclasses, tuples, lists and dicts."""
    if isinstance(values, Tensor):
        return act(values)
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        changed = {
            f.name: map_tensors(getattr(values, f.name), act) for f in dataclasses.fields(values) if f.init
        }
        return dataclasses.replace(values, **changed)
    if isinstance(values, tuple) and hasattr(values, "_fields"):
        return type(values)(*(map_tensors(value, act) for value in values))
    if isinstance(values, tuple | list):
        return type(values)(map_tensors(value, act) for value in values)
    if isinstance(values, dict):
        return {name: map_tensors(value, act) for name, value in values.items()}
    return values


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
        return _autocast("cpu", self.dtype)

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


@dataclass(frozen=True)
class Cuda:
    """One process per GPU; DistributedDataParallel when torchrun started several."""

    dtype: torch.dtype | None
    compile: bool
    device: torch.device
    process: int
    processes: int
    copying: torch.cuda.Stream  # copies run beside the computation

    @property
    def devices(self) -> int:
        return self.processes

    def empty(self, shape: Sequence[int]) -> Tensor:
        with torch.cuda.device(self.device):  # a new thread would open a context on the first GPU
            return torch.empty(*shape, dtype=torch.uint8, pin_memory=True)

    def stage(self, values: Tree) -> Tree:
        with torch.cuda.device(self.device):
            return map_tensors(values, _pinned)  # type: ignore[no-any-return]

    def send(self, values: Tree) -> Sent[Tree]:
        with torch.cuda.device(self.device), torch.cuda.stream(self.copying):
            there = map_tensors(values, lambda t: t.to(self.device, non_blocking=True))
            return Sent(there, self.copying.record_event())

    def receive(self, sent: Sent[Tree]) -> Tree:
        now = torch.cuda.current_stream(self.device)
        now.wait_event(sent.event)

        def keep(tensor: Tensor) -> Tensor:
            tensor.record_stream(now)  # else its memory is given to the next copy while it is read
            return tensor

        return map_tensors(sent.values, keep)  # type: ignore[no-any-return]

    def replicate(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def fetch(self, values: Tree) -> Tree:
        return map_tensors(values, lambda t: t.detach().to("cpu", copy=True))  # type: ignore[no-any-return]

    def autocast(self) -> AbstractContextManager[Any]:
        return _autocast("cuda", self.dtype)

    def wrap(self, model: nn.Module) -> nn.Module:
        wrapped = model
        if self.processes > 1:
            wrapped = nn.SyncBatchNorm.convert_sync_batchnorm(model)
            wrapped = nn.parallel.DistributedDataParallel(wrapped, device_ids=[self.device.index])
        return torch.compile(wrapped) if self.compile else wrapped  # type: ignore[return-value]

    def accumulating(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        inner = getattr(wrapped, "_orig_mod", wrapped)
        if last or not isinstance(inner, nn.parallel.DistributedDataParallel):
            return contextlib.nullcontext()
        return inner.no_sync()

    def sync(self) -> None:
        pass

    def total(self, tensor: Tensor) -> Tensor:
        if self.processes > 1:
            tensor = tensor.clone()
            torch.distributed.all_reduce(tensor)
        return tensor

    def counters(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        if self.processes > 1:
            torch.distributed.destroy_process_group()


@dataclass(frozen=True)
class Xla:
    """torch_xla 2.9: one process per host drives all its accelerators; GSPMD splits the batch, replicates
    the rest.

    A persistent compile cache is kept where the variable XLA_PERSISTENT_CACHE_PATH points.
    """

    dtype: torch.dtype | None
    device: torch.device
    process: int
    processes: int
    devices: int
    mesh: Any  # one axis, "batch", over all devices; None with a single device
    buffers: Buffers = field(default_factory=Buffers)

    def empty(self, shape: Sequence[int]) -> Tensor:
        return self.buffers.take(shape)

    def stage(self, values: Tree) -> Tree:
        return values

    def send(self, values: Tree) -> Sent[Tree]:
        return Sent(map_tensors(values, self._put))

    def receive(self, sent: Sent[Tree]) -> Tree:
        return sent.values

    def _put(self, tensor: Tensor) -> Tensor:
        import torch_xla.core.xla_model as xm
        import torch_xla.distributed.spmd as xs

        spec = None
        if self.mesh is not None:
            axes = ("batch", *(None for _ in tensor.shape[1:]))
            spec = xs.ShardingSpec(self.mesh, axes, minibatch=self.processes > 1)
        sent: Any = xm.send_cpu_data_to_device([tensor], self.device, input_sharding=spec)
        return cast(Tensor, sent[0])

    def replicate(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device)

    def fetch(self, values: Tree) -> Tree:
        import torch_xla

        found: list[Tensor] = []

        def collect(tensor: Tensor) -> Tensor:
            found.append(tensor.detach())
            return tensor

        map_tensors(values, collect)
        remote = [t for t in found if t.device.type == "xla"]
        hosts = iter(torch_xla._XLAC._xla_get_cpu_tensors(remote))
        copies = iter([next(hosts) if t.device.type == "xla" else t.clone() for t in found])
        return map_tensors(values, lambda t: next(copies))  # type: ignore[no-any-return]

    def autocast(self) -> AbstractContextManager[Any]:
        return _autocast("xla", self.dtype)

    def wrap(self, model: nn.Module) -> nn.Module:
        return model

    def accumulating(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def sync(self) -> None:
        import torch_xla

        torch_xla.sync()

    def total(self, tensor: Tensor) -> Tensor:
        return tensor  # SPMD: every value is already the global one

    def counters(self) -> dict[str, int]:
        import torch_xla.debug.metrics as met

        names = [name for name in met.counter_names() if name.startswith("aten::")]
        compiles = met.counter_value("UncachedCompile") or 0
        return {"compiles": int(compiles), **{name: int(met.counter_value(name) or 0) for name in names}}

    def close(self) -> None:
        pass


def _automatic() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "xla" if os.environ.get("PJRT_DEVICE", "").upper() == "TPU" else "cpu"


def _pinned(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_pinned() else tensor.pin_memory()


def _autocast(device_type: str, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    return torch.autocast(device_type, dtype) if dtype else contextlib.nullcontext()


def _open_cpu(run: RunConfig) -> Backend:
    return Cpu(_DTYPES[run.precision])


def _open_cuda(run: RunConfig) -> Backend:
    if not torch.cuda.is_available():
        raise UsageError("run.device=cuda: torch sees no GPU here, want one; or run.device=cpu")
    processes, process = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    if processes > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl")
    copying = torch.cuda.Stream(device)
    return Cuda(_DTYPES[run.precision], run.compile, device, process, processes, copying)


def _open_xla(run: RunConfig) -> Backend:
    try:
        import torch_xla
        import torch_xla.backends as xla_backends
        import torch_xla.distributed.spmd as xs
        import torch_xla.runtime as xr
    except ImportError as error:
        raise UsageError(
            f'run.device=xla: torch_xla is not here ({error}); pip install "octshard[xla]"'
        ) from None
    try:
        devices, mesh = xr.global_runtime_device_count(), None
    except RuntimeError as error:
        line = str(error).splitlines()[0]
        raise OctshardError(f"run.device=xla: no device ({line}); PJRT_DEVICE=TPU or CPU?") from error
    if devices > 1:
        xr.use_spmd()
        mesh = xs.Mesh(list(range(devices)), (devices,), ("batch",))
    # float32 products (the views' geometry) would be bf16 on a TPU; those under autocast stay as they are
    xla_backends.set_mat_mul_precision("highest")
    device = torch_xla.device()
    return Xla(_DTYPES[run.precision], device, xr.process_index(), xr.process_count(), devices, mesh)


_DTYPES: dict[str, torch.dtype | None] = {"bf16": torch.bfloat16, "fp32": None}
_KINDS: dict[str, Callable[[RunConfig], Backend]] = {"cpu": _open_cpu, "cuda": _open_cuda, "xla": _open_xla}
