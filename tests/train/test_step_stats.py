"""What a run is watched by: its loss and norm, and a collapse that is said aloud."""

import pytest
import torch
from torch import Tensor

from octshard.config.run import RunConfig
from octshard.devices import select
from octshard.stream.sampler import StreamPosition
from octshard.train import step_stats
from octshard.train.objectives import collapse
from octshard.train.step_stats import LogWindow, StepOutputs, StepPositions, StepRecord, Sums

CPU = select.open_backend(RunConfig(device="cpu"))

POSITIONS = StepPositions(StreamPosition(0, 0), StreamPosition(0, 0))


def seen_with(sums: list[float], tokens_RF: Tensor, pooled_BF: Tensor | None = None) -> StepOutputs:
    """A step's outputs; pooled_BF: of the volumes since the last read, those of the tokens if not said."""
    spread = collapse.no_spread(tokens_RF.shape[1])
    for row_F in tokens_RF if pooled_BF is None else pooled_BF:
        spread = collapse.add_volumes(spread, row_F[None])  # one volume at a time
    of_window = Sums(torch.tensor(sums), torch.tensor(3.0), spread)
    return StepOutputs(of_window, torch.tensor(2.0), tokens_RF, torch.zeros(2))


def line_of(tokens_RF: Tensor, pooled_BF: Tensor | None = None) -> str:
    values = step_stats.read(seen_with([1.0, 0.0], tokens_RF, pooled_BF), 1, CPU)
    return str(step_stats.collapse_line({"step": 7, **values}, "advice") or "")


def test_a_number_that_is_not_finite_counts_once() -> None:
    nan, inf, finite = (torch.tensor(x) for x in (float("nan"), float("inf"), 1.0))
    pairs = ((finite, finite), (nan, finite), (finite, inf), (nan, inf))
    assert [float(step_stats.nonfinite(a, b)) for a, b in pairs] == [0.0, 1.0, 1.0, 1.0]


def test_the_loss_is_the_mean_of_the_window() -> None:
    outputs = seen_with([6.0, 0.0], torch.eye(4))
    values = step_stats.read(outputs, 3, CPU)
    assert values["loss"] == 2.0
    assert "context_loss" not in values
    assert step_stats.read(outputs, 3, CPU, has_context_loss=True) == {**values, "context_loss": 1.0}
    assert values["grad_norm"] == 2.0
    assert values["rank"] == pytest.approx(4.0, rel=1e-4)


def test_features_that_are_the_same_for_all_tokens_are_said_aloud() -> None:
    torch.manual_seed(0)
    assert line_of(torch.randn(64, 8)) == ""
    line = line_of(torch.ones(64, 8) + 1e-4 * torch.randn(64, 8))
    assert line.startswith("step 7: features have collapsed: they are the same for all tokens")


def test_features_that_say_only_the_place_are_said_aloud() -> None:
    torch.manual_seed(0)
    tokens_RF, volume_F = torch.randn(64, 8), torch.randn(8)
    same_BF = volume_F.expand(5, 8)
    assert "they say only where a token lies (std 1, of whole volumes 0)" in line_of(tokens_RF, same_BF)
    assert "they say only" in line_of(tokens_RF, same_BF + 1e-3 * torch.randn(5, 8))
    assert line_of(tokens_RF, same_BF + 1e-2 * torch.randn(5, 8)) == ""
    assert line_of(tokens_RF, same_BF[:4]) == ""  # three pairs are too few to say so


def test_a_low_rank_is_no_collapse() -> None:
    line = torch.linspace(-1, 1, 64)[:, None] * torch.ones(64, 8)
    assert line_of(line) == ""


def test_volumes_of_all_processes_count() -> None:
    class Three(type(CPU)):  # type: ignore[misc]
        def all_reduce_sum(self, tensor: Tensor) -> Tensor:
            return 3 * tensor

    pooled_BF = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])  # two pairs here, six in all
    outputs = seen_with([6.0, 0.0], torch.eye(2), pooled_BF)
    assert "pooled_std" not in step_stats.read(outputs, 1, CPU)
    values = step_stats.read(outputs, 1, Three(None, torch.device("cpu")))
    assert values["pooled_std"] == pytest.approx(((8 / 4) ** 0.5 + (4 / 4) ** 0.5) / 2)
    assert values["loss"] == 6.0


def test_the_longest_wait_of_one_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps 7, 8, 9 wait 1, 4 and 2 seconds of 20; what a last wait brought no step for is no step's."""
    clock = iter([0.0, 1.0, 2.0, 5.0, 9.0, 10.0, 12.0, 13.0, 18.0, 20.0])
    monkeypatch.setattr(step_stats.time, "perf_counter", lambda: next(clock))
    window = LogWindow(5)
    for step in (7, 8, 9):
        window.waiting()
        window.working()
        window.add(StepRecord(step, (), torch.zeros(1), torch.zeros(()), 0.0, POSITIONS))
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
