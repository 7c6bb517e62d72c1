"""What the heads read of a batch: features of its valid tokens at several depths of a frozen encoder.

Raw intensity is treated alike: the features of a token are then the voxels of its patch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from octshard.imaging.volume import Shape, product
from octshard.models.tokens import Tokens, to_grid
from octshard.models.vit import Encoder, token_patches

STD_FLOOR = 1e-6


@dataclass(frozen=True, eq=False)
class TokenSource:
    """levels_of: normalised voxels and their tokens -> (B, V, F) for each of `widths`, the deepest last.

    depths: of the levels, equal where two are the same features.
    """

    name: str
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    levels_of: Callable[[Tensor, Tokens], Sequence[Tensor]]

    @property
    def distinct(self) -> tuple[int, ...]:
        """Numbers of the levels without repetition."""
        return tuple(self.depths.index(depth) for depth in dict.fromkeys(self.depths))


@dataclass(frozen=True, eq=False)
class Scale:
    """Mean and standard deviation of each feature over the tokens of train, on the device; one of a level."""

    mean_F: Tensor
    std_F: Tensor


def encoder_source(name: str, encoder: Encoder, levels: int) -> TokenSource:
    """Features after equal parts of the blocks: those of UNETR, Hatamizadeh et al. 2022, with 4 levels."""
    blocks = len(encoder.blocks)
    depths = [max(1, round(blocks * (i + 1) / levels)) for i in range(levels)]
    distinct = sorted(set(depths))

    def levels_of(x_BCDHW: Tensor, tokens: Tokens) -> list[Tensor]:
        features = dict(zip(distinct, encoder.levels(x_BCDHW, tokens, distinct), strict=True))
        return [features[depth] for depth in depths]

    return TokenSource(name, (encoder.embed.out_features,) * levels, tuple(depths), levels_of)


def voxel_source(name: str, encoder: Encoder, levels: int) -> TokenSource:
    """The same heads on what an encoder is given; no weight of it is used."""
    patch, grid = encoder.patch, encoder.grid

    def levels_of(x_BCDHW: Tensor, tokens: Tokens) -> list[Tensor]:
        return [token_patches(x_BCDHW, tokens.index_BV, patch, grid)] * levels

    return TokenSource(name, (product(patch),) * levels, (0,) * levels, levels_of)


class ScaleSums:
    """Adds up features of valid tokens for `Scale`, on the host, in float64."""

    def __init__(self, widths: Sequence[int]) -> None:
        self._sums = [torch.zeros(3, width, dtype=torch.float64) for width in widths]

    def add(self, levels: Sequence[Tensor], padding_BV: Tensor | None) -> None:
        """One batch."""
        for sums, z_BVF in zip(self._sums, levels, strict=True):
            z_NF = z_BVF.double().flatten(0, 1)
            weight_N1 = torch.ones_like(z_NF[:, :1])
            if padding_BV is not None:
                weight_N1 = (~padding_BV).reshape(-1, 1).double()
            parts = (weight_N1.expand_as(z_NF), weight_N1 * z_NF, weight_N1 * z_NF**2)
            sums += torch.stack([part.sum(0) for part in parts]).cpu()

    def scales(self, device: torch.device) -> list[Scale]:
        """One of each level."""
        scales = []
        for count_F, total_F, squares_F in self._sums:
            mean_F = total_F / count_F
            std_F = (squares_F / count_F - mean_F**2).clamp(min=0).sqrt().clamp(min=STD_FLOOR)
            scales.append(Scale(mean_F.float().to(device), std_F.float().to(device)))
        return scales


def maps(
    levels: Sequence[Tensor], scales: Sequence[Scale], tokens: Tokens, grid: Shape, box: Shape
) -> list[Tensor]:
    """Standardised levels as float32 (B, F, d, h, w) on the grid of a box; 0 where no token holds the volume.

    grid: of the whole image, in which tokens are numbered; box: tokens along D, H, W of the batch's voxels.
    """
    d, h, w = box
    result = []
    for z_BVF, scale in zip(levels, scales, strict=True):
        z_BNF = to_grid((z_BVF.float() - scale.mean_F) / scale.std_F, tokens, product(grid))
        result.append(z_BNF.unflatten(1, grid)[:, :d, :h, :w].movedim(-1, 1))
    return result
