"""The head of a fine-tuning: losses by hand, padding that counts for nothing, finite gradients."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch.nn import functional

from octshard.config.model import ModelConfig
from octshard.eval.finetune.model import FinetuneModel, Target, mean_and_std, proportional_odds
from octshard.models.vit import Encoder

MODEL = ModelConfig([4, 16, 16], [2, 8, 8], width=24, depth=1, heads=2)  # 2 x 2 x 2 tokens


def model(kind: str, levels: int, mean: float = 0.0, std: float = 1.0) -> FinetuneModel:
    torch.manual_seed(0)
    net = FinetuneModel(Encoder(MODEL), Target(kind, levels, mean, std))
    torch.nn.init.normal_(net.head.weight)
    return net


def run(net: FinetuneModel, y: list[float], extents: list[list[int]]) -> tuple[torch.Tensor, np.ndarray]:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, 4, 16, 16))).float()
    tokens = net.encoder.tokens_of(torch.tensor(extents), 8)
    dtype = torch.float32 if net.target.kind == "numbers" else torch.int64
    out = net(x, tokens, torch.tensor(y, dtype=dtype), torch.tensor([0.5, 2.0]))
    return out.loss, out.values_BC.numpy()


FULL = [[4, 16, 16]] * 2


def test_classes() -> None:
    loss, p_BC = run(model("classes", 3), [2, 0], FULL)
    assert p_BC.sum(1) == pytest.approx([1, 1], rel=1e-6)
    expected = -(0.5 * np.log(p_BC[0, 2]) + 2 * np.log(p_BC[1, 0])) / 2
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_numbers_are_in_their_own_unit_and_their_loss_in_standard_deviations() -> None:
    loss, y_B1 = run(model("numbers", 1, 60, 5), [50, 70], FULL)
    errors = (y_B1[:, 0] - [50, 70]) / 5
    assert float(loss.detach()) == pytest.approx((0.5 * errors[0] ** 2 + 2 * errors[1] ** 2) / 2, rel=1e-4)
    assert 30 < y_B1.mean() < 90


def test_levels() -> None:
    loss, p_BC = run(model("ordinal", 4), [3, 1], FULL)
    assert p_BC.sum(1) == pytest.approx([1, 1], rel=1e-5)
    expected = -(0.5 * np.log(p_BC[0, 3]) + 2 * np.log(p_BC[1, 1])) / 2
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    head = model("ordinal", 4)
    assert head.thresholds().detach().numpy() == pytest.approx(np.log([1 / 3, 1, 3]), abs=1e-6)


@pytest.mark.parametrize("score", [-40.0, -1.0, 0.0, 3.0, 40.0])
def test_proportional_odds_are_those_of_the_formula_and_far_from_them_finite(score: float) -> None:
    threshold = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    score_B = torch.full((4,), score, requires_grad=True)
    loss_B, p_BC = proportional_odds(score_B, threshold, torch.arange(4))
    below = [0.0, *expit(np.array([-1.0, 0.5, 2.0]) - score), 1.0]
    assert p_BC.detach().numpy() == pytest.approx(np.tile(np.diff(below), (4, 1)), abs=1e-6)
    if abs(score) < 10:
        assert loss_B.detach().numpy() == pytest.approx(-np.log(np.diff(below)), rel=1e-4)
    loss_B.sum().backward()
    assert score_B.grad is not None
    assert threshold.grad is not None
    assert torch.isfinite(loss_B).all()
    assert torch.isfinite(torch.cat([score_B.grad, threshold.grad])).all()


def test_padding_of_lists_counts_for_nothing() -> None:
    z_BVF = torch.randn(2, 5, 3)
    padding_BV = torch.tensor([[False] * 5, [False, False, False, True, True]])
    together = mean_and_std(z_BVF, padding_BV)
    for i, count in enumerate((5, 3)):
        alone = mean_and_std(z_BVF[i : i + 1, :count], None)
        torch.testing.assert_close(together[i : i + 1], alone)
    std = z_BVF[0].std(0, correction=0)
    torch.testing.assert_close(together[0, 3:], std, atol=1e-5, rtol=1e-4)
    same = torch.ones(1, 4, 3, requires_grad=True)
    mean_and_std(same, None).sum().backward()
    assert same.grad is not None
    assert torch.isfinite(same.grad).all()


def test_a_small_volume_has_the_loss_that_it_has_alone() -> None:
    net = model("classes", 3)
    _, both = run(net, [0, 0], [[4, 16, 16], [2, 8, 16]])
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, 4, 16, 16))).float()
    tokens = net.encoder.tokens_of(torch.tensor([[2, 8, 16]]), 2)
    out = net(x[1:], tokens, torch.zeros(1, dtype=torch.int64), torch.ones(1))
    assert tokens.padding_BV is not None
    torch.testing.assert_close(out.values_BC, torch.from_numpy(both[1:]), atol=1e-6, rtol=1e-5)
    assert functional.one_hot(out.values_BC.argmax(1), 3).sum() == 1
