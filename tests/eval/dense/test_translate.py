"""Planted vessels: head, loss and score find them from tokens that hold them, and from no others."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from octshard.config.dense import DenseHeads
from octshard.eval.dense import en_face_scores, heads, losses
from octshard.eval.dense.token_source import TokenSource
from octshard.models.vit import token_patches

pytest.importorskip("monai")
IMAGE, PATCH, GRID = (24, 8, 32), (4, 8, 4), (6, 1, 8)
VOLUMES, TRAIN, STEPS, LR = 8, 6, 50, 0.02
BRIGHTER = 4  # standard deviations of the noise
HEADS = DenseHeads(width=4, voxels=False)  # it sees tokens alone


@pytest.fixture(scope="module")
def planted() -> tuple[Tensor, Tensor]:
    """Noise (B, 1, D, H, W), brighter in some rows below vessels, and the vessels (B, D, W)."""
    generator = torch.Generator().manual_seed(0)
    picture_BDW = torch.zeros(VOLUMES, IMAGE[0], IMAGE[2])
    for picture_DW in picture_BDW:
        picture_DW[torch.randperm(IMAGE[0], generator=generator)[:3]] = 1
        picture_DW[:, torch.randperm(IMAGE[2], generator=generator)[:2]] = 0.5
    x_BCDHW = torch.randn(VOLUMES, 1, *IMAGE, generator=generator)
    x_BCDHW[:, 0, :, 3:6] += BRIGHTER * picture_BDW[:, :, None]
    return x_BCDHW, picture_BDW


def levels_of(x_BCDHW: Tensor) -> list[Tensor]:
    """The voxels of each patch as the features of its token, standardised, at every depth."""
    index_BV = torch.arange(math.prod(GRID)).expand(VOLUMES, -1)
    z_BVF = token_patches(x_BCDHW, index_BV, PATCH, GRID)
    z_BVF = (z_BVF - z_BVF.mean((0, 1))) / z_BVF.std((0, 1))
    return [z_BVF.unflatten(1, GRID).movedim(-1, 1)] * len(heads.stages_of(PATCH))


def score(head: nn.Module, levels: list[Tensor], picture_BDW: Tensor) -> dict[str, float]:
    """Means over volumes that were not fitted."""
    optimizer = torch.optim.AdamW(head.parameters(), LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    train, test = slice(TRAIN), slice(TRAIN, None)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = head([level[train] for level in levels], levels[0])
        losses.translation(output, picture_BDW[train], torch.tensor([IMAGE] * TRAIN)).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        outputs = head([level[test] for level in levels], levels[0])
    pictures = [losses.en_face(output[0]).clamp(0, 1).numpy() for output in outputs]
    scores = [en_face_scores.score(*pair) for pair in zip(picture_BDW[test].numpy(), pictures, strict=True)]
    return {name: float(np.mean([each[name] for each in scores])) for name in scores[0]}


@pytest.mark.parametrize("name", ["linear", pytest.param("unetr", marks=pytest.mark.slow)])
def test_planted_vessels_come_back_from_tokens_that_hold_them(planted, name):
    x_BCDHW, picture_BDW = planted
    scores = {}
    for tokens, voxels in (("theirs", x_BCDHW), ("others", x_BCDHW.roll(1, 0))):
        torch.manual_seed(0)
        levels = levels_of(voxels)
        source = TokenSource("", (math.prod(PATCH),) * len(levels), (0,) * len(levels), lambda x, tokens: [])
        head = heads.build(name, source, 1, PATCH, HEADS)
        scores[tokens] = score(head, levels, picture_BDW)
    assert scores["theirs"]["correlation"] > 0.75
    assert scores["theirs"]["ssim"] > 0.5
    assert abs(scores["others"]["correlation"]) < 0.3
    assert scores["others"]["ssim"] < 0.25
    assert scores["theirs"]["psnr_db"] > scores["others"]["psnr_db"] + 3
