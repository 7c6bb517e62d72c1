"""From stored uint8 voxels to what the encoder reads: normalised by the volume's mean and std, padding 0."""

import torch
from torch import Tensor

STD_FLOOR = 1.0  # grey levels: a volume with less contrast than that is blank and is not blown up


def normalize(voxels_BDHW: Tensor, mean_B: Tensor, std_B: Tensor, valid_B3: Tensor) -> Tensor:
    """float32 (B, 1, D, H, W): normalised, padding exactly 0, nothing else. What evaluation reads."""
    x_BDHW = standardize(voxels_BDHW.float(), mean_B, std_B)
    return x_BDHW.masked_fill_(padding_mask(voxels_BDHW, valid_B3), 0).unsqueeze(1)


def padding_mask(voxels_BDHW: Tensor, valid_B3: Tensor) -> Tensor:
    """(B, D, H, W) bool: outside the valid extent."""
    d_BD, h_BH, w_BW = (
        torch.arange(size, device=valid_B3.device) >= valid_B3[:, axis].unsqueeze(1)
        for axis, size in enumerate(voxels_BDHW.shape[1:])
    )
    return d_BD[:, :, None, None] | h_BH[:, None, :, None] | w_BW[:, None, None, :]


def standardize(x_BDHW: Tensor, mean_B: Tensor, std_B: Tensor) -> Tensor:
    return (x_BDHW - per_sample(mean_B)).div_(per_sample(std_B.clamp(min=STD_FLOOR)))


def per_sample(value_B: Tensor) -> Tensor:
    return value_B.reshape(-1, 1, 1, 1)
