"""A new run from given weights (`run.init_from`): which of them fit its model, and what is left new.

The encoder must fit as a whole, and begins as encoder and as target encoder. The predictor is taken where it
fits. Nothing else of an earlier run is: optimizer, step and order begin anew.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from octshard.config.train import TrainConfig
from octshard.dataset.participant_digests import ParticipantDigests
from octshard.errors import UsageError
from octshard.imaging.volume import triple
from octshard.models import patch_embedding
from octshard.models.checkpoint import ENCODER, TARGET_ENCODER, DamagedCheckpoint
from octshard.models.initial_weights import PREDICTOR, InitialWeights, read_weights
from octshard.train.inputs import RunInputs
from octshard.train.objectives.build import weight_shapes

logger = logging.getLogger(__name__)

TRUNK = ("blocks.", "norm.")  # of a predictor: taken together, or not at all
MASK_TOKENS = "tokens_SF"  # one of each mask set

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Beginning:
    """weights: by the names of the objective's state; participants: who was trained on before, None if nobody
    knows; warnings: what is left new.
    """

    weights: Mapping[str, Tensor]
    origin: Mapping[str, Any]
    participants: ParticipantDigests | None
    lines: tuple[str, ...]
    warnings: tuple[str, ...]

    def put(self, model: nn.Module) -> None:
        """Into a model of the config that they were made for; of fewer mask tokens than it has, the first."""
        state = model.state_dict()
        for name, tensor in self.weights.items():
            state[name][: len(tensor)].copy_(tensor)

    def log(self) -> None:
        """What is taken, and what is not."""
        for line in self.lines:
            logger.info("%s", line)
        for line in self.warnings:
            logger.warning("%s", line)


def begin(cfg: TrainConfig, inputs: RunInputs) -> Beginning:
    """The weights of run.init_from as `cfg` needs them; UsageError if the encoder does not fit."""
    try:
        given = read_weights(cfg.run.init_from)
    except (DamagedCheckpoint, UsageError) as error:
        raise type(error)(f"run.init_from: {error}") from error
    shapes = weight_shapes(cfg)
    encoder, lines = _encoder(given, _of(shapes, ENCODER), cfg)
    predictor, new = _predictor(given, _of(shapes, PREDICTOR), cfg)
    prefixes = [prefix for prefix in (ENCODER, TARGET_ENCODER) if _of(shapes, prefix)]
    weights = {prefix + name: tensor for prefix in prefixes for name, tensor in encoder.items()}
    weights |= {PREDICTOR + name: tensor for name, tensor in predictor.items()}
    warnings = [*new, *_people_lines(given, inputs)]
    origin = {**given.origin(), "new": new}
    return Beginning(weights, origin, _participants(given, inputs), tuple(lines), tuple(warnings))


def _of(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


def _encoder(given: InitialWeights, shapes: Shapes, cfg: TrainConfig) -> tuple[dict[str, Tensor], list[str]]:
    """All of the encoder, with the patch embedding that cfg wants, and lines on what is taken."""
    if differences := list(_differences(given, cfg)):
        raise UsageError(f"run.init_from={given.path}: {'; '.join(differences)}; want the same")
    kernel = given.encoder["embed.weight"]
    patch = triple(cfg.model.patch)
    weights = {**given.encoder, "embed.weight": patch_embedding.refit(kernel, patch)}
    for name in sorted(shapes.keys() | weights.keys()):
        if name not in weights:
            raise UsageError(f"run.init_from={given.path}: has no {name}, which the encoder of this run has")
        if name not in shapes:
            raise UsageError(f"run.init_from={given.path}: has {name}, which the encoder of this run has not")
        if tuple(weights[name].shape) != shapes[name]:
            raise UsageError(
                f"run.init_from={given.path}: {name} is {_by(weights[name].shape)}, this run's encoder wants "
                f"{_by(shapes[name])}"
            )
    at = "" if given.step is None else f" at step {given.step} ({given.samples_seen} samples)"
    lines = [f"begins with the {given.source} of {given.path}{at}; optimizer, step and order begin anew"]
    if kernel.shape[1:] != (1, *patch):
        lines.append(
            f"patch embedding of {kernel.shape[1]} channel{'s' * (kernel.shape[1] > 1)}, summed, and "
            f"{_by(kernel.shape[2:])} voxels, taken to {_by(patch)}"
        )
    if given.left_out:
        lines.append(f"not taken, as nothing here is like it: {', '.join(sorted(set(given.left_out)))}")
    return weights, lines


def _differences(given: InitialWeights, cfg: TrainConfig) -> Iterator[str]:
    """`key=value: what the file has`, of what makes an encoder another one."""
    weights, model, theirs = given.encoder, cfg.model, given.config and given.config.model
    width = len(weights["embed.weight"])
    depth = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    if width != model.width:
        yield f"model.width={model.width}, its encoder has {width}"
    if depth != model.depth:
        yield f"model.depth={model.depth}, its encoder has {depth} blocks"
    hidden, wanted = weights.get("blocks.0.mlp.0.bias"), int(model.width * model.mlp_ratio)
    if width == model.width and hidden is not None and len(hidden) != wanted:
        yield f"model.mlp_ratio={model.mlp_ratio:g} ({wanted} features), its encoder has {len(hidden)}"
    if theirs and theirs.heads != model.heads:
        yield f"model.heads={model.heads}, its encoder has {theirs.heads}"
    for key, of_vjepa2 in (("position", "rope"), ("attention", "joint")):
        value, own = getattr(theirs, key) if theirs else of_vjepa2, getattr(model, key)
        if value != own:
            yield f"model.{key}={own}, its encoder has {value}"


def _predictor(
    given: InitialWeights, shapes: Shapes, cfg: TrainConfig
) -> tuple[dict[str, Tensor], list[str]]:
    """What fits of the predictor, and a line on each part that is left new."""
    if not shapes:
        return {}, []
    if why := _why_new(given, shapes, cfg):
        return {}, [f"run.init_from: the predictor is new: {why}"]
    weights, lines = {}, []
    for name, shape in shapes.items():
        tensor = given.predictor.get(name)
        if tensor is not None and tuple(tensor.shape) == shape:
            weights[name] = tensor
        elif name == MASK_TOKENS and tensor is not None and tensor.shape[1:] == shape[1:]:
            count = min(len(tensor), shape[0])
            weights[name] = tensor[:count]
            lines += [
                f"run.init_from: the mask token of objective.masks[{i}] is new: the file has {count}"
                for i in range(count, shape[0])
            ]
        else:
            size = "none" if tensor is None else _by(tensor.shape)
            lines.append(f"run.init_from: {PREDICTOR}{name} is new: the file has {size}, want {_by(shape)}")
    return weights, lines


def _why_new(given: InitialWeights, shapes: Shapes, cfg: TrainConfig) -> str:
    """Why nothing of the predictor can be taken; empty if something can."""
    if not given.predictor:
        return "the file has none"
    if given.objective != cfg.objective.name:
        return f"the file's is of objective {given.objective}"
    if given.config and given.config.predictor.heads != cfg.predictor.heads:
        return f"the file's has {given.config.predictor.heads} heads, predictor.heads={cfg.predictor.heads}"
    for name in sorted(shapes.keys() | given.predictor.keys()):
        if not name.startswith(TRUNK):
            continue
        theirs, ours = given.predictor.get(name), shapes.get(name)
        if theirs is None or ours is None or tuple(theirs.shape) != ours:
            sizes = ("none" if theirs is None else _by(theirs.shape), "none" if ours is None else _by(ours))
            return f"of {name} the file has {sizes[0]}, want {sizes[1]}"
    return ""


def _participants(given: InitialWeights, inputs: RunInputs) -> ParticipantDigests | None:
    """Everybody who was trained on, once this run has begun; a V-JEPA 2 file was on no people of a study."""
    if given.participants is None:
        return inputs.participants if given.config is None else None
    return given.participants.including(sample.row.participant for sample in inputs.index.samples)


def _people_lines(given: InitialWeights, inputs: RunInputs) -> Iterator[str]:
    """On whom the weights were trained before, as far as that spoils what this run measures."""
    if given.config and given.participants is None:
        yield "run.init_from: the file does not say who it was trained on; nor will checkpoints of this run"
    if given.participants:
        people = {sample.row.participant for sample in inputs.val_index.samples}
        if seen := given.participants.members(people):
            yield (
                f"run.init_from: {len(seen)} of the {len(people)} val participants were trained on before: "
                f"skill and probes of this run do not show how it does on new people"
            )


def _by(shape: Any) -> str:
    return " x ".join(map(str, shape))
