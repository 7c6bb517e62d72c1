"""From the voxels of a batch to what the encoders read, on the device: geometry, gamma, noise, padding 0.

Context and target share geometry; only the context view is changed in intensity, so that targets stay clean.
Parameters come from (seed, epoch, key), noise from an integer hash: the same on every backend.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from octshard.config.train import ViewConfig
from octshard.devices.backend import map_tensors
from octshard.models.normalize import STD_FLOOR, normalize, padding_mask, per_sample, standardize
from octshard.rng import rng_for
from octshard.train.augment.affine import Affine, apply_affine

_LEVELS = 255.0  # of grey
# The sum of the four bytes of a 32-bit hash (Irwin-Hall): near normal, and an integer on every backend.
_BYTES_MEAN = 4 * 255 / 2
_BYTES_STD = (4 * (256**2 - 1) / 12) ** 0.5


class ViewParams(NamedTuple):
    """What happens to each sample of a batch; all tensors have shape (B,)."""

    flip_d_B: Tensor  # bool
    flip_w_B: Tensor  # bool
    gamma_B: Tensor  # float32, exponent
    noise_B: Tensor  # float32, std in units of the volume's std
    speckle_B: Tensor  # float32, std as a fraction of the grey level
    hash_B: Tensor  # int64 in [0, 2**32): seeds the noise
    affine: Affine | None  # None: the config sets none, which saves its cost

    def to(self, device: torch.device | str) -> "ViewParams":
        """The same on `device`."""
        params: ViewParams = map_tensors(self, lambda t: t.to(device, non_blocking=True))
        return params


def draw(cfg: ViewConfig, seed: int, epochs: Sequence[int], keys: Sequence[str]) -> ViewParams:
    """Parameters on the host; those of a sample depend on (seed, epoch, key) alone.

    Every number is drawn, whether the config uses it or not, and new ones are drawn last: no setting changes
    the numbers of another.
    """
    size = len(keys)
    uniform_BX, hash_B = np.empty((size, 11)), np.empty(size, np.int64)
    for i, (epoch, key) in enumerate(zip(epochs, keys, strict=True)):
        rng = rng_for("views", seed, epoch, key)
        uniform_BX[i, :3] = rng.random(3)
        hash_B[i] = rng.integers(2**32)
        uniform_BX[i, 3:] = rng.random(8)
    signed_BX = torch.from_numpy(2 * uniform_BX - 1)
    return ViewParams(
        torch.from_numpy(uniform_BX[:, 0] < cfg.flip_d),
        torch.from_numpy(uniform_BX[:, 1] < cfg.flip_w),
        _exp(cfg.gamma * signed_BX[:, 2]),
        torch.full((size,), cfg.noise),
        torch.full((size,), cfg.speckle),
        torch.from_numpy(hash_B),
        _affine(cfg, signed_BX[:, 3:]),
    )


def _affine(cfg: ViewConfig, signed_B8: Tensor) -> Affine | None:
    if cfg.zoom == cfg.shift == cfg.tilt == 0:
        return None
    zoom_B3, shift_B3, tilt_B2 = signed_B8.split([3, 3, 2], 1)
    shift_B3, tilt_B2 = (cfg.shift * shift_B3).float(), (cfg.tilt * tilt_B2).float()
    return Affine(_exp(cfg.zoom * zoom_B3), shift_B3, tilt_B2, cfg.tilt)


def _exp(x: Tensor) -> Tensor:
    """float32 of a float64 `x`, so that a value does not depend on its place among the others."""
    return x.exp().float()


def apply(
    voxels_BDHW: Tensor,
    mean_B: Tensor,
    std_B: Tensor,
    valid_B3: Tensor,
    params: ViewParams,
    image_size: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """(context, target), each float32 (B, 1, D, H, W): normalised by the volume's mean and std, padding 0.

    The voxels are the corner at (0, 0, 0) of a box of image_size; noise depends on the place in that box.

    Both get the same geometry within the valid extent, which stays as it is. The context view then gets gamma
    (on grey / 255), speckle (in proportion to the grey level) and noise; the target view none of them.
    """
    grey_BDHW = apply_affine(voxels_BDHW, valid_B3, params.flip_d_B, params.flip_w_B, params.affine)
    noise_BDHW = hash_noise(params.hash_B, voxels_BDHW.shape[1:], image_size)
    target = normalize(grey_BDHW, mean_B, std_B, valid_B3)
    # From here on in place: a volume is large, and fresh pages cost more than the arithmetic.
    intensity_BDHW = grey_BDHW.div_(_LEVELS).pow_(per_sample(params.gamma_B)).mul_(_LEVELS)
    # Speckle and noise are independent and normal, so their sum is one normal of the summed variance.
    speckle_B = params.speckle_B / std_B.clamp(min=STD_FLOOR)
    std_BDHW = (
        (intensity_BDHW * per_sample(speckle_B)).square_().add_(per_sample(params.noise_B.square())).sqrt_()
    )
    context = standardize(intensity_BDHW, mean_B, std_B).add_(noise_BDHW.mul_(std_BDHW))
    return context.masked_fill_(padding_mask(voxels_BDHW, valid_B3), 0).unsqueeze(1), target


def hash_noise(hash_B: Tensor, shape: Sequence[int], image_size: Sequence[int]) -> Tensor:
    """float32 (B, *shape): mean 0, std 1, near normal, cut at 3.45 std; equal on every backend.

    The corner at (0, 0, 0) of the noise of a whole box of image_size. 32-bit integers that overflow: native
    on every backend, while a TPU emulates 64 bits.
    """
    _, height, width = image_size
    # One long arange would be a constant as large as a volume in XLA's graph.
    d_D, h_H, w_W = (torch.arange(n, dtype=torch.int32, device=hash_B.device) for n in shape)
    index = (d_D * (height * width))[:, None, None] + (h_H * width)[:, None] + w_W
    signed_B = torch.where(hash_B < 2**31, hash_B, hash_B - 2**32).to(torch.int32)
    bits = _mix(_mix(index) ^ signed_B.reshape(-1, *(1 for _ in shape)))
    for width, mask in ((8, 0x00FF00FF), (16, 0xFFFF)):  # bytes to pairs to one sum
        upper = _shifted(bits, width).bitwise_and_(mask)
        bits.bitwise_and_(mask).add_(upper)
    return bits.float().sub_(_BYTES_MEAN).div_(_BYTES_STD)


def _mix(x: Tensor) -> Tensor:
    """Scrambles 32-bit integers in place."""
    for _ in range(2):
        x.bitwise_xor_(_shifted(x, 16)).mul_(0x45D9F3B)
    return x.bitwise_xor_(_shifted(x, 16))


def _shifted(x: Tensor, width: int) -> Tensor:
    """int32 x >> width, filled with zeros. XLA divides instead: cleared low bits leave nothing to round."""
    high_bits = x & -(1 << width)
    high_bits >>= width
    return high_bits.bitwise_and_((1 << (32 - width)) - 1)
