"""Schedules against hand computations; our tensor-only AdamW against torch's."""

import math

import pytest
import torch
from torch import nn

from octshard.config.objective import ObjectiveConfig
from octshard.config.train import OptimConfig, TrainConfig
from octshard.train import optim
from octshard.train.optim import Length, Scalars

CFG = OptimConfig(base_lr=1.0, final_lr=0.1)
CONSTANT = OptimConfig(base_lr=1.0, final_lr=0.1, schedule="constant", cooldown=0.25)


def test_lr_warms_up_from_zero_and_ends_at_final() -> None:
    length = Length(warmup=100, total=300)
    assert [optim.lr_at(n, length, CFG) for n in (0, 25, 100)] == [0.0, 0.25, 1.0]
    assert optim.lr_at(200, length, CFG) == pytest.approx(0.55)
    assert optim.lr_at(150, length, CFG) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.sqrt(0.5)))
    assert optim.lr_at(300, length, CFG) == optim.lr_at(400, length, CFG) == 0.1


def test_lr_without_warmup_starts_at_base() -> None:
    assert optim.lr_at(0, Length(0, 10), CFG) == 1.0


def test_a_constant_lr_goes_down_a_line_over_the_last_quarter() -> None:
    length = Length(warmup=100, total=400)
    lr = {n: optim.lr_at(n, length, CONSTANT) for n in (0, 50, 100, 200, 300, 350, 400, 500)}
    expected = {0: 0.0, 50: 0.5, 100: 1.0, 200: 1.0, 300: 1.0, 350: 0.55, 400: 0.1, 500: 0.1}
    assert lr == pytest.approx(expected, rel=1e-12)
    assert (lr[100], lr[300]) == (1.0, 1.0)  # the same number: a longer run has it too


@pytest.mark.parametrize(
    ("cooldown", "at_150", "at_200"),
    [(0.0, 1.0, 1.0), (1.0, 0.55, 0.1)],
    ids=["no cooldown", "one that would begin within the warm-up begins at its end"],
)
def test_a_cooldown_of_nothing_and_of_everything(cooldown: float, at_150: float, at_200: float) -> None:
    cfg = OptimConfig(base_lr=1.0, final_lr=0.1, schedule="constant", cooldown=cooldown)
    lr = [optim.lr_at(n, Length(100, 200), cfg) for n in (50, 100, 150, 200, 300)]
    assert lr == pytest.approx([0.5, 1.0, at_150, at_200, at_200])


def test_a_warm_up_that_leaves_no_time_is_said() -> None:
    """The cooldown of the last quarter of 400 samples is what a warm-up of 360 eats into."""
    assert optim.warmup_line(Length(401, 400), CFG).endswith("longer than the run: base_lr is never reached")
    assert [optim.warmup_line(Length(warmup, 400), CONSTANT) for warmup in (100, 300, 350)] == [""] * 3
    line = "warm-up of 360 samples leaves 40 of 100 samples of the cooldown"
    assert optim.warmup_line(Length(360, 400), CONSTANT) == line
    assert optim.warmup_line(Length(360, 400), CFG) == ""


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_lr_is_that_of_the_schedulers_of_torch(schedule: str) -> None:
    """Warm-up of 5 steps, then a cosine of 15, or 10 at base_lr and a line of 5."""
    cfg = OptimConfig(base_lr=0.7, final_lr=0.07, schedule=schedule, cooldown=0.25)
    torch_lr = torch.optim.lr_scheduler
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.7)
    warmup = torch_lr.LinearLR(sgd, start_factor=1e-12, total_iters=5)
    after: list[torch_lr.LRScheduler]
    if schedule == "cosine":
        after, ends = [torch_lr.CosineAnnealingLR(sgd, 15, eta_min=0.07)], [5]
    else:
        line = torch_lr.LinearLR(sgd, start_factor=1.0, end_factor=0.1, total_iters=5)
        after, ends = [torch_lr.ConstantLR(sgd, factor=1.0), line], [5, 15]
    scheduler = torch_lr.SequentialLR(sgd, [warmup, *after], ends)
    for samples in range(21):
        assert optim.lr_at(samples, Length(5, 20), cfg) == pytest.approx(sgd.param_groups[0]["lr"], abs=1e-9)
        sgd.step()
        scheduler.step()


