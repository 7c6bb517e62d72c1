"""Schedules against hand computations; our tensor-only AdamW against torch's."""

import math

import pytest
import torch
from torch import nn

from octshard.config.train import ObjectiveConfig, OptimConfig
from octshard.train import optim
from octshard.train.optim import Length

CFG = OptimConfig(base_lr=1.0, final_lr=0.1)


def test_lr_warms_up_from_zero_and_ends_at_final() -> None:
    length = Length(warmup=100, total=300)
    assert [optim.lr_at(n, length, CFG) for n in (0, 25, 100)] == [0.0, 0.25, 1.0]
    assert optim.lr_at(200, length, CFG) == pytest.approx(0.55)
    assert optim.lr_at(150, length, CFG) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.sqrt(0.5)))
    assert optim.lr_at(300, length, CFG) == optim.lr_at(400, length, CFG) == 0.1


def test_lr_without_warmup_starts_at_base() -> None:
    assert optim.lr_at(0, Length(0, 10), CFG) == 1.0


def test_ema_goes_from_start_to_exactly_end() -> None:
    cfg, length = ObjectiveConfig(ema_start=0.996, ema_end=1.0), Length(0, 1000)
    assert optim.ema_at(0, length, cfg) == pytest.approx(0.996)
    assert optim.ema_at(500, length, cfg) == pytest.approx(0.998)
    assert optim.ema_at(1000, length, cfg) == 1.0


def test_only_matrices_are_decayed_and_only_what_learns_is_optimised() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2).requires_grad_(False))
    decayed, spared = optim.build(model, OptimConfig(weight_decay=0.3)).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3)]
    assert [tuple(p.shape) for p in spared["params"]] == [(4,), (4,), (4,)]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)


def test_clip_returns_the_norm_before_and_limits_it() -> None:
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert float(optim.clip([a, b], 0.0)) == 5.0
    assert torch.equal(b.grad, torch.tensor([4.0]))
    assert float(optim.clip([a, b], 1.0)) == 5.0
    assert b.grad.item() == pytest.approx(0.8, rel=1e-5)
    assert float(optim.clip([a, b], 2.0)) == pytest.approx(1.0, rel=1e-5)
    assert b.grad.item() == pytest.approx(0.8, rel=1e-5)


def test_the_tensor_only_step_is_adamw() -> None:
    """As it runs on XLA, against torch.optim.AdamW in float64; lr = 0 moves nothing and makes no NaN."""
    cfg = OptimConfig(weight_decay=0.1)
    torch.manual_seed(0)
    ours, theirs = (nn.Linear(5, 3).double() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    optimizer, reference = optim.build(ours, cfg), optim.build(theirs, cfg)
    for parameter in ours.parameters():
        moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        optimizer.state[parameter] = {"step": torch.zeros(()), **moments}
    for step, lr in enumerate([0.0, 1e-3, 0.1, 0.0, 0.02], start=1):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.randn_like(a) if step > 1 else torch.zeros_like(a)
            b.grad = a.grad.clone()
        scalars = optim.scalars_at(lr, 1.0, 0.5, step, cfg)
        optim.step(reference, scalars, scalars.host_tensor(), optim.adamw)
        optim._step_by_tensors(optimizer, scalars.host_tensor().double(), optim.adamw)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.isfinite(a).all()
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
    reference.load_state_dict(optimizer.state_dict())  # the same state: a checkpoint fits every backend
