"""Heads from maps of token features to voxels: one linear layer, or a decoder as in UNETR."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from octshard.config.dense import DenseHeads
from octshard.eval.dense import monai_parts
from octshard.eval.dense.token_source import TokenSource
from octshard.imaging.volume import Shape, product, triple

NARROW = (
    8  # channels up to which a CPU convolves faster with channels last: 37 % at 4, 13 % at 8, slower at 16
)
WIDEST = 8  # times the width at full resolution: UNETR, Hatamizadeh et al. 2022


class LinearHead(nn.Module):
    """Of each token alone, at all of its depths: `outputs` numbers for every voxel of its patch."""

    def __init__(self, source: TokenSource, outputs: int, patch: Shape) -> None:
        super().__init__()
        self.patch, self.distinct = patch, source.distinct
        self.proj = nn.Linear(sum(source.widths[i] for i in source.distinct), outputs * product(patch))

    def forward(self, levels: Sequence[Tensor], x_BCDHW: Tensor) -> Tensor:
        """(B, outputs, D, H, W)."""
        z_BFDHW = torch.cat([levels[i] for i in self.distinct], dim=1)
        z = self.proj(z_BFDHW.movedim(1, -1)).unflatten(-1, (-1, *self.patch))
        batch, d, h, w, outputs, pd, ph, pw = z.shape
        return z.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(batch, outputs, d * pd, h * ph, w * pw)


class UnetrDecoder(nn.Module):
    """Grows the tokens of the last depth to voxels in stages, and at each joins those of an earlier depth,
    grown as far; at the last one the voxels, if `heads.voxels`.
    """

    def __init__(self, widths: Sequence[int], outputs: int, patch: Shape, heads: DenseHeads) -> None:
        super().__init__()
        factors = stages_of(patch)
        last = len(factors)
        channels = [min(WIDEST, 2 ** (last - s)) * heads.width for s in range(1, last + 1)]
        self.paths = nn.ModuleList()
        for s in range(1, last):
            steps = [
                monai_parts.upsampling(
                    channels[s - 1] if i else widths[last - s - 1], channels[s - 1], factor
                )
                for i, factor in enumerate(factors[:s])
            ]
            self.paths.append(nn.Sequential(*steps))
        entry = [widths[-1], *channels]
        self.merges = nn.ModuleList(
            monai_parts.merging(entry[s - 1], channels[s - 1], factors[s - 1]) for s in range(1, last)
        )
        self.voxels = monai_parts.convolutions(1, channels[-1]) if heads.voxels else None
        if self.voxels is not None:
            self.final: nn.Module = monai_parts.merging(entry[last - 1], channels[-1], factors[-1])
        else:
            grown = monai_parts.upsampling(entry[last - 1], channels[-1], factors[-1])
            self.final = nn.Sequential(grown, monai_parts.convolutions(channels[-1], channels[-1]))
        self.out = nn.Conv3d(channels[-1], outputs, 1)

    def forward(self, levels: Sequence[Tensor], x_BCDHW: Tensor) -> Tensor:
        """(B, outputs, D, H, W)."""
        z = levels[-1]
        for s, (path, merge) in enumerate(zip(self.paths, self.merges, strict=True), start=1):
            z = merge(z, path(levels[len(levels) - s - 1]))
        z = self.final(z) if self.voxels is None else self.final(z, self.voxels(x_BCDHW))
        logits: Tensor = self.out(z)
        return logits


def stages_of(patch: Shape) -> list[Shape]:
    """How each axis grows from tokens to voxels, stage by stage; those of few voxels in the first stages.

    (4, 16, 16) -> (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2).
    """
    axes = [_prime_factors(n) for n in patch]
    count = max(1, *map(len, axes))
    padded = [[*factors, *[1] * (count - len(factors))] for factors in axes]
    return [triple(stage) for stage in zip(*padded, strict=True)]


def build(name: str, source: TokenSource, outputs: int, patch: Shape, heads: DenseHeads) -> nn.Module:
    """The head of that name, with weights that torch's seed determines."""
    if name == "linear":
        return LinearHead(source, outputs, patch)
    return UnetrDecoder(source.widths, outputs, patch, heads)


def _prime_factors(number: int) -> list[int]:
    """Greatest first."""
    factors, divisor = [], 2
    while number > 1:
        if number % divisor:
            divisor += 1
        else:
            factors.append(divisor)
            number //= divisor
    return factors[::-1]
