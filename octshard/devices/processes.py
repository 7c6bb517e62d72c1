"""The processes of one run, as torchrun starts them: who this one is, and what they do together."""

import contextlib
import datetime
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from octshard.errors import OctshardError, UsageError


@dataclass(frozen=True)
class Processes:
    """This process among `count`. store: what all of them reach, None for a single one."""

    index: int = 0
    count: int = 1
    store: Any = None  # torch.distributed.Store


def expected_count() -> int:
    """How many torchrun started."""
    return _number("WORLD_SIZE", 1)


def join(communication: str, timeout_s: float) -> Processes:
    """Joins the others that torchrun started, over nccl or gloo; alone if it started none.

    OctshardError if they are not there within `timeout_s`.
    """
    count, index = expected_count(), _number("RANK", 0)
    if count <= 1:
        return Processes()
    if not (os.environ.get("MASTER_ADDR") and os.environ.get("MASTER_PORT")):
        raise UsageError(
            f"WORLD_SIZE={count}: MASTER_ADDR or MASTER_PORT is not set; start with torchrun, or unset it"
        )
    try:
        store, _, _ = next(dist.rendezvous("env://", timeout=datetime.timedelta(seconds=timeout_s)))
        if not dist.is_initialized():
            dist.init_process_group(communication, store=store, rank=index, world_size=count)
    except (dist.DistError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise OctshardError(
            f"process {index} of {count}: the others cannot be reached within run.start_timeout_s="
            f"{timeout_s:g} ({line}); look at what those said last that did not come"
        ) from error
    return Processes(index, count, store)


def local_index() -> int:
    """This process's number on its machine."""
    return _number("LOCAL_RANK", 0)


def leave(count: int) -> None:
    """Ends what `join` began."""
    if count > 1 and dist.is_initialized():
        dist.destroy_process_group()


def distribute(model: nn.Module, device: torch.device | None = None) -> nn.Module:
    """The model with gradients averaged over the processes. Its buffers are tables, equal in all of them."""
    return nn.parallel.DistributedDataParallel(
        model,
        device_ids=[device.index] if device else None,
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
    )


def all_reduce_sum(tensor: Tensor, count: int) -> Tensor:
    """The sum over `count` processes, in a new tensor if there are several."""
    if count > 1:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


def accumulate(wrapped: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
    """Around a micro-batch: gradients are exchanged in the last one only."""
    inner = getattr(wrapped, "_orig_mod", wrapped)  # of a compiled module
    if last or not isinstance(inner, nn.parallel.DistributedDataParallel):
        return contextlib.nullcontext()
    return inner.no_sync()


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "") or str(default)
    if not text.isdecimal():
        raise UsageError(f"{name}={text}: want a whole number, as torchrun sets it; unset it to run alone")
    return int(text)
