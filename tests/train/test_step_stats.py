"""What a run is watched by: its loss and norm, and a collapse that is said aloud."""

import pytest
import torch
from torch import Tensor

from octshard.config.train import RunConfig
from octshard.devices import select
from octshard.train import step_stats
from octshard.train.step_stats import LogWindow, StepOutputs, StepRecord

CPU = select.open_backend(RunConfig(device="cpu"))


def seen_with(sums: list[float], tokens_RF: Tensor) -> StepOutputs:
    return StepOutputs(torch.tensor(sums), torch.tensor(2.0), tokens_RF, tokens_RF, torch.zeros(2))


def test_a_number_that_is_not_finite_counts_once() -> None:
    nan, inf, finite = (torch.tensor(x) for x in (float("nan"), float("inf"), 1.0))
    pairs = ((finite, finite), (nan, finite), (finite, inf), (nan, inf))
    assert [float(step_stats.nonfinite(a, b)) for a, b in pairs] == [0.0, 1.0, 1.0, 1.0]


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


def test_the_longest_wait_of_one_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps 7, 8, 9 wait 1, 4 and 2 seconds of 20; what a last wait brought no step for is no step's."""
    clock = iter([0.0, 1.0, 2.0, 5.0, 9.0, 10.0, 12.0, 13.0, 18.0, 20.0])
    monkeypatch.setattr(step_stats.time, "perf_counter", lambda: next(clock))
    window = LogWindow(5)
    for step in (7, 8, 9):
        window.waiting()
        window.working()
        window.add(StepRecord(step, (), torch.zeros(1), torch.zeros(()), 0.0))
    window.waiting()
    window.working()
    speed = window.speed(40, 2)
    assert speed == {
        "volumes_per_s_per_device": 3.0,
        "data_wait": 12 / 20,
        "data_wait_worst_s": 4.0,
        "data_wait_worst_step": 8,
    }
    assert tuple(speed) == step_stats.SPEEDS
