"""Layers of a transformer in float64. Each returns its output and its backward pass, a function from the
derivative of the output to that of the input, which adds the gradients of the layer's weights.

From the formulas: nothing here knows torch. Rows are tokens.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import erf

from tests.support.numpy_step.weights import Array, Weights

Backward = Callable[[Array], Array]
LAYER_NORM_EPS = 1e-6
BATCH_NORM_EPS = 1e-5


def linear(x_NI: Array, weights: Weights, name: str) -> tuple[Array, Backward]:
    """x W^T + b."""
    matrix_OI = weights[f"{name}.weight"]

    def backward(dy_NO: Array) -> Array:
        weights.add(f"{name}.weight", dy_NO.T @ x_NI)
        weights.add(f"{name}.bias", dy_NO.sum(0))
        return dy_NO @ matrix_OI

    return x_NI @ matrix_OI.T + weights[f"{name}.bias"], backward


def normed(x_NF: Array, axis: int, eps: float) -> tuple[Array, Backward]:
    """(x - mean) / sqrt(var + eps), both over `axis`; the variance is that of a population."""
    scale = np.sqrt(x_NF.var(axis, keepdims=True) + eps)
    y_NF = (x_NF - x_NF.mean(axis, keepdims=True)) / scale

    def backward(dy_NF: Array) -> Array:
        along = (dy_NF * y_NF).mean(axis, keepdims=True)
        return (dy_NF - dy_NF.mean(axis, keepdims=True) - y_NF * along) / scale

    return y_NF, backward


def scaled_norm(x_NF: Array, weights: Weights, name: str, axis: int = 1) -> tuple[Array, Backward]:
    """Layer norm (axis 1: over features) or batch norm (axis 0: over tokens), with weight and bias."""
    unit_NF, into_unit = normed(x_NF, axis, LAYER_NORM_EPS if axis == 1 else BATCH_NORM_EPS)
    gain_F = weights[f"{name}.weight"]

    def backward(dy_NF: Array) -> Array:
        weights.add(f"{name}.weight", (dy_NF * unit_NF).sum(0))
        weights.add(f"{name}.bias", dy_NF.sum(0))
        return into_unit(dy_NF * gain_F)

    return unit_NF * gain_F + weights[f"{name}.bias"], backward


def gelu(x: Array) -> tuple[Array, Backward]:
    """x P(X <= x) for a standard normal X."""
    below = (1 + erf(x / np.sqrt(2))) / 2
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return x * below, lambda dy: dy * (below + x * density)


def rotated(x_NF: Array, angle_NP: Array | None) -> tuple[Array, Backward]:
    """Each pair (2k, 2k + 1) as a complex number, times exp(i angle)."""
    if angle_NP is None:
        return x_NF, lambda dy: dy
    turn_NP = np.exp(1j * angle_NP)
    return _turned(x_NF, turn_NP), lambda dy_NF: _turned(dy_NF, turn_NP.conj())


def softmax(x_NN: Array) -> tuple[Array, Backward]:
    """exp(x) by row, of sum 1; -inf gives 0."""
    e_NN = np.exp(x_NN - x_NN.max(1, keepdims=True))
    p_NN = e_NN / e_NN.sum(1, keepdims=True)
    return p_NN, lambda dp_NN: p_NN * (dp_NN - (dp_NN * p_NN).sum(1, keepdims=True))


def head(
    query_NF: Array, key_NF: Array, value_NF: Array, real_N: Array
) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]:
    """softmax(q k^T / sqrt(F)) v over the keys that are real."""
    scale = query_NF.shape[1] ** -0.5
    p_NN, into_scores = softmax(np.where(real_N, query_NF @ key_NF.T * scale, -np.inf))

    def backward(dy_NF: Array) -> tuple[Array, Array, Array]:
        ds_NN = np.where(real_N, into_scores(dy_NF @ value_NF.T), 0) * scale
        return ds_NN @ key_NF, ds_NN.T @ query_NF, p_NN.T @ dy_NF

    return p_NN @ value_NF, backward


def _turned(x_NF: Array, turn_NP: Array) -> Array:
    pairs_NP = (x_NF[:, 0::2] + 1j * x_NF[:, 1::2]) * turn_NP
    return np.stack([pairs_NP.real, pairs_NP.imag], axis=2).reshape(x_NF.shape)
