"""Voxels of hidden patches as targets: of a patch that hangs over the edge of its volume, the real ones."""

from pathlib import Path

import numpy as np
import pytest
import torch

import octshard
from octshard.config.train import TrainConfig
from octshard.models import checkpoint
from octshard.models.vit import patchify
from octshard.train import loop
from octshard.train.objectives import mae
from octshard.train.objectives.build import build
from octshard.train.objectives.distance import VOXEL_MSE
from octshard.train.objectives.mae import Mae
from tests.support.tiny_run import config_for, write_dataset
from tests.support.token_lists import draw_lists

EXTENTS = ((8, 32, 16), (7, 20, 13), (1, 9, 1), (3, 8, 8))  # patches of 2 x 8 x 8: three hang over an edge


def config(*more: str) -> TrainConfig:
    return config_for("shards", "out", "objective.name=mae", *more)


def volumes(rng: np.random.Generator) -> torch.Tensor:
    """As views make them: padding is 0."""
    x_BCDHW = torch.zeros(len(EXTENTS), 1, 8, 32, 16)
    for x_CDHW, (d, h, w) in zip(x_BCDHW, EXTENTS, strict=True):
        x_CDHW[:, :d, :h, :w] = torch.from_numpy(rng.normal(0.3, 2, (d, h, w)))
    return x_BCDHW


def patch_by_hand(x_DHW: np.ndarray, token: int) -> np.ndarray:
    """(2, 8, 8): voxels of a token of the grid 4 x 4 x 2, normalised; NaN beyond the volume x_DHW."""
    d, h, w = 2 * (token // 8), 8 * (token // 2 % 4), 8 * (token % 2)
    real = x_DHW[d : d + 2, h : h + 8, w : w + 8].astype(np.float64)
    out = np.full((2, 8, 8), np.nan)
    n, m, k = real.shape
    out[:n, :m, :k] = (real - real.mean()) / np.sqrt(real.var() + 1e-6)
    return out


def test_targets_are_the_voxels_of_each_patch_normalised_by_their_own_mean_and_spread() -> None:
    cfg, x = config(), volumes(np.random.default_rng(0))
    tokens, _ = draw_lists(cfg, torch.tensor(EXTENTS[:2]), ["a", "b"])
    targets = build(cfg).targets(x[:2], tokens)
    assert targets.shape == (2, 32, 128)
    for b, (d, h, w) in enumerate(EXTENTS[:2]):
        for v, token in enumerate(tokens.index_BV[b].tolist()):
            if tokens.padding_BV is not None and tokens.padding_BV[b, v]:
                continue
            by_hand = patch_by_hand(x[b, 0, :d, :h, :w].numpy(), token).ravel()
            np.testing.assert_allclose(targets[b, v], by_hand, rtol=0, atol=1e-5)


@pytest.mark.parametrize("b", range(len(EXTENTS)))
def test_real_voxels_are_those_of_the_volume(b: int) -> None:
    d, h, w = EXTENTS[b]
    inside = torch.zeros(1, 1, 8, 32, 16)
    inside[:, :, :d, :h, :w] = 1
    x = volumes(np.random.default_rng(1))[b : b + 1]
    x[:, :, 0, :3, 0] = 0  # a voxel that is the volume's mean is no padding
    patch = (2, 8, 8)
    assert torch.equal(mae.real_voxels(patchify(x, patch), patch), patchify(inside, patch) > 0)


def test_a_patch_of_one_grey_level_has_targets_of_zero_and_a_blank_one_none() -> None:
    patches = torch.tensor([[[-1.7] * 128, [0.1] * 128, [0.0] * 128]])
    normed = mae.normalize_patches(patches, (2, 8, 8))
    assert normed[0, :2].abs().max() < 1e-3
    assert normed[0, 2].isnan().all()
    error = VOXEL_MSE.error(torch.ones_like(patches), normed)
    assert error.tolist() == [[pytest.approx(1, abs=1e-3), pytest.approx(1, abs=1e-3), 0.0]]


def test_a_blank_volume_has_a_finite_loss_and_gradient() -> None:
    cfg = config()
    model, x = build(cfg), torch.zeros(1, 1, 8, 32, 16)
    out = model(x, x, *draw_lists(cfg, torch.tensor([[8, 32, 16]]), ["a"]))
    out.loss.backward()
    assert float(out.loss.detach()) == 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_no_one_predicts_padding() -> None:
    """The derivative of the error by the prediction is 0 there, elsewhere that of a mean over the rest."""
    rng, extent = np.random.default_rng(2), EXTENTS[1]
    cfg = config()
    tokens, (places, *_) = draw_lists(cfg, torch.tensor([extent]), ["a"])
    model = build(cfg)
    target_BTP = model.targets(volumes(rng)[1:2], tokens)[:, places.target_BT[0]]
    predicted = torch.from_numpy(rng.normal(size=target_BTP.shape).astype(np.float32)).requires_grad_()
    error_BT = VOXEL_MSE.error(predicted, VOXEL_MSE.as_compared(target_BTP))
    error_BT.sum().backward()
    assert predicted.grad is not None
    real = ~target_BTP.isnan()
    assert not real.all()
    by_hand = torch.where(real, 2 * (predicted - target_BTP) / real.sum(-1, keepdim=True), 0)
    torch.testing.assert_close(predicted.grad, by_hand.detach())


def test_the_center_is_best_also_where_rows_miss_numbers() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(9, 7))
    rows[rng.random(rows.shape) < 0.4] = np.nan
    rows[:, 5] = np.nan
    center = VOXEL_MSE.center(rows)
    assert np.isnan(center).tolist() == [False] * 5 + [True, False]
    assert np.isfinite(VOXEL_MSE.error_of(rows, center)).all()
    least = VOXEL_MSE.error_of(rows, center).mean()
    for _ in range(100):
        assert VOXEL_MSE.error_of(rows, center + 0.05 * rng.normal(size=7)).mean() >= least
    all_known = VOXEL_MSE.error_of(rng.normal(size=(3, 7)), center)  # it guesses the patch's mean, 0
    assert np.isfinite(all_known).all()


def test_a_run_is_judged_by_its_encoder(tmp_path: Path) -> None:
    """The checkpoint has no target encoder; the front door embeds with the encoder that was trained."""
    shards = write_dataset(tmp_path / "data", {"train": 21})
    cfg = config_for(shards, tmp_path / "run", "objective.name=mae", "run.samples_budget=8")
    loop.train(cfg)
    weights = checkpoint.load_newest(cfg.run.out)[1]["model"]
    assert not any(name.startswith(checkpoint.TARGET_ENCODER) for name in weights)
    model = build(cfg)
    assert isinstance(model, Mae)
    assert model.judged is model.encoder
    model.load_state_dict(weights)
    encoder = octshard.load_encoder(cfg.run.out).encoder
    for name, weight in encoder.state_dict().items():
        assert torch.equal(weight, weights[checkpoint.ENCODER + name]), name
