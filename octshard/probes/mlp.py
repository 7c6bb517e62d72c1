"""One hidden layer on one row of features per scan: standardised on train, ReLU, dropout."""

from collections.abc import Iterator

import torch
from torch import Tensor

from octshard.config.head import MlpConfig
from octshard.probes import grid
from octshard.probes.examples import Examples, even, standardisation
from octshard.probes.grid import Network, Parameters
from octshard.probes.head import Candidate, HeadSpec


def candidates(train: Examples, val: Examples, spec: HeadSpec) -> Iterator[Candidate]:
    """A head for each learning rate and weight decay."""
    return grid.candidates(network(train, spec.cfg.mlp), spec.cfg.mlp, train, val, spec)


def network(train: Examples, cfg: MlpConfig) -> Network:
    """x_BF -> hidden -> outputs."""
    mean_F, scale_F = (torch.from_numpy(v).float() for v in standardisation(train.x_NF, even(train)))
    width = len(mean_F)

    def start(generator: torch.Generator, outputs: int) -> dict[str, Tensor]:
        shapes = {"hidden": (width, cfg.width), "head": (cfg.width, outputs)}
        weights = {name: grid.drawn(shape, generator) for name, shape in shapes.items()}
        return {**weights, "hidden_bias": torch.zeros(cfg.width), "head_bias": torch.zeros(outputs)}

    def outputs(stacked: Parameters, x_BF: Tensor, generator: torch.Generator | None) -> Tensor:
        x_BF = (x_BF - mean_F) / scale_F
        hidden_GBH = torch.relu(x_BF @ stacked["hidden"] + stacked["hidden_bias"][:, None])
        if generator is not None and cfg.dropout:
            kept_BH = torch.rand(hidden_GBH.shape[1:], generator=generator) >= cfg.dropout
            hidden_GBH = hidden_GBH * kept_BH / (1 - cfg.dropout)
        return hidden_GBH @ stacked["head"] + stacked["head_bias"][:, None]

    return Network(start, outputs)
