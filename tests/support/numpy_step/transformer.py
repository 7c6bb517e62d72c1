"""Pre-norm blocks, the encoder and the transformer predictor, for one volume, with their backward passes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tests.support.numpy_step import layers, positions
from tests.support.numpy_step.layers import Backward
from tests.support.numpy_step.weights import Array, Weights


class Tokens(NamedTuple):
    """Where they lie; padding (real false) is no key of attention."""

    place_N3: Array
    real_N: Array


@dataclass(frozen=True)
class Stack:
    """Some blocks. prefix: of the names of their weights."""

    prefix: str
    depth: int
    heads: int
    position: str  # rope | sincos
    attention: str  # joint | divided


def blocks(z_NF: Array, tokens: Tokens, stack: Stack, weights: Weights) -> tuple[Array, Backward]:
    """The blocks, one after the other, after the positions are added (sincos)."""
    (z_NF,), backward = blocks_levels(z_NF, tokens, stack, weights, [stack.depth])
    return z_NF, lambda dz_NF: backward([dz_NF])


LevelsBackward = Callable[[list[Array]], Array]


def blocks_levels(
    z_NF: Array, tokens: Tokens, stack: Stack, weights: Weights, depths: list[int]
) -> tuple[list[Array], LevelsBackward]:
    """The same, and what comes out after so many blocks each; the last number is all."""
    width = z_NF.shape[1]
    angle_NP = None
    if stack.position == "rope":
        angle_NP = positions.rotary_angles(tokens.place_N3, width // stack.heads)
    else:
        z_NF = z_NF + positions.sincos(tokens.place_N3, width)
    passes: list[Backward] = []
    outputs: dict[int, Array] = {}
    for i in range(stack.depth):
        z_NF, back = _block(z_NF, f"{stack.prefix}.blocks.{i}", stack, (tokens, angle_NP), weights)
        passes.append(back)
        outputs[i + 1] = z_NF

    def backward(derivatives: list[Array]) -> Array:
        by_depth = dict(zip(depths, derivatives, strict=True))
        dz_NF = np.zeros_like(z_NF)
        for i in reversed(range(stack.depth)):
            dz_NF = passes[i](dz_NF + by_depth.get(i + 1, 0))
        return dz_NF

    return [outputs[depth] for depth in depths], backward


class Mask(NamedTuple):
    """Tokens that enter as the learned vector `name` instead of their voxels."""

    mask_N: Array
    name: str


def encoder(
    patches_NP: Array, tokens: Tokens, stack: Stack, weights: Weights, mask: Mask | None = None
) -> tuple[Array, Backward]:
    """(N, F): embedding, blocks, layer norm. The backward pass goes down to the voxels."""
    z_NF, into_patches = layers.linear(patches_NP, weights, f"{stack.prefix}.embed")
    if mask is not None:
        z_NF = np.where(mask.mask_N[:, None], weights[mask.name], z_NF)
    z_NF, into_blocks = blocks(z_NF, tokens, stack, weights)
    z_NF, into_norm = layers.scaled_norm(z_NF, weights, f"{stack.prefix}.norm")

    def backward(dz_NF: Array) -> Array:
        dz_NF = into_blocks(into_norm(dz_NF))
        if mask is not None:
            weights.add(mask.name, dz_NF[mask.mask_N].sum(0))
            dz_NF = np.where(mask.mask_N[:, None], 0, dz_NF)
        return into_patches(dz_NF)

    return z_NF, backward


def encoder_levels(
    patches_NP: Array, tokens: Tokens, stack: Stack, weights: Weights, depths: list[int]
) -> tuple[list[Array], LevelsBackward]:
    """What comes out after so many blocks each; the last one, after all, is normed."""
    z_NF, into_patches = layers.linear(patches_NP, weights, f"{stack.prefix}.embed")
    levels, into_blocks = blocks_levels(z_NF, tokens, stack, weights, depths)
    last, into_norm = layers.scaled_norm(levels[-1], weights, f"{stack.prefix}.norm")

    def backward(derivatives: list[Array]) -> Array:
        return into_patches(into_blocks([*derivatives[:-1], into_norm(derivatives[-1])]))

    return [*levels[:-1], last], backward


def predictor(
    z_KF: Array, tokens: tuple[Tokens, Tokens], set_index: int, stack: Stack, weights: Weights
) -> tuple[Array, Backward]:
    """(T, F) at the targets: context features and one mask token per target, through narrow blocks."""
    z_NF, into_blocks = predictor_blocks(z_KF, tokens, set_index, stack, weights)
    count = len(z_KF)
    z_TF, into_norm = layers.scaled_norm(z_NF[count:], weights, f"{stack.prefix}.norm")
    predicted_TF, into_out = layers.linear(z_TF, weights, f"{stack.prefix}.proj_out")

    def backward(dy_TF: Array) -> Array:
        dz_TF = into_norm(into_out(dy_TF))
        return into_blocks(np.concatenate([np.zeros_like(z_NF[:count]), dz_TF]))

    return predicted_TF, backward


def predictor_blocks(
    z_KF: Array, tokens: tuple[Tokens, Tokens], set_index: int, stack: Stack, weights: Weights
) -> tuple[Array, Backward]:
    """(K + T, width): what the narrow blocks make of context and mask tokens."""
    context, targets = tokens
    count = len(context.real_N)
    context_KF, into_context = layers.linear(z_KF, weights, f"{stack.prefix}.proj_in")
    table_SF = weights[f"{stack.prefix}.tokens_SF"]
    z_NF = np.concatenate([context_KF, np.tile(table_SF[set_index], (len(targets.real_N), 1))])
    together = Tokens(*(np.concatenate(parts) for parts in zip(context, targets, strict=True)))
    z_NF, into_blocks = blocks(z_NF, together, stack, weights)

    def backward(dz_NF: Array) -> Array:
        dz_NF = into_blocks(dz_NF)
        gradient_SF = np.zeros_like(table_SF)
        gradient_SF[set_index] = dz_NF[count:].sum(0)
        weights.add(f"{stack.prefix}.tokens_SF", gradient_SF)
        return into_context(dz_NF[:count])

    return z_NF, backward


def _block(
    z_NF: Array, name: str, stack: Stack, attended: tuple[Tokens, Array | None], weights: Weights
) -> tuple[Array, Backward]:
    """z + attention(norm(z)), once or for planes and for columns; then the same with the MLP."""
    tokens, angle_NP = attended
    plane_N, column_N = (_groups(tokens.place_N3[:, axes]) for axes in ([0], [1, 2]))
    parts = [("norm1", "attention", 0 * plane_N)]
    if stack.attention == "divided":
        parts = [("norm1", "attention", plane_N), ("depth_norm", "depth_attention", column_N)]
    passes = []
    for norm, attention, group_N in parts:
        x_NF, into_norm = layers.scaled_norm(z_NF, weights, f"{name}.{norm}")
        mixed_NF, into_attention = _grouped(
            x_NF, group_N, f"{name}.{attention}", stack.heads, (tokens.real_N, angle_NP), weights
        )
        passes.append((into_norm, into_attention))
        z_NF = z_NF + mixed_NF
    x_NF, into_norm2 = layers.scaled_norm(z_NF, weights, f"{name}.norm2")
    h_NH, into_hidden = layers.linear(x_NF, weights, f"{name}.mlp.0")
    g_NH, into_gelu = layers.gelu(h_NH)
    y_NF, into_out = layers.linear(g_NH, weights, f"{name}.mlp.2")

    def backward(dz_NF: Array) -> Array:
        dz_NF = dz_NF + into_norm2(into_hidden(into_gelu(into_out(dz_NF))))
        for into_norm, into_attention in reversed(passes):
            dz_NF = dz_NF + into_norm(into_attention(dz_NF))
        return dz_NF

    return z_NF + y_NF, backward


def _groups(place_NX: Array) -> Array:
    """(N,): equal where all coordinates are."""
    return np.unique(place_NX, axis=0, return_inverse=True)[1].reshape(-1)


def _grouped(
    x_NF: Array, group_N: Array, name: str, heads: int, attended: tuple[Array, Array | None], weights: Weights
) -> tuple[Array, Backward]:
    """Attention among the tokens of each group, one group after the other."""
    (real_N, angle_NP), y_NF, passes = attended, np.zeros_like(x_NF), []
    for group in np.unique(group_N):
        rows = np.nonzero(group_N == group)[0]
        angles = None if angle_NP is None else angle_NP[rows]
        y_NF[rows], back = _attention(x_NF[rows], name, heads, (real_N[rows], angles), weights)
        passes.append((rows, back))

    def backward(dy_NF: Array) -> Array:
        dx_NF = np.zeros_like(dy_NF)
        for rows, back in passes:
            dx_NF[rows] = back(dy_NF[rows])
        return dx_NF

    return y_NF, backward


def _attention(
    x_NF: Array, name: str, heads: int, attended: tuple[Array, Array | None], weights: Weights
) -> tuple[Array, Backward]:
    """Columns of qkv: all queries, all keys, all values; in each the heads one after the other."""
    real_N, angle_NP = attended
    qkv, into_qkv = layers.linear(x_NF, weights, f"{name}.qkv")
    queries, keys, values = (np.split(part, heads, axis=1) for part in np.split(qkv, 3, axis=1))
    outputs, passes = [], []
    for query_NF, key_NF, value_NF in zip(queries, keys, values, strict=True):
        query_NF, into_query = layers.rotated(query_NF, angle_NP)
        key_NF, into_key = layers.rotated(key_NF, angle_NP)
        output_NF, into_head = layers.head(query_NF, key_NF, value_NF, real_N)
        outputs.append(output_NF)
        passes.append((into_query, into_key, into_head))
    y_NF, into_out = layers.linear(np.concatenate(outputs, axis=1), weights, f"{name}.out")

    def backward(dy_NF: Array) -> Array:
        parts: tuple[list[Array], list[Array], list[Array]] = ([], [], [])
        for d_NF, (into_query, into_key, into_head) in zip(
            np.split(into_out(dy_NF), heads, axis=1), passes, strict=True
        ):
            dq_NF, dk_NF, dv_NF = into_head(d_NF)
            for part, d in zip(parts, (into_query(dq_NF), into_key(dk_NF), dv_NF), strict=True):
                part.append(d)
        return into_qkv(np.concatenate([np.concatenate(part, axis=1) for part in parts], axis=1))

    return y_NF, backward
