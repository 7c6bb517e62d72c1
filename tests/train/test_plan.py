"""The plan of a run: lengths by hand, and one clear line for numbers that do not fit."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from octshard.errors import UsageError
from octshard.stream.batch import RankSlice
from octshard.stream.index import load_index
from octshard.train import plan
from octshard.train.optim import Length
from octshard.train.plan import Plan
from tests.support.tiny_run import config_for, write_dataset


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 17})


def plan_for(shards: str, *more: str, needed: int = 0, devices: int = 1) -> Plan:
    cfg = config_for(shards, "nowhere", *more)
    return plan.make_plan(cfg, load_index(cfg, "train", needed), backend_of(devices))


def backend_of(devices: int, processes: int = 1) -> Any:
    return SimpleNamespace(
        device=torch.device("cpu"), device_count=devices, process_index=0, process_count=processes
    )


def test_a_length_in_epochs_becomes_samples(shards: str) -> None:
    """17 samples make two lanes and passes of 16; 2.6 passes are 41.6 samples, 11 steps of 4."""
    plan_of_epochs = plan_for(
        shards, "run.epochs=2.6", "run.per_device_batch=1", "run.checkpoint_every_epochs=0.5", devices=2
    )
    assert plan_of_epochs == Plan(11, 16, Length(4, 44), RankSlice(2, 0, 1), 2, 8)


def test_a_budget_in_samples_is_a_length_too(shards: str) -> None:
    assert plan_for(shards, "run.samples_budget=8").steps == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((), "want exactly one of the two"),
        (("run.epochs=1", "run.samples_budget=8"), "want exactly one of the two"),
        (("run.epochs=0.01",), "no samples at all"),
        (("run.epochs=0",), "run.epochs=0.0: want more than 0"),
        (("run.epochs=1", "run.global_batch=6"), "not a multiple of run.per_device_batch=4 x 1 devices = 4"),
        (("run.epochs=1", "run.global_batch=0"), "run.global_batch=0: want at least 1"),
        (("run.epochs=1", "run.log_every_steps=0"), "run.log_every_steps=0: want at least 1"),
        (("run.epochs=1", "data.shuffle_block_size=0"), "data.shuffle_block_size=0: want at least 1"),
        (("run.epochs=1", "data.threads=0"), "data.threads=0: want at least 1"),
        (("run.epochs=1", "run.keep_last=-1"), "run.keep_last=-1: want at least 0"),
        (("run.epochs=1", "run.checkpoint_every_epochs=0"), "checkpoint_every_epochs=0.0: want more than 0"),
    ],
)
def test_numbers_that_do_not_fit_are_one_clear_line(
    shards: str, settings: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_for(shards, *settings)


def test_byols_batchnorm_is_not_split_over_processes_without_a_gpu(shards: str) -> None:
    cfg = config_for(shards, "nowhere", "run.epochs=1", "run.per_device_batch=2", "objective.name=byol")
    index = load_index(cfg, "train", 0)
    assert plan.make_plan(cfg, index, backend_of(2)).steps
    with pytest.raises(UsageError, match="byol in 2 processes on the CPU"):
        plan.make_plan(cfg, index, backend_of(2, processes=2))


def test_volumes_that_are_all_too_small_are_counted_in_the_error(shards: str) -> None:
    with pytest.raises(UsageError, match=r"0 usable train samples \(17 left out"):
        plan_for(shards, "run.epochs=1", needed=99)


def test_checkpoints_fall_due_at_thresholds_and_at_the_end(tmp_path: Path) -> None:
    run = Plan(25, 16, Length(0, 100), RankSlice(4, 0, 1), 1, 24)
    due = [after for after in range(4, 101, 4) if plan.checkpoint_due(run, after - 4, after)]
    assert due == [24, 48, 72, 96, 100]
    milestones = [after for after in due if plan.is_milestone(run, after - 4, after)]
    assert milestones == [48, 72, 96, 100]  # the first at or past 25, 50, 75 and 100


def test_every_quarter_has_its_milestone() -> None:
    run = Plan(100, 16, Length(0, 400), RankSlice(4, 0, 1), 1, 20)
    due = [after for after in range(4, 401, 4) if plan.checkpoint_due(run, after - 4, after)]
    assert [n for n in due if plan.is_milestone(run, n - 4, n)] == [100, 200, 300, 400]


def test_a_quarter_has_one_milestone_though_checkpoints_stand_past_their_thresholds() -> None:
    run = Plan(11, 16, Length(0, 44), RankSlice(4, 0, 1), 1, 10)  # due at 12, 20, 32, 40 and 44
    due = [after for after in range(4, 45, 4) if plan.checkpoint_due(run, after - 4, after)]
    assert due == [12, 20, 32, 40, 44]
    assert [n for n in due if plan.is_milestone(run, n - 4, n)] == [12, 32, 40, 44]  # past 11, 22, 33, 44
