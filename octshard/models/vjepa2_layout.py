"""Weights as Meta's V-JEPA 2 files lay them out, by the names of `Encoder` and `Predictor`.

A file holds `target_encoder`, `encoder` and `predictor`, or an encoder alone; names stand behind those of
their wrappers (`module.backbone.`). Encoders of V-JEPA 2.1 (`ema_encoder`) and image encoders of the same
names (I-JEPA, timm's ViT) are read too.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from octshard.errors import UsageError

ENCODERS = ("target_encoder", "ema_encoder", "encoder")  # the first that a file has is taken
EMBED, PREDICTOR_EMBED = "patch_embed.proj.weight", "predictor_embed.weight"
LAYERS = {
    "norm1": "norm1",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.out",
    "norm2": "norm2",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.2",
}  # of a block
ENCODER_NAMES = {"patch_embed.proj": "embed", "norm": "norm"}
PREDICTOR_NAMES = {"predictor_embed": "proj_in", "predictor_norm": "norm", "predictor_proj": "proj_out"}
# what has no counterpart here: tables of positions are computed, no token stands for the whole volume, and
# V-JEPA 2.1 takes images too
WITHOUT_PLACE = re.compile(
    r"(predictor_)?pos_embed|(cls|dist|reg|register|storage|mask)_tokens?|img_mod_embed|patch_embed_img\..+"
)
_BLOCK = re.compile(r"(?:predictor_)?blocks\.(\d+)\.(.+)\.(weight|bias)")
_LEVEL = re.compile(r"norms_block\.(\d+)\.(weight|bias)")  # V-JEPA 2.1: of each level, the last is the output
_ADDED = "video_mod_embed"  # V-JEPA 2.1: to each token of a volume
_MASK_TOKEN = re.compile(r"mask_tokens\.(\d+)")


class LayoutWeights(NamedTuple):
    """encoder: by the names of `Encoder`, but embed.weight with its axes (features, channels, D, H, W);
    predictor: by those of `Predictor`, empty if there is none; source: which encoder it is; left_out: names
    that have no counterpart here.
    """

    encoder: dict[str, Tensor]
    predictor: dict[str, Tensor]
    source: str
    left_out: tuple[str, ...]


def read_layout(values: Mapping[str, Any], path: str) -> LayoutWeights:
    """The weights of a file's content; UsageError names what is missing, or not of this layout."""
    source = next((key for key in ENCODERS if _holds(values, key)), "")
    encoder, left_out = _translate(values[source] if source else values, EMBED, ENCODER_NAMES, path)
    kernel = encoder["embed.weight"]
    if kernel.ndim == 4:  # of an image: one slice deep
        kernel = kernel.unsqueeze(2)
    if kernel.ndim != 5:
        raise UsageError(f"{path}: {EMBED} has {kernel.ndim} axes, want those of a 3-D or a 2-D convolution")
    encoder["embed.weight"] = kernel
    left_out = (*left_out, *_take_last_level(encoder))
    if _ADDED in encoder and "embed.bias" in encoder:
        encoder["embed.bias"] = encoder["embed.bias"] + encoder.pop(_ADDED).flatten()
    predictor: dict[str, Tensor] = {}
    theirs = values["predictor"] if source and _holds(values, "predictor") else None
    if isinstance(theirs, Mapping) and not any(str(name).endswith(PREDICTOR_EMBED) for name in theirs):
        left_out = (*left_out, "predictor")  # V-JEPA 2.1's reads several levels
    elif theirs is not None:
        predictor, more = _translate(theirs, PREDICTOR_EMBED, PREDICTOR_NAMES, path)
        left_out = (*left_out, *more)
        names = sorted((name for name in predictor if name.startswith("tokens.")), key=_number)
        tokens = [predictor.pop(name).flatten() for name in names]
        if tokens and len({len(token_F) for token_F in tokens}) == 1:
            predictor["tokens_SF"] = torch.stack(tokens)
    return LayoutWeights(encoder, predictor, source or "encoder", left_out)


def _holds(values: Mapping[str, Any], key: str) -> bool:
    value = values.get(key)
    return value is not None and not (isinstance(value, Mapping) and not value)


def _take_last_level(encoder: dict[str, Tensor]) -> tuple[str, ...]:
    """Puts the norm of the last level in the place of the output's; the names of the others."""
    names = [name for name in encoder if _LEVEL.fullmatch(name)]
    last = max((int(name.split(".")[1]) for name in names), default=-1)
    levels = {name: encoder.pop(name) for name in names}
    for kind in ("weight", "bias") if levels else ():
        if (norm := levels.pop(f"norms_block.{last}.{kind}", None)) is not None:
            encoder[f"norm.{kind}"] = norm
    return tuple(levels)


def _number(name: str) -> int:
    return int(name.rpartition(".")[2])


def _translate(
    weights: Any, embed: str, names: Mapping[str, str], path: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Weights by our names, in float32, and the names that have no counterpart."""
    if not isinstance(weights, Mapping):
        raise UsageError(f"{path}: a {type(weights).__name__} where weights by name are wanted")
    wrappers = [str(name).removesuffix(embed) for name in weights if str(name).endswith(embed)]
    if len(wrappers) != 1:
        some = ", ".join(f"{name!s:.40}" for name in list(weights)[:4]) or "nothing"
        raise UsageError(
            f"{path}: {len(wrappers)} names end in {embed}, want one (V-JEPA 2); it holds {some} ..."
        )
    translated: dict[str, Tensor] = {}
    left_out, unknown = [], []
    for name, tensor in _tensors(weights, path):
        inner = name.removeprefix(wrappers[0])
        ours = _ours(inner, names) if name.startswith(wrappers[0]) else None
        if ours is not None:
            translated[ours] = tensor
        elif WITHOUT_PLACE.fullmatch(inner):
            left_out.append(inner)
        else:
            unknown.append(name)
    if unknown:
        raise UsageError(
            f"{path}: {len(unknown)} of its names are not V-JEPA 2's, the first is {unknown[0]!s:.80}; want "
            f"blocks of norm1, attn.qkv, attn.proj, norm2, mlp.fc1 and mlp.fc2"
        )
    return translated, tuple(left_out)


def _tensors(weights: Mapping[str, Any], path: str) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.layout != torch.strided:
            raise UsageError(f"{path}: {name!s:.80} is no tensor of real numbers")
        yield str(name), tensor.float()


def _ours(name: str, names: Mapping[str, str]) -> str | None:
    """Our name of a weight; None if we have none."""
    if (block := _BLOCK.fullmatch(name)) and block[2] in LAYERS:
        return f"blocks.{block[1]}.{LAYERS[block[2]]}.{block[3]}"
    if name == _ADDED or _LEVEL.fullmatch(name):
        return name
    if token := _MASK_TOKEN.fullmatch(name):
        return f"tokens.{token[1]}"
    layer, _, kind = name.rpartition(".")
    return f"{names[layer]}.{kind}" if layer in names and kind in ("weight", "bias") else None
