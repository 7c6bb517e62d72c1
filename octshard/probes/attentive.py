"""The attentive probe: a learned query attends to the tokens of a scan, then a linear layer.

As in V-JEPA and V-JEPA 2 (Bardes et al. 2024, Assran et al. 2025): one cross-attention block, whose output
goes through a residual MLP. With one query, keys need not be made: its product with the key weights meets the
tokens directly, and values are made of their weighted mean. Tokens are read twice a step, whatever the grid.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

from octshard.config.head import AttentiveConfig
from octshard.errors import OctshardError, UsageError
from octshard.probes import grid
from octshard.probes.examples import Examples, even
from octshard.probes.grid import Network, Parameters
from octshard.probes.head import Candidate, HeadSpec

HEAD_WIDTH, MLP_RATIO = 64, 4  # as the encoders have it


def candidates(train: Examples, val: Examples, spec: HeadSpec) -> Iterator[Candidate]:
    """A head for each learning rate and weight decay."""
    return grid.candidates(network(train, spec.cfg.attentive), spec.cfg.attentive, train, val, spec)


def network(train: Examples, cfg: AttentiveConfig) -> Network:
    """x_BTF, in which a row of zeros is padding, -> outputs."""
    mean_F, scale_F = (torch.from_numpy(v).float() for v in token_standardisation(train))
    width = len(mean_F)
    heads = cfg.heads or max(1, width // HEAD_WIDTH)
    if width % heads:
        raise UsageError(f"attentive.heads={heads}: features have width {width}, want a divisor of it")

    def start(generator: torch.Generator, outputs: int) -> dict[str, Tensor]:
        square, hidden = (width, width), MLP_RATIO * width
        shapes = {
            "query": (width,), "key": square, "value": square, "out": square,
            "mlp_in": (width, hidden), "mlp_out": (hidden, width), "head": (width, outputs),
        }  # fmt: skip
        biases = {"value_bias": width, "out_bias": width, "mlp_in_bias": hidden, "mlp_out_bias": width}
        zeros = {name: torch.zeros(size) for name, size in {**biases, "head_bias": outputs}.items()}
        return {**{name: grid.drawn(shape, generator) for name, shape in shapes.items()}, **zeros}

    def standard(x_BTF: Tensor) -> tuple[Tensor, Tensor]:
        return (x_BTF - mean_F) / scale_F, (x_BTF != 0).any(-1)

    def outputs(stacked: Parameters, x_BTF: Tensor, generator: torch.Generator | None) -> Tensor:
        z_GBF = pooled(stacked, *standard(x_BTF), heads)
        hidden_GBH = gelu(_linear(stacked, "mlp_in", layer_norm(z_GBF, (width,))))
        z_GBF = z_GBF + _linear(stacked, "mlp_out", hidden_GBH)
        return _linear(stacked, "head", layer_norm(z_GBF, (width,)))

    def attention(stacked: Parameters, x_BTF: Tensor) -> Tensor:
        return weights(stacked, *standard(x_BTF), heads)

    return Network(start, outputs, attention)


def pooled(stacked: Parameters, z_BTF: Tensor, valid_BT: Tensor, heads: int) -> Tensor:
    """(G, B, F): query + the output of its attention over the valid tokens."""
    members, width = stacked["query"].shape
    attention_BTX = weights(stacked, z_BTF, valid_BT, heads)
    mean_BGHF = (attention_BTX.transpose(1, 2) @ z_BTF).unflatten(1, (members, heads))
    value_GFHD = stacked["value"].unflatten(2, (heads, width // heads))
    value_GBF = torch.einsum("bghf,gfhd->gbhd", mean_BGHF, value_GFHD).flatten(2)
    value_GBF = value_GBF + stacked["value_bias"][:, None]
    return stacked["query"][:, None] + _linear(stacked, "out", value_GBF)


def weights(stacked: Parameters, z_BTF: Tensor, valid_BT: Tensor, heads: int) -> Tensor:
    """(B, T, G x heads): how much each head of each member attends to each token; adds up to 1 over T."""
    size = stacked["query"].shape[-1] // heads
    query_GHD = stacked["query"].unflatten(1, (heads, size)) / size**0.5
    folded_FX = torch.einsum("gfhd,ghd->fgh", stacked["key"].unflatten(2, (heads, size)), query_GHD).flatten(
        1
    )
    return (z_BTF @ folded_FX).masked_fill(~valid_BT[..., None], -torch.inf).softmax(1)


def token_standardisation(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population std of each feature over the valid tokens, each participant alike; float64.

    OctshardError for a scan without any.
    """
    moment_2F, weight_N = np.zeros((2, examples.x_NF.shape[2])), even(examples) / len(examples.y_N)
    for weight, x_TF, person in zip(weight_N, examples.x_NF, examples.participants, strict=True):
        valid_VF = x_TF[(x_TF != 0).any(-1)].astype(np.float64)
        if not len(valid_VF):
            raise OctshardError(
                f"head attentive: a scan of {person} has no token but zeros, want one at least"
            )
        moment_2F += weight * np.stack([valid_VF.mean(0), np.square(valid_VF).mean(0)])
    mean_F, std_F = moment_2F[0], np.sqrt(np.maximum(moment_2F[1] - moment_2F[0] ** 2, 0))
    flat_F = std_F <= 1e-6 * np.maximum(np.abs(mean_F), 1e-6)
    return mean_F, np.where(flat_F, 1.0, std_F)


def _linear(stacked: Parameters, name: str, x_GBF: Tensor) -> Tensor:
    return x_GBF @ stacked[name] + stacked[f"{name}_bias"][:, None]
