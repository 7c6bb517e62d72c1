"""Tokens and places of made-up volumes, drawn as a run draws them."""

from collections.abc import Sequence

from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.imaging.volume import product, triple
from octshard.models import position
from octshard.models.tokens import Tokens
from octshard.stream.batch_shape import BatchShape
from octshard.train.objectives import masks
from octshard.train.objectives.places import Places, list_tokens


def draw_lists(
    cfg: TrainConfig, valid_B3: Tensor, keys: Sequence[str], length: int | None = None
) -> tuple[Tokens, list[Places]]:
    """In lists of `length`, by default of all tokens of the grid."""
    epochs = [0] * len(keys)
    drawn = masks.draw(cfg, masks.token_counts(cfg), valid_B3, cfg.run.seed, epochs, keys)
    tokens = length or product(position.grid_of(cfg.model))
    shape = BatchShape(triple(cfg.model.image_size), tokens, padded=True)
    return list_tokens(cfg, shape, drawn, valid_B3, list(zip(epochs, keys, strict=True)))
