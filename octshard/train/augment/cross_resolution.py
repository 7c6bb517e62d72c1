"""A view at a coarser spacing: the mean of the real voxels in each box of `scale` voxels, padding 0.

Padding takes no part in a mean, so that the border of a volume is no darker than the rest of it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from octshard.config.train import TrainConfig
from octshard.imaging.volume import Shape, product, triple
from octshard.models.position import FINE
from octshard.train.augment import views


def views_of(cfg: TrainConfig) -> Callable[..., tuple[Tensor, Tensor]]:
    """`views.apply` with the context as its encoder reads it: one function, so that it is compiled as one."""
    if triple(cfg.objective.context_scale) == FINE:
        return views.apply

    def apply(
        voxels_BDHW: Tensor, mean_B: Tensor, std_B: Tensor, valid_B3: Tensor, *drawn: Any
    ) -> tuple[Tensor, Tensor]:
        context, target = views.apply(voxels_BDHW, mean_B, std_B, valid_B3, *drawn)
        return of_context(context, valid_B3, cfg), target

    return apply


def of_context(view_BCDHW: Tensor, valid_B3: Tensor, cfg: TrainConfig) -> Tensor:
    """The view of the context as the encoder reads it: at `objective.context_scale`."""
    return coarsen(view_BCDHW, valid_B3, triple(cfg.model.patch), triple(cfg.objective.context_scale))


def coarsen(x_BCDHW: Tensor, valid_B3: Tensor, patch: Shape, scale: Shape) -> Tensor:
    """(B, C, d, h, w): d * scale >= D, whole patches. x_BCDHW: 0 outside the valid extent, whole patches."""
    if scale == FINE:
        return x_BCDHW
    behind = [-n % (step * size) for n, step, size in zip(x_BCDHW.shape[2:], scale, patch, strict=True)]
    if any(behind):
        d, h, w = behind
        x_BCDHW = functional.pad(x_BCDHW, (0, w, 0, h, 0, d))
    mean_BCdhw = functional.avg_pool3d(x_BCDHW, scale)
    real = [
        _real(valid_B3[:, axis : axis + 1], step, mean_BCdhw.shape[2 + axis])
        for axis, step in enumerate(scale)
    ]
    real_Bdhw = real[0][:, :, None, None] * real[1][:, None, :, None] * real[2][:, None, None, :]
    return mean_BCdhw * (product(scale) / real_Bdhw).unsqueeze(1)


def _real(valid_B1: Tensor, step: int, size: int) -> Tensor:
    """(B, size) float32: voxels of the volume in each `step` along one axis; at least 1, as a divisor."""
    first = torch.arange(0, size * step, step, device=valid_B1.device)
    return (valid_B1 - first).clamp(1, step).float()
