"""A file as Meta's V-JEPA 2 lays it out, its weights made up, and what its encoder computes, plainly."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from octshard.rng import rng_for


class Form(NamedTuple):
    """Of the encoder and predictor of the file: by default those of `tiny_run`, but for colour."""

    width: int = 24
    depth: int = 2
    mlp: int = 96
    kernel: tuple[int, ...] = (3, 2, 8, 8)  # channels, patch
    predictor_depth: int = 1
    mask_tokens: int = 2


TINY = Form()


def content(form: Form = TINY, wrapper: str = "module.backbone.") -> dict[str, Any]:
    """Encoder and target encoder differ; so do all weights."""
    layers = {
        "encoder": _layers(form, wrapper, "encoder"),
        "target_encoder": _layers(form, wrapper, "target"),
        "predictor": _predictor(form, wrapper),
    }
    return {**layers, "opt": {}, "scaler": None, "epoch": 7, "loss": 0.5, "batch_size": 3, "world_size": 1}


def _layers(form: Form, wrapper: str, seed: str) -> dict[str, Tensor]:
    shapes = {"patch_embed.proj": (form.width, *form.kernel), "norm": (form.width,)}
    shapes |= _blocks("blocks", form.depth, form)
    return {f"{wrapper}pos_embed": torch.zeros(1, 4, form.width)} | _drawn(shapes, wrapper, seed)


def _predictor(form: Form, wrapper: str) -> dict[str, Tensor]:
    square = (form.width, form.width)
    shapes = {"predictor_embed": square, "predictor_norm": (form.width,), "predictor_proj": square}
    shapes |= _blocks("predictor_blocks", form.predictor_depth, form)
    tokens = {
        f"{wrapper}mask_tokens.{i}": _array((1, 1, form.width), "mask token", str(i))
        for i in range(form.mask_tokens)
    }
    return tokens | _drawn(shapes, wrapper, "predictor")


def _blocks(name: str, depth: int, form: Form) -> dict[str, tuple[int, ...]]:
    width, mlp = form.width, form.mlp
    layers = {
        "norm1": (width,),
        "attn.qkv": (3 * width, width),
        "attn.proj": (width, width),
        "norm2": (width,),
        "mlp.fc1": (mlp, width),
        "mlp.fc2": (width, mlp),
    }
    return {f"{name}.{i}.{layer}": shape for i in range(depth) for layer, shape in layers.items()}


def _drawn(shapes: Mapping[str, tuple[int, ...]], wrapper: str, seed: str) -> dict[str, Tensor]:
    weights = {}
    for name, shape in shapes.items():
        weights[f"{wrapper}{name}.weight"] = _array(shape, seed, name) + ("norm" in name)
        weights[f"{wrapper}{name}.bias"] = _array(shape[:1], seed, name, "bias")
    return weights


def _array(shape: tuple[int, ...], *seed: str) -> Tensor:
    size = 0.7 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.2
    return torch.from_numpy(rng_for(*seed).normal(0, size, shape).astype(np.float32))


def features(weights: Mapping[str, Tensor], heads: int, volume_DHW: np.ndarray) -> np.ndarray:
    """(N, F) in float64 of a volume that is the same in all channels: token by token, head by head."""
    array = {name.split("backbone.")[-1]: tensor.double().numpy() for name, tensor in weights.items()}
    kernel, grid = array["patch_embed.proj.weight"], []
    tokens, (pd, ph, pw) = [], kernel.shape[2:]
    depth, height, width = (n // p for n, p in zip(volume_DHW.shape, (pd, ph, pw), strict=True))
    for d, h, w in np.ndindex(depth, height, width):
        cut = volume_DHW[d * pd : (d + 1) * pd, h * ph : (h + 1) * ph, w * pw : (w + 1) * pw]
        colours = np.stack([cut] * kernel.shape[1])
        tokens.append((kernel * colours).sum((1, 2, 3, 4)) + array["patch_embed.proj.bias"])
        grid.append((d, h, w))
    z_NF, number = np.stack(tokens), 0
    while f"blocks.{number}.norm1.weight" in array:
        name = f"blocks.{number}."
        block = {key.removeprefix(name): value for key, value in array.items() if key.startswith(name)}
        z_NF = z_NF + _attention(_norm(z_NF, block, "norm1"), block, heads, grid)
        hidden = _linear(_norm(z_NF, block, "norm2"), block, "mlp.fc1")
        gelu = hidden * 0.5 * (1 + torch.erf(torch.from_numpy(hidden) / 2**0.5).numpy())
        z_NF = z_NF + _linear(gelu, block, "mlp.fc2")
        number += 1
    return _norm(z_NF, array, "norm")


def _linear(x_NF: np.ndarray, array: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    return x_NF @ array[f"{name}.weight"].T + array[f"{name}.bias"]


def _norm(x_NF: np.ndarray, array: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    centred = x_NF - x_NF.mean(1, keepdims=True)
    unit = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-6)
    return unit * array[f"{name}.weight"] + array[f"{name}.bias"]


def _attention(
    x_NF: np.ndarray, block: Mapping[str, np.ndarray], heads: int, grid: list[tuple[int, int, int]]
) -> np.ndarray:
    query, key, value = np.split(_linear(x_NF, block, "attn.qkv"), 3, axis=1)
    mixed, size = [], query.shape[1] // heads
    for head in range(heads):
        q, k, v = (part[:, head * size : (head + 1) * size] for part in (query, key, value))
        q, k = (np.stack([_turned(row, at) for row, at in zip(part, grid, strict=True)]) for part in (q, k))
        score = np.exp(q @ k.T / np.sqrt(size))
        mixed.append(score / score.sum(1, keepdims=True) @ v)
    return _linear(np.concatenate(mixed, 1), block, "attn.proj")


def _turned(row_F: np.ndarray, at: tuple[int, int, int]) -> np.ndarray:
    """Each axis turns a third of the features, pair by pair; the rest stays."""
    turned, pairs = row_F.astype(complex)[0::2] + 1j * row_F[1::2], len(row_F) // 6
    for axis, place in enumerate(at):
        for k in range(pairs):
            turned[axis * pairs + k] *= np.exp(1j * place * 10000 ** (-k / pairs))
    return np.stack([turned.real, turned.imag], 1).ravel()
