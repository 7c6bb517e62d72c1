"""The weights of a patch embedding, made for another number of channels and another patch."""

import torch
from torch import Tensor

from octshard.imaging.volume import Shape


def refit(kernel_FCDHW: Tensor, patch: Shape) -> Tensor:
    """(F, voxels of a patch): as `Encoder.embed` has them, for one channel and `patch`.

    Channels are summed: grey is the same in all of them. Along each axis a new voxel gets the shares of the
    old ones that it covers, so that a volume that does not change along it gives the same features: a kernel
    of fewer slices is repeated and divided by how often (I3D, Carreira and Zisserman 2017).
    """
    if kernel_FCDHW.shape[1:] == (1, *patch):
        return kernel_FCDHW.flatten(1)
    shares = [shares_of(old, new) for old, new in zip(kernel_FCDHW.shape[2:], patch, strict=True)]
    kernel_FDHW = torch.einsum("fcdhw,xd,yh,zw->fxyz", kernel_FCDHW.double(), *shares)
    return kernel_FDHW.flatten(1).float()


def shares_of(old: int, new: int) -> Tensor:
    """(new, old): the part of each old voxel that lies in each new one, where both fill the same length."""
    ends_O, ends_N = (torch.arange(n + 1, dtype=torch.float64) / n for n in (old, new))
    starts_NO = torch.maximum(ends_N[:-1, None], ends_O[None, :-1])
    stops_NO = torch.minimum(ends_N[1:, None], ends_O[None, 1:])
    return (stops_NO - starts_NO).clamp(min=0) * old
