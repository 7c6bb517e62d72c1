"""From the voxels of a batch to the encoder's input: normalised by the volume's mean and std, padding 0."""

import torch
from torch import Tensor

from octshard.imaging.intensity import STEPS

STD_FLOOR = 1.0  # grey levels: a volume with less contrast is blank and is not amplified


def normalize(voxels_BDHW: Tensor, mean_B: Tensor, std_B: Tensor, valid_B3: Tensor) -> Tensor:
    """float32 (B, 1, D, H, W): normalised, padding exactly 0, no augmentation. The input of evaluation.

    mean_B, std_B: of each stored volume, grey levels; valid_B3: its extent along D, H, W in voxels.
    """
    x_BDHW = standardize(grey(voxels_BDHW), mean_B, std_B)
    return x_BDHW.masked_fill_(padding_mask(voxels_BDHW, valid_B3), 0).unsqueeze(1)


def grey(voxels: Tensor) -> Tensor:
    """float32: grey, 0 to 255, of a batch's voxels; exactly (STEPS is a power of two)."""
    return voxels.float() / STEPS if voxels.dtype == torch.int16 else voxels.float()


def padding_mask(voxels_BDHW: Tensor, valid_B3: Tensor) -> Tensor:
    """(B, D, H, W) bool: the voxel lies outside the valid extent."""
    d_BD, h_BH, w_BW = (
        torch.arange(size, device=valid_B3.device) >= valid_B3[:, axis].unsqueeze(1)
        for axis, size in enumerate(voxels_BDHW.shape[1:])
    )
    return d_BD[:, :, None, None] | h_BH[:, None, :, None] | w_BW[:, None, None, :]


def standardize(x_BDHW: Tensor, mean_B: Tensor, std_B: Tensor) -> Tensor:
    """(x - mean) / max(std, STD_FLOOR) for each sample."""
    return (x_BDHW - per_sample(mean_B)).div_(per_sample(std_B.clamp(min=STD_FLOOR)))


def per_sample(value_B: Tensor) -> Tensor:
    """(B, 1, 1, 1), to broadcast over (B, D, H, W)."""
    return value_B.reshape(-1, 1, 1, 1)