def test_weight_decay_stays_or_goes_half_a_cosine_to_its_end() -> None:
    length = Length(warmup=30, total=120)
    assert optim.weight_decay_at(77, length, OptimConfig(weight_decay=0.3)) == 0.3
    cfg = OptimConfig(weight_decay=0.04, final_weight_decay=0.4)
    values = [optim.weight_decay_at(n, length, cfg) for n in (0, 30, 60, 120, 200)]
    assert values == pytest.approx([0.04, 0.22 - 0.18 * math.sqrt(0.5), 0.22, 0.4, 0.4])
    down = OptimConfig(weight_decay=0.04, final_weight_decay=0.0)
    assert optim.weight_decay_at(120, length, down) == 0.0


def test_the_numbers_of_a_step_are_those_after_it() -> None:
    cfg = TrainConfig(optim=OptimConfig(base_lr=1.0, beta1=0.5, beta2=0.75, weight_decay=0.2))
    scalars = optim.scalars_at(2, 8, Length(16, 32), cfg)
    assert scalars[:2] == (0.5, 0.2)
    assert scalars[3:] == (0.25, 0.75, 0.4375)
    names = ("lr", "ema", "corrected lr", "inverse root", "progress", "decay of a step")
    numbers = dict(zip(names, scalars.host_tensor().tolist(), strict=True))
    assert numbers == pytest.approx(
        {
            "lr": 0.5,
            "ema": scalars.ema,
            "corrected lr": 0.5 / 0.75,
            "inverse root": 0.4375**-0.5,
            "progress": 0.25,
            "decay of a step": 0.1,
        }
    )


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
    """As it runs on XLA, against torch.optim.AdamW in float64; lr = 0 moves nothing and makes no NaN.

    Weight decay is another one at each step; that of the settings stands in no step.
    """
    cfg = OptimConfig(weight_decay=0.7)
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
        corrections = 1 - cfg.beta1**step, 1 - cfg.beta2**step
        scalars = Scalars(lr, 0.05 * step, 1.0, 0.5, *corrections)
        optim.step(reference, scalars, scalars.host_tensor(), optim.adamw, torch.zeros(()))
        assert [group["weight_decay"] for group in reference.param_groups] == [0.05 * step, 0.0]
        optim._step_by_tensors(optimizer, scalars.host_tensor().double(), optim.adamw, torch.zeros(()))
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.isfinite(a).all()
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
    reference.load_state_dict(optimizer.state_dict())  # the same state: a checkpoint fits every backend


@pytest.mark.parametrize("form", ["plain", "fused", "tensors"])  # as on a CPU, on CUDA, on XLA
def test_a_skipped_step_changes_nothing_and_the_next_one_is_the_one_after(form: str) -> None:
    """Gradients that are not finite, against an optimizer that never saw them."""
    cfg = OptimConfig(weight_decay=0.1)
    models, optimizers = [nn.Linear(5, 3) for _ in range(2)], []
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        optimizer = optim.build(model, cfg)
        if form == "fused":
            groups = [{"params": group["params"]} for group in optimizer.param_groups]
            optimizer = torch.optim.AdamW(groups, eps=cfg.eps, fused=True)
        for parameter in model.parameters():
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            optimizer.state[parameter] = {"step": torch.zeros(()), **moments}
        optimizers.append(optimizer)
    step = optim.step
    if form == "tensors":
        step = lambda optimizer, _, scalars_5, *rest: optim._step_by_tensors(optimizer, scalars_5, *rest)  # noqa: E731
    updates = 0
    for number, bad in enumerate([False, True, False, True, False]):
        torch.manual_seed(number)
        gradients = [torch.randn_like(p) for p in models[0].parameters()]
        for model, optimizer, skips in zip(models, optimizers, (True, False), strict=True):
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.grad = gradient * float("nan") if bad else gradient.clone()
            corrections = 1 - cfg.beta1 ** (updates + 1), 1 - cfg.beta2 ** (updates + 1)
            scalars = Scalars(0.01, 0.1, 1.0, 0.5, *corrections)
            if skips or not bad:
                step(optimizer, scalars, scalars.host_tensor(), optim.adamw, torch.tensor(float(bad)))
        updates += not bad
        for a, b in zip(*(model.parameters() for model in models), strict=True):
            assert torch.equal(a, b)
            assert torch.isfinite(a).all()
            one, other = optimizers[0].state[a], optimizers[1].state[b]
            names = [name for name in one if name != "step" or form != "tensors"]  # XLA's host counts on
            assert all(torch.equal(one[name], other[name]) for name in names)
