"""FLOPs of parts of a model by formula: the matrix products of one volume, and the weights that they take.

A multiplication with its addition counts two. Backward costs twice its forward. Norms, softmax, views and the
optimizer are left out: together they are below one per cent of ViT-B's step.
"""

from typing import NamedTuple

from octshard.config.train import ModelConfig, TrainConfig
from octshard.imaging.volume import product


class Reading(NamedTuple):
    """What an encoder of all tokens computes of a volume: rows of its matrix products, padding included, and
    pairs of tokens in its attention. Whole numbers, or the mean over volumes.
    """

    rows: float
    pairs: float


def list_reading(count: float) -> Reading:
    """Each of `count` tokens reads all of them."""
    return Reading(count, count**2)


def encoder(model: ModelConfig, reading: Reading) -> float:
    """Forward."""
    return _embedding(model, reading) + _blocks(reading, model.width, model)


def trained_encoder(model: ModelConfig, reading: Reading) -> float:
    """Forward and backward; patches get no gradient, so that the embedding's backward is one product."""
    return 2 * _embedding(model, reading) + 3 * _blocks(reading, model.width, model)


def predictor(cfg: TrainConfig, context: int, targets: int, width_out: int) -> float:
    """Forward of the transformer predictor, from `context` to `targets` tokens of width_out features."""
    width = cfg.predictor.width
    blocks = block(list_reading(context + targets), width, cfg.model.mlp_ratio) * cfg.predictor.depth
    return linear(context, cfg.model.width, width) + blocks + linear(targets, width, width_out)


def block(reading: Reading, width: int, mlp_ratio: float) -> float:
    """Forward: queries, keys, values and output; scores and their mix; the MLP."""
    return (
        4 * linear(reading.rows, width, width)
        + 4 * reading.pairs * width
        + 2 * linear(reading.rows, width, int(width * mlp_ratio))
    )


def linear(rows: float, width_in: int, width_out: int) -> float:
    """Forward."""
    return 2 * rows * width_in * width_out


def block_weights(width: int, mlp_ratio: float) -> int:
    """Of one transformer block, without biases and norms."""
    return 4 * width**2 + 2 * width * int(width * mlp_ratio)


def _embedding(model: ModelConfig, reading: Reading) -> float:
    return linear(reading.rows, product(model.patch), model.width)


def _blocks(reading: Reading, width: int, model: ModelConfig) -> float:
    return block(reading, width, model.mlp_ratio) * model.depth
