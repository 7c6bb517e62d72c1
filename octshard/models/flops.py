"""FLOPs of parts of a model by formula: the matrix products of one volume, and the weights that they take.

A multiplication with its addition counts two. Backward costs twice its forward. Norms, softmax, views and the
optimizer are left out: together they are below one per cent of ViT-B's step.
"""

from typing import NamedTuple

from octshard.config.model import ModelConfig
from octshard.config.train import TrainConfig
from octshard.imaging.volume import Shape, product, triple
from octshard.models import divided, position
from octshard.models.position import FINE


class Reading(NamedTuple):
    """What transformer blocks compute of a volume: rows of their matrix products, padding included, and
    pairs of tokens in their attention where that is joint. Whole numbers, or the mean over volumes. box: of
    the volumes, in tokens, which decides on the pairs of divided attention; None: the whole grid.
    """

    rows: float
    pairs: float
    box: Shape | None = None


class DrawReading(NamedTuple):
    """Of a draw of a mask set: how long its lists of context (K) and targets (T) are, which is what all but
    blocks computes; and what blocks compute of the context, and of context and targets together.
    """

    K: int
    T: int
    context: Reading
    joint: Reading


class StepReading(NamedTuple):
    """Of a volume in a step: how long the list of all its tokens is (V), what blocks compute of it, and of
    each draw of each mask set.
    """

    V: int
    tokens: Reading
    draws: tuple[DrawReading, ...]


def list_reading(count: float, box: Shape | None = None) -> Reading:
    """A list of `count` tokens; box: as in `Reading`."""
    return Reading(count, count**2, box)


def listed_draw(cfg: TrainConfig, K: int, T: int, box: Shape | None = None) -> DrawReading:
    """In lists of K, and of K + T tokens. box: as in `Reading`, of all tokens."""
    coarse = position.coarser(box or position.grid_of(cfg.model), triple(cfg.objective.context_scale))
    return DrawReading(K, T, list_reading(K, coarse), list_reading(K + T, box))


def encoder(model: ModelConfig, reading: Reading) -> float:
    """Forward."""
    block = _block(model, reading.rows, _pairs(model, reading), model.width)
    return _embedding(model, reading) + block * model.depth


def trained_encoder(model: ModelConfig, reading: Reading) -> float:
    """Forward and backward, with what model.checkpointing computes again; patches get no gradient, so that
    the embedding's backward is one product.
    """
    block = _trained_block(model, reading.rows, _pairs(model, reading), model.width)
    return 2 * _embedding(model, reading) + block * model.depth


def trained_predictor(cfg: TrainConfig, draw: DrawReading, width_out: int) -> float:
    """Forward and backward of the transformer predictor, with what model.checkpointing computes again.

    width_out: features of each target.
    """
    width, reading = cfg.predictor.width, draw.joint
    pairs = _pairs(cfg.model, reading)
    if cfg.model.attention == "divided" and triple(cfg.objective.context_scale) != FINE:
        pairs = 2 * reading.pairs  # of tokens of two grids: masked
    blocks = _trained_block(cfg.model, reading.rows, pairs, width) * cfg.predictor.depth
    return 3 * (linear(draw.K, cfg.model.width, width) + linear(draw.T, width, width_out)) + blocks


def attentions(model: ModelConfig) -> int:
    """Of a block."""
    return 2 if model.attention == "divided" else 1


def linear(rows: float, width_in: int, width_out: int) -> float:
    """Forward."""
    return 2 * rows * width_in * width_out


def block_weights(model: ModelConfig, width: int) -> int:
    """Of one transformer block, without biases and norms."""
    return attentions(model) * 4 * width**2 + 2 * width * int(width * model.mlp_ratio)


def _embedding(model: ModelConfig, reading: Reading) -> float:
    return linear(reading.rows, product(model.patch), model.width)


def _pairs(model: ModelConfig, reading: Reading) -> float:
    """Of tokens, in all attentions of a block."""
    if model.attention == "joint":
        return reading.pairs
    return divided.pairs(reading.rows, reading.box or position.grid_of(model))


def _block(model: ModelConfig, rows: float, pairs: float, width: int) -> float:
    """Forward: queries, keys, values and output; scores and their mix; the MLP."""
    return (
        attentions(model) * 4 * linear(rows, width, width)
        + 4 * pairs * width
        + 2 * linear(rows, width, int(width * model.mlp_ratio))
    )


def _trained_block(model: ModelConfig, rows: float, pairs: float, width: int) -> float:
    """Forward and backward. What is computed again ends before the last product, of no use to it."""
    once = _block(model, rows, pairs, width)
    last = linear(rows, int(width * model.mlp_ratio), width)
    return 3 * once + (once - last if model.checkpointing else 0)
