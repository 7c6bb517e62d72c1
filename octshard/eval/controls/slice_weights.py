"""Weights of a 2-D encoder out of a file that somebody else wrote: their names as timm's model has them.

What is known of files: weights by name, or under a key beside the state of their training; all names behind
one wrapper; blocks in chunks, as DINOv2 trains them; decoders and heads, which no encoder has; a ViT of
another image size, of one channel, or that averages its patches.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from octshard.errors import UsageError
from octshard.models import weights_file

KEYS = ("model", "state_dict", "model_state_dict", "teacher", "student")  # of weights in a file of more
CHUNKED = re.compile(r"(^|\.)blocks\.\d+\.(\d+)\.")  # its blocks are numbered through
HEADS = "head|head_dist|fc|classifier|last_linear|dino_head|ibot_head"
NOT_OURS = re.compile(rf"({HEADS})\..+|decoder\w*(\..+)?|mask_token")
POOLED = "fc_norm.weight"  # of a ViT that averages its patches
POSITIONS = "pos_embed"
NAMED = 4  # weights that an error names


def read(path: str) -> tuple[Mapping[str, Tensor], str]:
    """The weights by name in a file, whatever stands beside them, and its sha256; UsageError without any."""
    content, sha256 = weights_file.read(path, "a local .pth or .safetensors of weights")
    for key in KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise UsageError(f"encoder_weights={path}: holds a {type(content).__name__}, want weights by name")
    if not content:
        raise UsageError(f"encoder_weights={path}: holds no weights, want them by name")
    for name, tensor in content.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
            raise UsageError(f"encoder_weights={path}: {name!s:.80} is no tensor, want weights by name")
        if tensor.is_meta or not torch.isfinite(tensor.float()).all():
            raise UsageError(f"encoder_weights={path}: {name!s:.80} holds nan or inf, want finite weights")
    return {str(name): tensor for name, tensor in content.items()}, sha256


def named_as(weight_of: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Without the wrapper that stands before most names of the model; blocks in chunks numbered through."""
    names = model.state_dict().keys()
    if not any(CHUNKED.search(name) for name in names):
        weight_of = _renamed(weight_of, lambda name: CHUNKED.sub(r"\1blocks.\2.", name))
    wrappers = Counter(
        wrapper
        for wanted in names
        for name in weight_of
        if name.endswith(wanted) and ((wrapper := name.removesuffix(wanted)) == "" or wrapper[-1] == ".")
    )
    wrapper = min(wrappers, key=lambda wrapper: (-wrappers[wrapper], len(wrapper)), default="")
    return _renamed(weight_of, lambda name: name.removeprefix(wrapper))


def form_of(weight_of: Mapping[str, Tensor], model: nn.Module) -> dict[str, Any]:
    """How the model must be made for these weights, where that differs from how it is."""
    names, form = model.state_dict(), dict[str, Any]()
    if POOLED in weight_of and POOLED not in names:
        form["global_pool"] = "avg"
    first = f"{getattr(model, 'pretrained_cfg', {}).get('first_conv')}.weight"
    if first in weight_of and first in names and weight_of[first].shape[1:2] == (1,):
        form |= {"in_chans": 1} if names[first].shape[1] > 1 else {}
    embed = getattr(model, "patch_embed", None)
    grid, patch = getattr(embed, "grid_size", None), getattr(embed, "patch_size", None)
    if grid and patch and POSITIONS in names and POSITIONS in weight_of:
        side = _side_of(tuple(weight_of[POSITIONS].shape), tuple(names[POSITIONS].shape), math.prod(grid))
        form |= {"img_size": (side * patch[0], side * patch[1])} if side else {}
    return form


def _side_of(shape: tuple[int, ...], own: tuple[int, ...], patches: int) -> int:
    """Patches along each side of the square image that positions are of; 0: the model's, or of none."""
    if len(shape) != 3 or len(own) != 3 or shape[1] == own[1] or (shape[0], shape[2]) != (own[0], own[2]):
        return 0
    count = shape[1] - (own[1] - patches)  # but for the class token
    side = math.isqrt(max(count, 0))
    return side if side**2 == count else 0


def fitted(
    weight_of: Mapping[str, Tensor], model: nn.Module, subject: str, encoder: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The weights of the model, and the names that only heads and decoders have; UsageError if others are
    missing, too many, or of another shape.
    """
    shape_of = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    missing = [name for name in shape_of if name not in weight_of]
    left_out = tuple(name for name in weight_of if name not in shape_of and NOT_OURS.fullmatch(name))
    unknown = [name for name in weight_of if name not in shape_of and name not in left_out]
    misshapen = [
        f"{name} is {_by(weight_of[name].shape)}, want {_by(shape)}"
        for name, shape in shape_of.items()
        if name in weight_of and tuple(weight_of[name].shape) != shape
    ]
    problems = [
        f"{text}{_some(names)}"
        for text, names in (("lacks ", missing), ("has besides ", unknown), ("", misshapen))
        if names
    ]
    if problems:
        raise UsageError(
            f"{subject}: does not fit encoder={encoder}: {'; '.join(problems)}; want its weights"
        )
    return {name: weight_of[name] for name in shape_of}, left_out


def _renamed(weight_of: Mapping[str, Tensor], rename: Callable[[str], str]) -> dict[str, Tensor]:
    """As they are where two would have one name: then the error says which the model does not know."""
    renamed = {rename(name): tensor for name, tensor in weight_of.items()}
    return renamed if len(renamed) == len(weight_of) else dict(weight_of)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(f"{name:.80}" for name in names[:NAMED]) + more


def _by(shape: Any) -> str:
    return " x ".join(map(str, shape)) or "one number"
