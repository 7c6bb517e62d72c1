"""What the loop asks of a device (Backend), and how values with tensors inside move to it and back.

What differs between backends stands in this folder and nowhere else. A new backend (torch_tpu, the successor
of torch_xla) is one more class with these methods and a line in `select`.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

Tree = TypeVar("Tree")
Function = TypeVar("Function", bound=Callable[..., Any])
Sequences = Literal["any length", "few lengths", "none"]


class Backend(Protocol):
    """The device of one process. device_count: accelerators of all processes together."""

    @property
    def device(self) -> torch.device: ...
    @property
    def process_index(self) -> int: ...
    @property
    def process_count(self) -> int: ...
    @property
    def device_count(self) -> int: ...
    @property
    def store(self) -> Any:
        """torch.distributed.Store that all processes reach; None for a single one."""
        ...

    @property
    def sequences(self) -> Sequences:
        """How volumes may be packed into one sequence, in what `compile` and `wrap` return. Few: each length
        is compiled for itself. None: attention between volumes would be computed, and masked.
        """
        ...

    def free_memory(self) -> int | None:
        """Bytes of one device that a run may take; None: not known."""
        ...

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor on the host for a batch, not initialised, ready for a fast `to_device`."""
        ...

    def pin(self, values: Tree) -> Tree:
        """Host tensors made ready for a fast `to_device` (pinned); called in the stream's threads."""
        ...

    def to_device(self, values: Tree) -> "Transfer[Tree]":
        """This process's part of a batch (B first in every tensor) on its way to the device, B spread over
        its accelerators; called in a thread that does nothing else.
        """
        ...

    def ready(self, transfer: "Transfer[Tree]") -> Tree:
        """The values on the device, for use in the calling thread. The host does not wait."""
        ...

    def replicate(self, tensor: Tensor) -> Tensor:
        """A host tensor on the device, the same on every accelerator."""
        ...

    def to_host(self, values: Tree) -> Tree:
        """Copies on the host, in one transfer. Waits for the device."""
        ...

    def autocast(self) -> AbstractContextManager[Any]: ...

    def compile(self, function: Function) -> Function:
        """A function of tensors on the device, or a module, compiled where run.compile asks for it."""
        ...

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model, compiled as by `compile`; its forward and backward act on the global batch, its
        parameters stay those of `model`.
        """
        ...

    def accumulate(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Around a micro-batch: gradients are exchanged between processes in the last one only."""
        ...

    def mark_step(self) -> None:
        """Ends a micro-step: XLA cuts its graph here and starts it. Does not wait."""
        ...

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """The sum over processes, on the device."""
        ...

    def counters(self) -> dict[str, int]:
        """`compiles` so far, and operators that fell back to the host with their counts."""
        ...

    def alone(self) -> "Backend":
        """The device of this process without the others, where each process has its own program."""
        ...

    def release_memory(self) -> None:
        """Gives back what the device keeps for later tensors."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Transfer(Generic[Tree]):
    """Values on the device, or on their way to it. event: what the device waits for before it reads them."""

    values: Tree
    event: Any = None


def put(backend: Backend, values: Tree) -> Tree:
    """`values` on the device, for use in this thread."""
    return backend.ready(backend.to_device(values))


def map_tensors(values: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """`values` with `function` applied to every tensor in its dataclasses, tuples, lists and dicts."""
    if isinstance(values, Tensor):
        return function(values)
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        fields = {
            f.name: map_tensors(getattr(values, f.name), function)
            for f in dataclasses.fields(values)
            if f.init
        }
        return dataclasses.replace(values, **fields)
    if isinstance(values, tuple) and hasattr(values, "_fields"):
        return type(values)(*(map_tensors(value, function) for value in values))
    if isinstance(values, tuple | list):
        return type(values)(map_tensors(value, function) for value in values)
    if isinstance(values, dict):
        return {name: map_tensors(value, function) for name, value in values.items()}
    return values


def autocast_for(device_type: str, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    """torch.autocast to `dtype`; None: no autocast."""
    return torch.autocast(device_type, dtype) if dtype else contextlib.nullcontext()


DTYPES: dict[str, torch.dtype | None] = {"bf16": torch.bfloat16, "fp32": None}
