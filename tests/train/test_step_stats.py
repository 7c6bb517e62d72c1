"""What a run is watched by: a bad number names its step and volumes; a collapse is said aloud."""

import pytest
import torch
from torch import Tensor

from octshard.config.train import RunConfig
from octshard.devices import select
from octshard.errors import OctshardError
from octshard.train import step_stats
from octshard.train.step_stats import LogWindow, StepOutputs

CPU = select.open_backend(RunConfig(device="cpu"))


def seen_with(sums: list[float], tokens_RF: Tensor) -> StepOutputs:
    return StepOutputs(torch.tensor(sums), torch.tensor(2.0), tokens_RF, tokens_RF)


def test_a_number_that_is_not_finite_counts_once() -> None:
    nan, inf, finite = (torch.tensor(x) for x in (float("nan"), float("inf"), 1.0))
    pairs = ((finite, finite), (nan, finite), (finite, inf), (nan, inf))
    assert [float(step_stats.nonfinite(a, b)) for a, b in pairs] == [0.0, 1.0, 1.0, 1.0]


def test_the_first_bad_step_and_its_volumes_are_named() -> None:
    recent = LogWindow(5)
    for step in range(1, 6):
        recent.add(step, tuple(f"eye-{step}-{i}" for i in range(10)))
    step_stats.raise_if_nonfinite(torch.tensor([0.0, 0.0]), 5, recent, CPU)
    with pytest.raises(OctshardError, match=r"step 4: .* not finite.*eye-4-0, .*eye-4-7 and 2 more"):
        step_stats.raise_if_nonfinite(torch.tensor([float("nan"), 2.0]), 5, recent, CPU)


def test_the_loss_is_the_mean_of_the_window() -> None:
    values = step_stats.read(seen_with([6.0, 0.0], torch.eye(4)), 3, CPU)
    assert values["loss"] == 2.0
    assert values["grad_norm"] == 2.0
    assert values["rank"] == pytest.approx(4.0, rel=1e-4)


def test_collapsed_features_are_said_aloud() -> None:
    spread = {"step": 7, **step_stats.read(seen_with([1.0, 0.0], torch.randn(64, 8)), 1, CPU)}
    equal = {"step": 7, **step_stats.read(seen_with([1.0, 0.0], torch.ones(64, 8)), 1, CPU)}
    assert step_stats.collapse_line(spread) is None
    assert "step 7: target features have collapsed" in str(step_stats.collapse_line(equal))
    line = torch.linspace(-1, 1, 64)[:, None] * torch.ones(64, 8)  # spread, but along one direction only
    flat = {"step": 7, **step_stats.read(seen_with([1.0, 0.0], line), 1, CPU)}
    assert "effective rank 1.0" in str(step_stats.collapse_line(flat))
