"""AdamW with a learning rate for each layer: the nearer to the voxels, the lower (BEiT, Bao et al. 2022).

As timm's `param_groups_layer_decay` has it for its own ViTs: the embedding is layer 0, block i layer i + 1,
the encoder's last norm is in the layer of its last block, and the head has the base lr. timm is optional, and
this is short.
"""

import re
from typing import NamedTuple

import torch
from torch import nn

BLOCK = re.compile(r"encoder\.blocks\.(\d+)\.")


class Rates(NamedTuple):
    """layer_decay: lr of a layer by that of the next one; weight_decay: of weights of several axes."""

    layer_decay: float
    weight_decay: float


def layer_of(name: str, depth: int) -> int:
    """Of a parameter of `FinetuneModel`, with so many blocks."""
    if match := BLOCK.match(name):
        return int(match[1]) + 1
    if name.startswith("encoder."):
        return 0 if name.startswith("encoder.embed.") else depth
    return depth + 1


def parameter_groups(model: nn.Module, depth: int, rates: Rates) -> list[dict[str, object]]:
    """For torch.optim: `scale` is what the lr of each group is multiplied by."""
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((layer_of(name, depth), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "scale": rates.layer_decay ** (depth + 1 - layer),
            "weight_decay": rates.weight_decay if decayed else 0.0,
        }
        for (layer, decayed), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def build(model: nn.Module, depth: int, rates: Rates) -> torch.optim.AdamW:
    """`set_lr` comes before each step. On XLA a changing number would be compiled anew: there lr is a tensor,
    and the count of steps lies on the device.
    """
    device = next(model.parameters()).device.type
    groups = parameter_groups(model, depth, rates)
    return torch.optim.AdamW(groups, capturable=device == "xla", foreach=device != "xla")
