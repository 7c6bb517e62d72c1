"""FLOPs of a volume by formula: the matrix products of a training step and of a frozen encoder.

A multiplication with its addition counts two. Backward costs twice its forward. Norms, softmax, views and the
optimizer are left out: together they are below one per cent of ViT-B's step.
"""

from collections.abc import Mapping
from typing import NamedTuple

from octshard.config.train import ModelConfig, TrainConfig
from octshard.imaging.volume import product
from octshard.stream.index import SampleIndex, sampler_config, token_grid
from octshard.train.objectives import masks
from octshard.train.objectives.masks import TokenCounts


class StepFlops(NamedTuple):
    """Of one volume in a training step: target encoder forward; encoder and predictor with their backward."""

    target: float
    encoder: float
    predictor: float

    @property
    def total(self) -> float:
        """Of the whole step."""
        return sum(self)


class Reading(NamedTuple):
    """What an encoder of all tokens computes of a volume: rows of its matrix products, padding included, and
    pairs of tokens in its attention. Whole numbers, or the mean over volumes.
    """

    rows: float
    pairs: float


def list_reading(count: float) -> Reading:
    """Each of `count` tokens reads all of them."""
    return Reading(count, count**2)


def step_flops(cfg: TrainConfig, encoded: int) -> StepFlops:
    """A volume of which the target encoder (with `byol` both encoders) reads `encoded` tokens."""
    return flops_of(cfg, list_reading(encoded))


def flops_of(cfg: TrainConfig, reading: Reading) -> StepFlops:
    """As `step_flops`, of any reading."""
    encoder, predictor = 0.0, 0.0
    for counts in masks.token_counts(cfg):
        if cfg.objective.name == "vjepa2":
            encoder += _trained_encoder(cfg.model, list_reading(counts.K))
            predictor += 3 * _transformer_predictor(cfg, counts)
        else:
            encoder += _trained_encoder(cfg.model, reading)
            predictor += 3 * 2 * _linear(counts.T, cfg.model.width, cfg.predictor.width)
    return StepFlops(_encoder(cfg.model, reading), encoder, predictor)


def encoder_flops(model: ModelConfig, encoded: int) -> float:
    """The forward of the encoder over `encoded` tokens."""
    return _encoder(model, list_reading(encoded))


def padding_share(
    cfg: TrainConfig, encoded: int, valid_counts: Mapping[int, float], reading: Reading | None = None
) -> float:
    """The share of a step's FLOPs that is spent on tokens of pure padding. valid_counts: how often volumes of
    so many valid tokens are seen, in any unit. reading: what is computed of a volume; None: lists of
    `encoded` tokens. Attention with padding keys is computed densely, so it counts.
    """
    total = sum(valid_counts.values())
    useful = sum(often * step_flops(cfg, min(valid, encoded)).total for valid, often in valid_counts.items())
    spent = flops_of(cfg, reading or list_reading(encoded)).total
    return max(0.0, 1 - useful / total / spent)  # rounding must not say -0.0 %


def valid_counts(index: SampleIndex, cfg: TrainConfig) -> dict[int, float]:
    """Valid tokens of a volume -> the share of what is seen that volumes of so many are, by data.weights and
    data.balance too.
    """
    domains = sampler_config(index, cfg).domains
    shares: dict[int, float] = {}
    for domain in domains:
        often = domain.weight / sum(each.weight for each in domains) / domain.samples
        for first, count in domain.shards:
            for sample in index.samples[first : first + count]:
                valid = product(token_grid(sample.shape, cfg))
                shares[valid] = shares.get(valid, 0.0) + often
    return shares


def text(count: float) -> str:
    """A number of FLOPs with its unit."""
    return f"{count / 1e12:.3g} TFLOP" if count >= 1e12 else f"{count / 1e9:.3g} GFLOP"


def _encoder(model: ModelConfig, reading: Reading) -> float:
    return _embedding(model, reading) + _blocks(reading, model.width, model)


def _trained_encoder(model: ModelConfig, reading: Reading) -> float:
    """Forward and backward; patches get no gradient, so that the embedding's backward is one product."""
    return 2 * _embedding(model, reading) + 3 * _blocks(reading, model.width, model)


def _transformer_predictor(cfg: TrainConfig, counts: TokenCounts) -> float:
    width, model_width = cfg.predictor.width, cfg.model.width
    blocks = _block(list_reading(counts.K + counts.T), width, cfg.model.mlp_ratio) * cfg.predictor.depth
    return _linear(counts.K, model_width, width) + blocks + _linear(counts.T, width, model_width)


def _embedding(model: ModelConfig, reading: Reading) -> float:
    return _linear(reading.rows, product(model.patch), model.width)


def _blocks(reading: Reading, width: int, model: ModelConfig) -> float:
    return _block(reading, width, model.mlp_ratio) * model.depth


def _block(reading: Reading, width: int, mlp_ratio: float) -> float:
    """Queries, keys, values and output; scores and their mix; the MLP."""
    return (
        4 * _linear(reading.rows, width, width)
        + 4 * reading.pairs * width
        + 2 * _linear(reading.rows, width, int(width * mlp_ratio))
    )


def _linear(rows: float, width_in: int, width_out: int) -> float:
    return 2 * rows * width_in * width_out
