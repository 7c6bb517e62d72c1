"""TPU through torch_xla 2.9: one process per host, SPMD over its accelerators. The only torch_xla import."""

import contextlib
import datetime
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from octshard.config.run import RunConfig
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
from octshard.devices.recorded import Recorded, RecordedModel
from octshard.errors import OctshardError, UsageError
from octshard.extras import install_advice


@dataclass(frozen=True)
class Xla:
    """A Backend; one process per host drives all its accelerators, GSPMD splits the batch over them.

    A persistent compile cache is kept where the variable XLA_PERSISTENT_CACHE_PATH points.
    """

    dtype: torch.dtype | None
    device: torch.device
    process_index: int
    process_count: int
    device_count: int
    mesh: Any  # one axis, "batch", over all devices; None with a single device
    store: Any = None  # torch.distributed.Store of all hosts
    buffers: BufferPool = field(default_factory=BufferPool)

    @property
    def sequences(self) -> Sequences:
        return "none"

    def free_memory(self) -> int | None:
        return None  # nobody says it before the first compile

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return self.buffers.empty(shape, dtype)

    def pin(self, values: Tree) -> Tree:
        return values

    def to_device(self, values: Tree) -> Transfer[Tree]:
        return Transfer(map_tensors(values, self._put))

    def ready(self, transfer: Transfer[Tree]) -> Tree:
        return transfer.values

    def _put(self, tensor: Tensor) -> Tensor:
        import torch_xla.core.xla_model as xm
        import torch_xla.distributed.spmd as xs

        spec = None
        if self.mesh is not None:
            axes = ("batch", *(None for _ in tensor.shape[1:]))
            spec = xs.ShardingSpec(self.mesh, axes, minibatch=self.process_count > 1)
        on_device: Any = xm.send_cpu_data_to_device([tensor], self.device, input_sharding=spec)
        return cast(Tensor, on_device[0])

    def replicate(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device)

    def to_host(self, values: Tree) -> Tree:
        import torch_xla

        tensors: list[Tensor] = []

        def collect(tensor: Tensor) -> Tensor:
            tensors.append(tensor.detach())
            return tensor

        map_tensors(values, collect)
        remote = [t for t in tensors if t.device.type == "xla"]
        hosts = iter(torch_xla._XLAC._xla_get_cpu_tensors(remote))
        copies = iter([next(hosts) if t.device.type == "xla" else t.clone() for t in tensors])
        return map_tensors(values, lambda t: next(copies))  # type: ignore[no-any-return]

    def autocast(self) -> AbstractContextManager[Any]:
        return autocast_for("xla", self.dtype)

    def compile(self, function: Function) -> Function:
        return cast(Function, Recorded(function))  # XLA compiles the graph that has it, at mark_step

    def wrap(self, model: nn.Module) -> nn.Module:
        return RecordedModel(model)

    def accumulate(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def mark_step(self) -> None:
        import torch_xla

        torch_xla.sync()

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        return tensor  # SPMD: every value is already the global one

    def counters(self) -> dict[str, int]:
        import torch_xla.debug.metrics as met

        names = [name for name in met.counter_names() if name.startswith("aten::")]
        compiles = met.counter_value("UncachedCompile") or 0
        return {"compiles": int(compiles), **{name: int(met.counter_value(name) or 0) for name in names}}

    def alone(self) -> Backend:
        return self  # SPMD: one program of all processes

    def release_memory(self) -> None:
        pass

    def close(self) -> None:
        pass


def open_xla(run: RunConfig) -> Backend:
    """All accelerators of this host; UsageError without torch_xla, OctshardError without a device."""
    try:
        import torch_xla
        import torch_xla.backends as xla_backends
        import torch_xla.distributed.spmd as xs
        import torch_xla.runtime as xr
    except ImportError as error:
        raise UsageError(
            f"run.device=xla: torch_xla is not here ({error}); {install_advice('xla')}"
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
    device, count = torch_xla.device(), xr.process_count()
    store = _store(run.start_timeout_s) if count > 1 else None
    return Xla(DTYPES[run.precision], device, xr.process_index(), count, devices, mesh, store)


def _store(timeout_s: float) -> Any:
    """A key-value store of all hosts, kept by the first; torch_xla finds its address."""
    import torch.distributed as dist
    import torch_xla.distributed.xla_backend  # noqa: F401 (registers xla://)

    try:
        return next(dist.rendezvous("xla://", timeout=datetime.timedelta(seconds=timeout_s)))[0]
    except dist.DistError as error:
        line = str(error).splitlines()[0]
        raise OctshardError(f"run.device=xla: the first host cannot be reached ({line})") from error
