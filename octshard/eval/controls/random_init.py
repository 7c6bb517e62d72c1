"""The control of what an architecture does before it learns: the same encoder with random weights.

Some draws: six of them gave a macro AUROC from 0.53 to 0.70, so that one is no control.
"""

from collections.abc import Iterator

from octshard.config.train import TrainConfig
from octshard.eval.controls import RANDOM
from octshard.models.encoder import random_encoder
from octshard.models.vit import Encoder
from octshard.rng import seed_for


def encoders(cfg: TrainConfig, seed: int, draws: int) -> Iterator[tuple[str, Encoder]]:
    """(name of the draw, encoder of that draw), as many as asked for; fewer are the first of more."""
    for draw in range(draws):
        yield draw_name(draw), random_encoder(cfg, seed_for(seed, RANDOM, *([draw] if draw else [])))


def draw_name(draw: int) -> str:
    """random-init, random-init-2, ..."""
    return f"{RANDOM}-{draw + 1}" if draw else RANDOM
