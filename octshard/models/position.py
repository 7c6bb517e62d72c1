"""Token positions: the grid, fixed 3-D sin-cos vectors, 3-D rotary angles, and gathering tokens by index.

Tables are computed once in float64 and kept in float32; token n is at (n // (h * w), n // w % h, n % w) of
the grid (d, h, w). In a coarser grid a token covers several of the image's tokens and lies in the middle of
them. No shape here depends on data.
"""

import numpy as np
import torch
from torch import Tensor, nn

from octshard.config.model import ModelConfig
from octshard.errors import UsageError
from octshard.imaging.volume import Shape

FINE: Shape = (1, 1, 1)  # the scale of the image's own tokens
_BASE = 10000.0  # of the frequencies, as in "Attention is all you need", Vaswani et al. 2017


def shape_of(model: ModelConfig) -> tuple[Shape, Shape]:
    """(image_size, patch) of `model`; UsageError unless each axis holds a whole number of patches."""
    for name, values in (("image_size", model.image_size), ("patch", model.patch)):
        if len(values) != 3 or min(values) < 1:
            raise UsageError(f"model.{name}: found {list(values)}, want three voxel counts (D, H, W) >= 1")
    (d, h, w), (pd, ph, pw) = model.image_size, model.patch
    if d % pd or h % ph or w % pw:
        raise UsageError(
            f"model.image_size {[d, h, w]}: want a multiple of model.patch {[pd, ph, pw]} on each axis"
        )
    return (d, h, w), (pd, ph, pw)


def grid_of(model: ModelConfig) -> Shape:
    """Tokens along (D, H, W)."""
    (d, h, w), (pd, ph, pw) = shape_of(model)
    return d // pd, h // ph, w // pw


def coarser(grid: Shape, scale: Shape) -> Shape:
    """Tokens along (D, H, W), each of which covers `scale` of `grid`; the last ones may reach beyond it."""
    d, h, w = (-(-n // s) for n, s in zip(grid, scale, strict=True))
    return d, h, w


def check(name: str, position: str, width: int, heads: int) -> None:
    """UsageError unless `heads` divides `width` and a head is wide enough for `position`."""
    if heads < 1 or width < 1 or width % heads:
        raise UsageError(f"{name}.width {width}: want a multiple of {name}.heads {heads}")
    if position == "rope" and (width // heads < 6 or width // heads % 2):
        raise UsageError(f"{name}: {width // heads} features a head; 3-D rope wants an even number >= 6")
    if position == "sincos" and width < 6:
        raise UsageError(f"{name}.width {width}: 3-D sin-cos wants at least 6")


def coordinates(grid: Shape, scale: Shape = FINE) -> np.ndarray:
    """(N, 3) float64: the centre of each token along D, H, W, in tokens of the image, of which it covers
    `scale`; the first token of the image is at 0.
    """
    index_N3 = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), axis=-1).reshape(-1, 3)
    return index_N3 * np.array(scale) + (np.array(scale) - 1) / 2


def sincos(place_N3: np.ndarray, width: int) -> Tensor:
    """(N, width) float32: for each axis sin then cos at width // 6 frequencies, then columns of 0."""
    pairs = width // 6
    omega = _BASE ** (-np.arange(pairs) / pairs)
    angle_N3P = place_N3[:, :, None] * omega
    table = np.concatenate([np.sin(angle_N3P), np.cos(angle_N3P)], axis=-1).reshape(-1, 6 * pairs)
    return torch.from_numpy(np.pad(table, ((0, 0), (0, width - 6 * pairs))).astype(np.float32))


def rope_angles(place_N3: np.ndarray, head_dim: int) -> np.ndarray:
    """(N, head_dim / 2) float64: the angle of each pair of features (2k, 2k+1), V-JEPA 2, Assran et al. 2025.

    Each axis rotates the same even number of features D, the largest that fits three times (64 = 20|20|20
    and 4 that are never rotated), at omega_k = 10000 ** (-k / (D / 2)).
    """
    pairs = head_dim // 6
    omega = _BASE ** (-np.arange(pairs) / pairs)
    angle_NP = (place_N3[:, :, None] * omega).reshape(-1, 3 * pairs)
    return np.pad(angle_NP, ((0, 0), (0, head_dim // 2 - 3 * pairs)))


def apply_rotary(x_BHNF: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotates each pair (2k, 2k+1) by its angle; `rotary`: (cos, sin), (B or 1, 1, N, F / 2) each."""
    cos, sin = rotary
    even, odd = x_BHNF.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2).to(x_BHNF.dtype)


class Position(nn.Module):
    """Position of the tokens: `add_sincos` before the blocks (sincos), `rotary` inside attention (rope).

    place_N3: `coordinates` of the tokens. The tables are fixed, so they are not stored in a checkpoint.
    """

    cos_NP: Tensor
    sin_NP: Tensor
    table_NF: Tensor

    def __init__(self, position: str, place_N3: np.ndarray, width: int, heads: int) -> None:
        super().__init__()
        self.kind = position
        if position == "rope":
            angle_NP = rope_angles(place_N3, width // heads)
            self.register_buffer(
                "cos_NP", torch.from_numpy(np.cos(angle_NP).astype(np.float32)), persistent=False
            )
            self.register_buffer(
                "sin_NP", torch.from_numpy(np.sin(angle_NP).astype(np.float32)), persistent=False
            )
        else:
            self.register_buffer("table_NF", sincos(place_N3, width), persistent=False)

    def add_sincos(self, z_BKF: Tensor, index_BK: Tensor | None) -> Tensor:
        """z with the position vectors of its tokens added (rope: none); `index_BK` None: all N in order."""
        if self.kind == "rope":
            return z_BKF
        return z_BKF + _rows(self.table_NF, index_BK).to(z_BKF.dtype)

    def rotary(self, index_BK: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """(cos, sin) of the tokens, float32 (B or 1, 1 for the heads, K, head_dim / 2); None for sincos."""
        if self.kind != "rope":
            return None
        return _rows(self.cos_NP, index_BK).unsqueeze(1), _rows(self.sin_NP, index_BK).unsqueeze(1)


def in_box(index_BK: Tensor, grid: Shape, box: Shape) -> Tensor:
    """Token numbers of `grid` as those of `box`, its part at the low end of each axis, which holds them."""
    if box == grid:
        return index_BK
    d_BK, h_BK, w_BK = coordinates_of(index_BK, grid)
    return (d_BK * box[1] + h_BK) * box[2] + w_BK


def coordinates_of(index_BK: Tensor, grid: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """Along D, H and W of `grid`, of tokens by their numbers in it."""
    _, height, width = grid
    return index_BK // (height * width), index_BK // width % height, index_BK % width


def gather_tokens(z_BNF: Tensor, index_BK: Tensor) -> Tensor:
    """Tokens `index_BK` of each sample: (B, K, F)."""
    return z_BNF.gather(1, index_BK.unsqueeze(-1).expand(-1, -1, z_BNF.shape[-1]))


def _rows(table_NF: Tensor, index_BK: Tensor | None) -> Tensor:
    if index_BK is None:
        return table_NF.unsqueeze(0)
    return table_NF.index_select(0, index_BK.flatten()).unflatten(0, tuple(index_BK.shape))
