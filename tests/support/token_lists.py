"""Tokens and places of made-up volumes, drawn as a run draws them, and packed as it packs them."""

from collections.abc import Sequence

from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.imaging.volume import product, triple, valid_tokens
from octshard.models import position
from octshard.models.tokens import Tokens
from octshard.stream.batch_shape import BatchShape
from octshard.train.objectives import masks
from octshard.train.objectives.places import Places, list_tokens
from octshard.train.objectives.token_counts import list_lengths
from octshard.train.sequence_lengths import DrawLengths
from octshard.train.sequences import SequencePlan


def draw_lists(
    cfg: TrainConfig, valid_B3: Tensor, keys: Sequence[str], length: int | None = None
) -> tuple[Tokens, list[Places]]:
    """In lists of `length`, by default of all tokens of the grid."""
    epochs = [0] * len(keys)
    everything, patch = position.shape_of(cfg.model)
    tokens = length or product(position.grid_of(cfg.model))
    most = max(product(valid_tokens(triple(extent), everything, patch)) for extent in valid_B3.tolist())
    shape = BatchShape(everything, tokens, 1, most)
    drawn = masks.draw(cfg, list_lengths(cfg, shape), valid_B3, cfg.run.seed, epochs, keys)
    return list_tokens(cfg, shape, drawn, valid_B3, list(zip(epochs, keys, strict=True)))


def packed_lists(
    lists: tuple[Tokens, list[Places]], lengths: tuple[int, ...] | None = None
) -> tuple[Tokens, list[Places]]:
    """In sequences of any length, or of a few: the same ones for all tokens, contexts and targets."""
    tokens, place_sets = lists
    draws = (DrawLengths(lengths, lengths),) * len(place_sets) if lengths else ()
    return SequencePlan(True, lengths, 0.0, 0.0, (draws,)).apply(tokens, place_sets)
