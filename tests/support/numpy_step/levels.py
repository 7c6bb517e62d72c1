"""The objective `vjepa2_1` for one volume: four levels of the encoder, and context tokens, are predicted."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from octshard.config.train import TrainConfig
from tests.support.numpy_step import layers
from tests.support.numpy_step.transformer import (
    Stack,
    Tokens,
    encoder_levels,
    predictor_blocks,
)
from tests.support.numpy_step.weights import Array, Weights


class LevelLosses(NamedTuple):
    """backward: takes the shares of the two losses, and adds the gradients of their sum to the weights."""

    targets: float
    context: float
    backward: Callable[[float, float], None]


def quarters(depth: int) -> list[int]:
    """How many blocks lie below each level."""
    return [math.floor(depth * quarter / 4) for quarter in (1, 2, 3, 4)]


def context_weight(progress: float, cfg: TrainConfig) -> float:
    """Of the context's loss, at this share of the budget."""
    start, end = cfg.objective.context_ramp
    return cfg.objective.context_weight * min(1.0, max(0.0, (progress - start) / (end - start)))


def target_levels(patches_NP: Array, tokens: Tokens, stack: Stack, weights: Weights) -> Array:
    """(N, 4 F): each level normed by itself."""
    levels, _ = encoder_levels(patches_NP, tokens, stack, weights, quarters(stack.depth))
    return np.concatenate([layers.normed(z_NF, 1, layers.LAYER_NORM_EPS)[0] for z_NF in levels], axis=1)


class Predicted(NamedTuple):
    """Tokens, and their features by the target encoder."""

    tokens: Tokens
    target_NX: Array


def level_losses(
    patches_KP: Array,
    both: list[Predicted],
    set_index: int,
    stacks: tuple[Stack, Stack],
    weights: Weights,
) -> LevelLosses:
    """both: context and targets; stacks: of the encoder and the predictor."""
    context, targets = both
    encoder, narrow = stacks
    levels, into_levels = encoder_levels(
        patches_KP, context.tokens, encoder, weights, quarters(encoder.depth)
    )
    h_KF, into_fusion = _fused(levels, weights)
    z_NF, into_blocks = predictor_blocks(h_KF, (context.tokens, targets.tokens), set_index, narrow, weights)
    z_NF, into_norm = layers.scaled_norm(z_NF, weights, f"{narrow.prefix}.norm")
    z_K, into_context = layers.linear(z_NF[: len(h_KF)], weights, "predictor.proj_context")
    z_T, into_targets = layers.linear(z_NF[len(h_KF) :], weights, f"{narrow.prefix}.proj_out")
    error_K, error_T = z_K - context.target_NX, z_T - targets.target_NX
    near_K1 = np.array([[_nearness(place, targets.tokens)] for place in context.tokens.place_N3])

    def backward(share_of_targets: float, share_of_context: float) -> None:
        d_T = into_targets(np.sign(error_T) / error_T.size * share_of_targets)
        d_K = into_context(near_K1 * np.sign(error_K) / error_K.size * share_of_context)
        into_levels(into_fusion(into_blocks(into_norm(np.concatenate([d_K, d_T])))))

    return LevelLosses(float(np.abs(error_T).mean()), float((near_K1 * np.abs(error_K)).mean()), backward)


def _nearness(place: Array, targets: Tokens) -> float:
    return 1 / math.sqrt(min(math.dist(place, target) for target in targets.place_N3))


def _fused(levels: list[Array], weights: Weights) -> tuple[Array, Callable[[Array], list[Array]]]:
    """Norms of all but the last level, side by side, then the first half of an MLP."""
    normed, passes = [], []
    for number, z_NF in enumerate(levels[:-1]):
        z_NF, into_norm = layers.scaled_norm(z_NF, weights, f"predictor.norms.{number}")
        normed.append(z_NF)
        passes.append(into_norm)
    h_NF, into_linear = layers.linear(
        np.concatenate([*normed, levels[-1]], axis=1), weights, "predictor.fusion.0"
    )
    h_NF, into_gelu = layers.gelu(h_NF)

    def backward(dh_NF: Array) -> list[Array]:
        *parts, last = np.split(into_linear(into_gelu(dh_NF)), len(levels), axis=1)
        return [*(into(part) for into, part in zip(passes, parts, strict=True)), last]

    return h_NF, backward
