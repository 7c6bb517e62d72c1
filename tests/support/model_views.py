"""Made-up volumes to draw, small and with numbers that can be checked by hand."""

import dataclasses
from typing import Any

import numpy as np

from octshard.pictures.model_view import EnFace, ModelView, TokenFlags

SHAPE, PATCH = (6, 20, 24), (2, 8, 8)  # 3 x 3 x 3 tokens, of which the last row along H is half padding


def made_up(**changes: Any) -> ModelView:
    """Layers with noise; the first tokens are context, the last ones targets."""
    rng = np.random.default_rng(1)
    crop_DHW = np.exp(-(((np.arange(20) - 9) / 4) ** 2))[None, :, None] + 0.1 * rng.standard_normal(SHAPE)
    context_dhw, target_dhw = (np.zeros((3, 3, 3), bool) for _ in range(2))
    context_dhw[:, 0, :2] = True
    target_dhw[:, 1:, 2] = True
    view = ModelView(
        title="device, protocol, right eye",
        detail="6 x 20 x 24 voxels",
        spacing_mm=(0.5, 0.02, 0.1),
        patch=PATCH,
        en_face=EnFace(crop_DHW.mean(axis=1), 0, 0),
        crop_DHW=crop_DHW,
        target_DHW=crop_DHW[::-1].copy(),
        context_DHW=crop_DHW[::-1] + 0.05,
        source_D=np.arange(6)[::-1],
        mask_sets=(TokenFlags(context_dhw, target_dhw),),
        context_scale=(1, 1, 1),
        colours_dhw3=None,
    )
    return dataclasses.replace(view, **changes)
