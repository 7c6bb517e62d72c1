"""From stored uint8 voxels to what the encoders read, on the device: flips, gamma, noise, padding 0.

Context and target share geometry; only the context view is changed in intensity, so that targets stay clean.
Parameters come from (seed, epoch, key), noise from an integer hash: the same on every backend.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from octshard.config import ViewConfig
from octshard.rng import rng_for
from octshard.volume import product

STD_FLOOR = 1.0  # grey levels: a volume with less contrast than that is blank and is not blown up
_LEVELS = 255.0
_BITS32 = 0xFFFFFFFF
# The sum of the four bytes of a 32-bit hash (Irwin-Hall): near normal, and an integer on every backend.
_BYTES_MEAN = 4 * 255 / 2
_BYTES_STD = (4 * (256**2 - 1) / 12) ** 0.5


class ViewParams(NamedTuple):
    """What happens to each sample of a batch; all tensors have shape (B,)."""

    flip_d_B: Tensor  # bool
    flip_w_B: Tensor  # bool
    gamma_B: Tensor  # float32, exponent
    noise_B: Tensor  # float32, std in units of the volume's std
    hash_B: Tensor  # int64 in [0, 2**32): seeds the noise

    def to(self, device: torch.device | str) -> "ViewParams":
        """The same on `device`."""
        return ViewParams(*(field.to(device, non_blocking=True) for field in self))


def draw(cfg: ViewConfig, seed: int, epochs: Sequence[int], keys: Sequence[str]) -> ViewParams:
    """Parameters on the host; those of a sample depend on (seed, epoch, key) alone."""
    rows = []
    for epoch, key in zip(epochs, keys, strict=True):
        rng = rng_for("views", seed, epoch, key)
        flip_d, flip_w, gamma = rng.random(3)
        exponent = float(np.exp(cfg.gamma * (2 * gamma - 1)))
        rows.append(
            (flip_d < cfg.flip_d, flip_w < cfg.flip_w, exponent, cfg.noise, int(rng.integers(_BITS32 + 1)))
        )
    flip_d_B, flip_w_B, gamma_B, noise_B, hash_B = zip(*rows, strict=True)
    return ViewParams(
        torch.tensor(flip_d_B, dtype=torch.bool),
        torch.tensor(flip_w_B, dtype=torch.bool),
        torch.tensor(gamma_B, dtype=torch.float32),
        torch.tensor(noise_B, dtype=torch.float32),
        torch.tensor(hash_B, dtype=torch.int64),
    )


def apply(
    voxels_BDHW: Tensor, mean_B: Tensor, std_B: Tensor, valid_B3: Tensor, params: ViewParams
) -> tuple[Tensor, Tensor]:
    """(context, target), each float32 (B, 1, D, H, W): normalised by the volume's mean and std, padding 0.

    Both are flipped alike within the valid extent, so padding stays at the high end. The context view then
    gets gamma (on intensities / 255) and noise; the target view neither.
    """
    voxels_BDHW = _flip(voxels_BDHW, 1, valid_B3[:, 0], params.flip_d_B)
    voxels_BDHW = _flip(voxels_BDHW, 3, valid_B3[:, 2], params.flip_w_B)
    target = plain(voxels_BDHW, mean_B, std_B, valid_B3)
    bent = (voxels_BDHW.float() / _LEVELS) ** _column(params.gamma_B) * _LEVELS
    noise = _column(params.noise_B) * hash_noise(params.hash_B, voxels_BDHW.shape[1:])
    context = (_normalise(bent, mean_B, std_B) + noise) * _inside(voxels_BDHW, valid_B3)
    return context.unsqueeze(1), target


def plain(voxels_BDHW: Tensor, mean_B: Tensor, std_B: Tensor, valid_B3: Tensor) -> Tensor:
    """float32 (B, 1, D, H, W): normalised, padding exactly 0, nothing else. What evaluation reads."""
    x_BDHW = _normalise(voxels_BDHW.float(), mean_B, std_B) * _inside(voxels_BDHW, valid_B3)
    return x_BDHW.unsqueeze(1)


def hash_noise(hash_B: Tensor, shape: Sequence[int]) -> Tensor:
    """float32 (B, *shape): mean 0, std 1, near normal, cut at 3.45 std; equal on every backend."""
    index = torch.arange(product(shape), dtype=torch.int64, device=hash_B.device).reshape(*shape)
    bits = _mix(_mix(index) ^ hash_B.reshape(-1, *(1 for _ in shape)))
    pairs = (bits & 0x00FF00FF) + ((bits >> 8) & 0x00FF00FF)
    total = (pairs & 0xFFFF) + (pairs >> 16)
    return (total.float() - _BYTES_MEAN) / _BYTES_STD


def _mix(x: Tensor) -> Tensor:
    """Scrambles integers in [0, 2**32); products stay below 2**63, so no shift meets a negative number."""
    for _ in range(2):
        x = ((x ^ (x >> 16)) * 0x45D9F3B) & _BITS32
    return x ^ (x >> 16)


def _flip(x_BDHW: Tensor, axis: int, valid_B: Tensor, flip_B: Tensor) -> Tensor:
    """Reverses the first valid_B planes along `axis` where flip_B."""
    place = torch.arange(x_BDHW.shape[axis], device=x_BDHW.device).unsqueeze(0)
    last_B1 = valid_B.unsqueeze(1) - 1
    source = torch.where(flip_B.unsqueeze(1) & (place <= last_B1), last_B1 - place, place)
    return x_BDHW.gather(axis, _along(source, axis).expand_as(x_BDHW))


def _along(index_BX: Tensor, axis: int) -> Tensor:
    shape = [1, 1, 1, 1]
    shape[0], shape[axis] = index_BX.shape
    return index_BX.reshape(shape)


def _inside(voxels_BDHW: Tensor, valid_B3: Tensor) -> Tensor:
    """(B, D, H, W) bool: not padding."""
    inside = [
        _along(
            torch.arange(voxels_BDHW.shape[axis], device=valid_B3.device) < valid_B3[:, axis - 1 : axis], axis
        )
        for axis in (1, 2, 3)
    ]
    return inside[0] & inside[1] & inside[2]


def _normalise(x_BDHW: Tensor, mean_B: Tensor, std_B: Tensor) -> Tensor:
    return (x_BDHW - _column(mean_B)) / _column(std_B.clamp(min=STD_FLOOR))


def _column(value_B: Tensor) -> Tensor:
    return value_B.reshape(-1, 1, 1, 1)
