"""Functions traced once on XLA: a later call adds one node to the graph, where tracing adds thousands.

A trace is kept for each set of shapes. What a function reads besides its arguments stays as it was then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from octshard.devices.scanned import scanned

CONSTANTS = (bool, int, float, str, type(None))  # arguments besides tensors; another value is another trace


@dataclass(frozen=True)
class _Trace:
    computation: Any
    sources: list[int | Tensor]  # of each parameter: the place among the arguments' leaves, or a constant
    outputs: TreeSpec


class Recorded:
    """`function` of tensors in tuples, lists and dicts; what it returns has no gradient."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self._name = function, function.__name__
        self._traces: dict[Any, _Trace] = {}

    def __call__(self, *values: Any) -> Any:
        import torch_xla

        leaves, spec = tree_flatten(values)
        autocast = torch.is_autocast_enabled("xla") and torch.get_autocast_dtype("xla")
        key = (spec, autocast, *(_kind(leaf) for leaf in leaves))
        with torch.no_grad():
            trace = self._traces.get(key)
            if trace is None:
                trace = self._traces[key] = self._trace(leaves, spec)
            inputs = [leaves[source] if isinstance(source, int) else source for source in trace.sources]
            outputs = torch_xla._XLAC._xla_user_computation(f"xla::{self._name}", inputs, trace.computation)
        return tree_unflatten(outputs, trace.outputs)

    def _trace(self, leaves: Sequence[Any], spec: TreeSpec) -> _Trace:
        """Runs the function on tensors without data, and keeps what it did."""
        import torch_xla
        import torch_xla.core.xla_builder as xb

        stand_ins = [
            xb.create_placeholder_tensor(leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf
            for leaf in leaves
        ]
        outputs, output_spec = tree_flatten(self._function(*tree_unflatten(stand_ins, spec)))
        context = torch_xla._XLAC.lowering.LoweringContext(self._name)
        context.set_name_string(self._name)
        context.build(outputs)
        computation = xb.computation_from_module_proto(self._name, context.hlo())
        sources: dict[int, int | Tensor] = dict(context.device_parameter_id_tensor_mapping())
        for place, stand_in in enumerate(stand_ins):
            if isinstance(stand_in, Tensor):
                sources[context.tensor_parameter_id(stand_in)] = place
        sources.pop(-1, None)  # arguments that are not used
        return _Trace(computation, [sources[number] for number in range(len(sources))], output_spec)


class RecordedModel(nn.Module):
    """A model that returns a NamedTuple with its `loss`, from which the backward pass starts.

    Forward and backward are one trace: gradients are computed together with the loss, and handed out by the
    backward pass. The other outputs have no gradient.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._recorded = Recorded(self._loss_and_gradients)
        self._state = dict([*model.named_parameters(), *model.named_buffers()])

    def forward(self, *values: Any) -> Any:
        """What the model returns."""
        if not torch.is_grad_enabled():
            return self.model(*values)
        state = list(self._state.values())
        out, gradients = self._recorded(self.model.training, state, values)
        loss = _Loss.apply(out.loss, gradients, *(state[place] for place in gradients))
        return out._replace(loss=loss)

    def _loss_and_gradients(
        self, training: bool, state: Sequence[Tensor], values: Sequence[Any]
    ) -> tuple[Any, dict[int, Tensor]]:
        """The outputs, and the gradients by place in `state`. `training` only tells two traces apart."""
        with torch.enable_grad():
            trained = {
                place: tensor.requires_grad_()
                for place, (tensor, original) in enumerate(zip(state, self._state.values(), strict=True))
                if original.requires_grad
            }
            with scanned(self.model):
                named = dict(zip(self._state, state, strict=True))
                out = torch.func.functional_call(self.model, named, values)
            with torch.autocast("xla", enabled=False):  # a backward pass has the types of its forward pass
                gradients = torch.autograd.grad(out.loss, list(trained.values()), allow_unused=True)
        return out, {place: g for place, g in zip(trained, gradients, strict=True) if g is not None}


class _Loss(torch.autograd.Function):
    """A loss whose gradients are known."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: dict[int, Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = list(gradients.values())
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return None, None, *torch._foreach_mul(ctx.gradients, gradient)


def _kind(leaf: Any) -> Any:
    """What a trace depends on: of a tensor its shape and type, else the value."""
    if isinstance(leaf, Tensor):
        return tuple(leaf.shape), leaf.dtype
    if not isinstance(leaf, CONSTANTS):
        raise TypeError(f"an argument of type {type(leaf).__name__}: want tensors, numbers, words, or None")
    return type(leaf), leaf
