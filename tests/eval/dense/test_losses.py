"""Losses: MONAI's where nothing is padding, none of padding, and by hand."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from octshard.eval.dense import en_face_scores, losses
from octshard.eval.dense.target_store import PADDING

pytest.importorskip("monai")
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 3, 2, 4, 5, generator=GENERATOR)
LABELS = torch.randint(0, 3, (2, 2, 4, 5), generator=GENERATOR).to(torch.uint8)
WEIGHT = torch.tensor([0.5, 1.0, 1.5])
VALID = torch.tensor([[2, 4, 5]] * 2)


def test_without_padding_it_is_monais():
    from monai.losses.dice import DiceCELoss

    expected = DiceCELoss(to_onehot_y=True, softmax=True, batch=True, weight=None)(LOGITS, LABELS[:, None])
    found = losses.segmentation(torch.ones(3))(LOGITS, LABELS, VALID)
    torch.testing.assert_close(found, expected)


def test_padding_counts_nowhere():
    """As if the volumes ended there; and no gradient reaches it."""
    padded = LABELS.clone()
    padded[:, :, 2:] = PADDING
    logits = LOGITS.clone().requires_grad_()
    loss = losses.segmentation(WEIGHT)(logits, padded, VALID)
    shorter = losses.segmentation(WEIGHT)(LOGITS[:, :, :, :2], LABELS[:, :, :2], VALID)
    torch.testing.assert_close(loss, shorter)
    loss.backward()
    assert (logits.grad[:, :, :, 2:] == 0).all()
    assert (logits.grad[:, :, :, :2] != 0).any()


def ssim_by_hand(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004 with an 11 x 11 Gaussian window, where it fits."""
    place = np.arange(11) - 5
    kernel = np.exp(-(place**2) / (2 * 1.5**2))
    kernel /= kernel.sum()

    def mean(x: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(x, kernel, 0), kernel, 1)[5:-5, 5:-5]

    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    return float(((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


def test_scores_of_pictures_by_hand():
    rng = np.random.default_rng(0)
    true, predicted = (rng.random((16, 20)) for _ in range(2))
    scores = en_face_scores.score(true, predicted)
    assert scores["ssim"] == pytest.approx(ssim_by_hand(true, predicted), abs=1e-4)
    assert scores["psnr_db"] == pytest.approx(-10 * np.log10(((true - predicted) ** 2).mean()))
    assert scores["correlation"] == pytest.approx(np.corrcoef(true.ravel(), predicted.ravel())[0, 1])
    assert en_face_scores.score(true, true)["ssim"] == pytest.approx(1, abs=1e-5)
    assert np.isnan(en_face_scores.score(true, np.zeros((16, 20)))["correlation"])


def test_the_loss_of_pictures_is_of_the_valid_part_of_each():
    rng = np.random.default_rng(1)
    flow, true = rng.random((2, 1, 14, 3, 16)), rng.random((2, 14, 16))
    valid = [(14, 3, 16), (12, 2, 13)]
    expected = []
    for i, (d, h, w) in enumerate(valid):
        picture, part = flow[i, 0, :d, :h, :w].mean(axis=1), true[i, :d, :w]
        expected.append(0.84 * (1 - ssim_by_hand(picture, part)) + 0.16 * np.abs(picture - part).mean())
    inputs = (torch.from_numpy(x).float() for x in (flow, true))
    found = losses.translation(*inputs, torch.tensor(valid))
    assert float(found) == pytest.approx(np.mean(expected), abs=1e-4)


def test_the_negative_of_a_picture_is_no_way_to_it():
    true = torch.rand(1, 16, 20, generator=GENERATOR)
    loss_of = [
        float(losses.translation((scale * true)[:, None, :, None], true, torch.tensor([[16, 1, 20]])))
        for scale in (-1.0, 0.0, 1.0)
    ]
    assert loss_of[0] > loss_of[1] > loss_of[2]


def test_a_picture_smaller_than_the_window_has_a_loss():
    flow, true = torch.rand(1, 1, 4, 3, 1), torch.rand(1, 4, 1)
    assert torch.isfinite(losses.translation(flow, true, torch.tensor([[4, 3, 1]])))
