"""What is MONAI's: blocks of a UNETR decoder, losses, sliding windows, surface distances. Imported if used.

What they are given is checked before: here nothing is the user's fault but that MONAI is missing.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from octshard.errors import UsageError
from octshard.extras import install_advice
from octshard.imaging.volume import Shape

SSIM_WINDOW = 11  # pixels, and SSIM_SIGMA: Wang et al. 2004
SSIM_SIGMA = 1.5


def check() -> None:
    """UsageError, with the command that adds it, if MONAI is not here."""
    try:
        import monai  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"octshard eval segment and translate: MONAI is not here ({error}); {install_advice('monai')}"
        ) from error


def upsampling(width_in: int, width_out: int, factor: Shape) -> nn.Module:
    """A transposed convolution: every axis grows by its factor."""
    from monai.networks.blocks.unetr_block import UnetrPrUpBlock

    return UnetrPrUpBlock(3, width_in, width_out, 0, 3, 1, factor, "instance")  # type: ignore[no-any-return]


def merging(width_in: int, width_out: int, factor: Shape) -> nn.Module:
    """Called with a map and a finer one of width_out: grows the first, joins them, and convolves."""
    from monai.networks.blocks.unetr_block import UnetrUpBlock

    return UnetrUpBlock(3, width_in, width_out, 3, factor, "instance", res_block=True)  # type: ignore[no-any-return]


def convolutions(width_in: int, width_out: int) -> nn.Module:
    """Two convolutions beside a shortcut; the size stays."""
    from monai.networks.blocks.unetr_block import UnetrBasicBlock

    return UnetrBasicBlock(3, width_in, width_out, 3, 1, "instance", res_block=True)  # type: ignore[no-any-return]


def dice_loss(p_BCX: Tensor, true_BCX: Tensor) -> Tensor:
    """1 - Dice of each class over the whole batch, averaged; both 0 where nothing counts."""
    from monai.losses.dice import DiceLoss

    return DiceLoss(batch=True)(p_BCX, true_BCX)  # type: ignore[no-any-return]


def ssim(first_DW: Tensor, second_DW: Tensor) -> Tensor:
    """Mean structural similarity of two pictures from 0 to 1; a smaller picture has a smaller window."""
    from monai.metrics.regression import KernelType, compute_ssim_and_cs

    sizes = [min(SSIM_WINDOW, n - (n + 1) % 2) for n in first_DW.shape]  # odd
    values, _ = compute_ssim_and_cs(
        first_DW[None, None], second_DW[None, None], 2, sizes, [SSIM_SIGMA] * 2, 1.0, KernelType.GAUSSIAN
    )
    return values.mean()  # type: ignore[no-any-return]


def sliding_windows(
    x_BCDHW: Tensor, window: Shape, overlap: float, predict: Callable[[Tensor], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """What `predict` says of windows, put together; where they overlap, its middle weighs more."""
    from monai.inferers.utils import sliding_window_inference

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about how MONAI indexes
        parts: Any = sliding_window_inference(x_BCDHW, window, 1, predict, overlap=overlap, mode="gaussian")
    return tuple(parts) if isinstance(parts, tuple | list) else (parts,)


def surface_distance(first_DHW: np.ndarray, second_DHW: np.ndarray, spacing: Sequence[float]) -> float:
    """Mean distance of the surfaces of masks, both ways, in the unit of `spacing`; nan if one has none."""
    from monai.metrics.surface_distance import compute_average_surface_distance

    if not first_DHW.any() or not second_DHW.any():
        return float("nan")
    first, second = (torch.from_numpy(np.ascontiguousarray(x))[None, None] for x in (first_DHW, second_DHW))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MONAI, about itself
        distance = compute_average_surface_distance(
            first, second, include_background=True, symmetric=True, spacing=list(spacing)
        )
    return float(distance)
