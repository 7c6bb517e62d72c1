"""Stochastic depth (Huang et al. 2016): in training branches of blocks are left out, volume by volume.

Drawn on the host from (seed, epoch, key), as masks are: the same whatever the batch, the processes, or where
a run goes on. What stays is divided by the chance that it does, so that its mean is that of all blocks.
"""

from collections.abc import Sequence

import numpy as np
import torch

from octshard.config.model import ModelConfig
from octshard.config.train import TrainConfig
from octshard.models.flops import attentions
from octshard.rng import rng_for
from octshard.train.objectives.places import Places


def rates(model: ModelConfig) -> np.ndarray:
    """(L,): how often a branch of each block is left out, linear in its depth, model.drop_path at the end."""
    return model.drop_path * np.arange(1, model.depth + 1) / model.depth


def drawn(
    cfg: TrainConfig, place_sets: Sequence[Places], epochs: Sequence[int], keys: Sequence[str]
) -> list[Places]:
    """The places with what branches of the trained encoder are multiplied by: 0, or 1 / (1 - rate)."""
    if not cfg.model.drop_path:
        return list(place_sets)
    rate_L1, branches = rates(cfg.model)[:, None], attentions(cfg.model) + 1
    made = []
    for i, places in enumerate(place_sets):
        uniform_BLR = np.stack(
            [
                rng_for("drop path", i, cfg.run.seed, epoch, key).random((len(rate_L1), branches))
                for epoch, key in zip(epochs, keys, strict=True)
            ]
        )
        scale_BLR = np.where(uniform_BLR < rate_L1, 0, 1 / (1 - rate_L1)).astype(np.float32)
        made.append(places._replace(scale_BLR=torch.from_numpy(scale_BLR)))
    return made
