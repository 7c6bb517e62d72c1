"""Stacks of equal blocks as loops of XLA's: a graph and a compile of one block, whatever the depth."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from functorch.compile import default_partition, min_cut_rematerialization_partition
from torch import Tensor, nn
from torch._functorch import config as functorch_config
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from octshard.models.blocks import BlockStack, Readers, Rotary, Scales, recomputed

SCALES = "scales"  # beside the names of weights, which have a dot


@contextlib.contextmanager
def scanned(model: nn.Module) -> Iterator[None]:
    """Inside, the stacks of `model` run by `scan`."""
    stacks = [module for module in model.modules() if isinstance(module, BlockStack)]
    before = [stack.run for stack in stacks]
    try:
        for stack in stacks:
            stack.run = functools.partial(scan_blocks, recomputes=stack.run is recomputed)
        yield
    finally:
        for stack, run in zip(stacks, before, strict=True):
            stack.run = run


def scan_blocks(
    blocks: Sequence[nn.Module],
    z_BNF: Tensor,
    rotary: Rotary,
    attend: Readers,
    scales: Scales,
    *,
    recomputes: bool = False,
) -> Tensor:
    """A `Run`. What all blocks read alike goes round with the loop, unchanged. recomputes: as `recomputed`
    does.
    """
    from torch_xla.experimental import scan

    leaves, spec = tree_flatten((rotary, attend))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    alike = [leaves[place] for place in places]
    dtype = torch.get_autocast_dtype("xla") if torch.is_autocast_enabled("xla") else None

    def block(carry: tuple[Tensor, ...], own: dict[str, Tensor]) -> tuple[Any, None]:
        z_BNF, *numbers = carry
        weights = {name: own[name] for name in named[0]}
        inside = list(leaves)
        for place, tensor, number in zip(places, alike, numbers, strict=True):
            inside[place] = number.detach().to(tensor.dtype)
        with torch.autocast("xla", dtype, enabled=dtype is not None, cache_enabled=False):
            inputs = z_BNF, *tree_unflatten(inside, spec), own.get(SCALES)
            out = torch.func.functional_call(blocks[0], weights, inputs)
        return (out, *(number.clone() for number in numbers)), None

    # scan wants gradients of whatever goes round, so that it must be a floating-point number
    numbers = [tensor if tensor.is_floating_point() else tensor.float() for tensor in alike]
    named = [dict(each.named_parameters()) for each in blocks]
    stacked = {name: torch.stack([weights[name] for weights in named]) for name in named[0]}
    if scales is not None:
        stacked[SCALES] = scales
    first = (z_BNF, *numbers)
    with torch.autocast("xla", enabled=False):  # what the trace of a block holds is cast already
        if not torch.is_grad_enabled():
            (z_BNF, *_), _ = scan._scan_impl_pytree(block, first, stacked)
            return z_BNF
        with functorch_config.patch(activation_memory_budget=0.0):  # of what is kept besides the inputs
            partition = min_cut_rematerialization_partition if recomputes else default_partition
            traced = scan.value_and_grad_partitioned(
                block, first, stacked, partition_fn=partition, is_fn_pure=False
            )
        tensors, tree = tree_flatten((first, stacked))
        return _Loop.apply(traced, tree, *tensors)[0]  # type: ignore[no-any-return, no-untyped-call]


class _Loop(torch.autograd.Function):
    """As torch_xla's own `Scan`, which over several devices wants jax to shard gradients like weights: ours
    are whole on each.
    """

    @staticmethod
    def forward(ctx: Any, traced: Any, tree: TreeSpec, *tensors: Tensor) -> tuple[Tensor, ...]:
        from torch_xla.experimental import scan

        forward, with_inputs, ctx.block_backward = traced
        first, stacked = tree_unflatten(tensors, tree)
        last, (_, inner) = scan._scan_impl_pytree(forward, first, stacked)
        ctx.save_for_backward(*with_inputs(inner, stacked))
        return tuple(last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        from torch_xla.experimental import scan

        with torch.no_grad():
            both = scan._scan_impl_pytree(
                ctx.block_backward, gradients, (None, ctx.saved_tensors), reverse=True
            )
        return None, None, *tree_flatten(both)[0]
