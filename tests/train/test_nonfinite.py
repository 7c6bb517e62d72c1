"""A bad number names its step and its volumes, all of them, with their losses; its step changes nothing."""

import copy
import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from octshard.config.run import RunConfig
from octshard.config.train import TrainConfig
from octshard.devices import select
from octshard.errors import OctshardError
from octshard.models import checkpoint
from octshard.storage import store
from octshard.stream.sampler import StreamPosition
from octshard.train import inputs, loop, nonfinite
from octshard.train.augment import views
from octshard.train.checkpointer import Checkpointer, TrainState
from octshard.train.setup import Run
from octshard.train.step_stats import LogWindow, StepPositions, StepRecord
from tests.support.processes import start_together
from tests.support.tiny_run import config_for, write_dataset
from tests.train.test_loop import final_of, same_state

NAN, INF = float("nan"), float("inf")
POSITIONS = StepPositions(StreamPosition(0, 0), StreamPosition(0, 0))


def run_in(folder: Path, process_index: int = 0, process_count: int = 1) -> Run:
    cpu = select.open_backend(RunConfig(device="cpu"))
    row = SimpleNamespace(key="eye-4-1")
    index = SimpleNamespace(
        samples=[SimpleNamespace(row=row, shard=SimpleNamespace(url="shards/train-0.tar"))]
    )
    backend = SimpleNamespace(to_host=cpu.to_host, process_index=process_index, process_count=process_count)
    cfg = TrainConfig(run=RunConfig(out=str(folder)))
    return cast(
        Run, SimpleNamespace(cfg=cfg, backend=backend, inputs=SimpleNamespace(index=index), is_first=False)
    )


def check(run: Run, sums_2: torch.Tensor, window: LogWindow) -> None:
    """After step 5, in a process that keeps no state."""
    state = cast(TrainState, SimpleNamespace(step=5))
    nonfinite.check(run, state, sums_2, window, cast(Checkpointer, None))


def window_of(losses: list[float], norm: float) -> LogWindow:
    window = LogWindow(5)
    for step in range(1, 6):
        keys = tuple(f"eye-{step}-{i}" for i in range(len(losses)))
        window.add(StepRecord(step, keys, torch.tensor(losses), torch.tensor(norm), 0.5, POSITIONS))
    return window


def test_finite_numbers_pass(tmp_path: Path) -> None:
    check(run_in(tmp_path), torch.tensor([3.0, 0.0]), window_of([1.0], 1.0))
    assert list(tmp_path.iterdir()) == []


def test_the_volume_with_the_bad_loss_is_named_and_all_are_in_the_file(tmp_path: Path) -> None:
    """Two steps of five were bad, so the fourth was the first."""
    with pytest.raises(
        OctshardError, match=r"step 4: .*the loss is not for eye-4-1, eye-4-2 \(all 3"
    ) as error:
        check(run_in(tmp_path), torch.tensor([NAN, 2.0]), window_of([1.5, NAN, INF], NAN))
    assert "\n" not in str(error.value)
    assert "--accept-changes" in str(error.value)
    text = (tmp_path / "nonfinite-step-00000004.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "step": 4,
        "lr": 0.5,
        "grad_norm": "nan",
        "precision": "bf16",
        "volumes": [
            {"key": "eye-4-0", "shard": None, "loss": 1.5},
            {"key": "eye-4-1", "shard": "shards/train-0.tar", "loss": "nan"},
            {"key": "eye-4-2", "shard": None, "loss": "inf"},
        ],
    }


def test_of_a_bad_gradient_alone_the_volumes_are_named_a_few_in_the_line(tmp_path: Path) -> None:
    with pytest.raises(OctshardError, match=r"its volumes: eye-4-0, .*eye-4-7 and 2 more \(all 10"):
        check(run_in(tmp_path), torch.tensor([NAN, 2.0]), window_of([1.0] * 10, INF))
    volumes = json.loads((tmp_path / "nonfinite-step-00000004.json").read_text())["volumes"]
    assert [volume["key"] for volume in volumes] == [f"eye-4-{i}" for i in range(10)]


def test_each_of_several_processes_has_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonfinite.collectives, "all_reduce_sum", lambda backend, value: value)
    for index in range(2):
        with pytest.raises(OctshardError, match=f"process-{index}"):
            check(run_in(tmp_path, index, 2), torch.tensor([NAN, 1.0]), window_of([1.0], NAN))
    assert len(list(tmp_path.iterdir())) == 2


# 8 steps, passes of 20 samples; the host reads after steps 1, 5 and 8
LENGTH = ("run.samples_budget=32", "run.checkpoint_every_epochs=1", "run.log_every_steps=100")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21, "val": 4})


def planted(*keys: str) -> Callable[..., views.ViewParams]:
    """`views.draw` that makes numbers of these volumes NaN in the first pass."""
    draw = views.draw

    def draw_some_badly(cfg: Any, seed: int, epoch_B: Any, seeds: Any) -> views.ViewParams:
        params = draw(cfg, seed, epoch_B, seeds)
        bad_B = torch.tensor([key in keys and not epoch for key, epoch in zip(seeds, epoch_B, strict=True)])
        return params._replace(gamma_B=params.gamma_B.masked_fill(bad_B, NAN))

    return draw_some_badly


def keys_of_steps(cfg: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[str, ...]]:
    """The volumes of each step of a whole run."""
    count, keys = loop.count_step, {}

    def counted(*values: Any) -> StepRecord:
        record = count(*values)
        keys[record.step] = record.keys
        return record

    with monkeypatch.context() as patched:
        patched.setattr(loop, "count_step", counted)
        loop.train(cfg)
    return keys


def stop_at(step: int) -> Callable[[int, int, str], None]:
    return lambda at, steps, note: signal.raise_signal(signal.SIGTERM) if at == step else None


def read(folder: Path, step: int) -> Mapping[str, Any]:
    return checkpoint.load(str(folder / "checkpoints" / f"step-{step:08d}.pt"))


@pytest.mark.parametrize("objective", ["vjepa2", "byol"])
def test_a_step_that_is_not_finite_is_skipped_once_and_the_state_before_it_is_kept(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    more = (*LENGTH, f"objective.name={objective}")
    cfgs = {name: config_for(shards, tmp_path / name, *more) for name in ("clean", "two", "bad", "without")}
    bad_key = keys_of_steps(cfgs["clean"], monkeypatch)[3][1]
    loop.train(cfgs["two"], stop_at(2))
    folder = tmp_path / "bad" / "nonfinite-step-00000003"
    with monkeypatch.context() as patched:
        patched.setattr(inputs.views, "draw", planted(bad_key))
        line = f"step 3: .*the loss is not for .*{bad_key}.*repeats it.*the same command goes on behind it"
        with pytest.raises(OctshardError, match=line):
            loop.train(cfgs["bad"])
        assert same_state(read(folder, 2), final_of(cfgs["two"]))  # two steps were made, and no more
        skipped = final_of(cfgs["bad"])
        assert (skipped["step"], skipped["skipped"], skipped["samples_seen"]) == (3, [3], 12)
        assert all(torch.equal(tensor, read(folder, 2)["model"][n]) for n, tensor in skipped["model"].items())
        # the folder is a run that makes the step again
        with pytest.raises(OctshardError, match=f"step 3: .*the loss is not for .*{bad_key}"):
            loop.train(config_for(shards, folder, *more))
        # and the same command goes on; a signal on the way changes nothing
        assert loop.train(cfgs["bad"], stop_at(6)).step == 6
        assert loop.train(cfgs["bad"]).step == 8
    with monkeypatch.context() as patched:
        patched.setattr(loop, "make_step", without_update_of(3))
        loop.train(cfgs["without"])
    assert same_state(final_of(cfgs["bad"]), final_of(cfgs["without"]))
    assert not same_state(final_of(cfgs["bad"]), final_of(cfgs["clean"]))


def without_update_of(step: int) -> Callable[..., Any]:
    """`make_step` that takes back what that step changed."""
    make_step = loop.make_step

    def made(run: Run, state: TrainState, *values: Any) -> Any:
        before = copy.deepcopy((state.model.state_dict(), state.optimizer.state_dict()))
        outputs = make_step(run, state, *values)
        if state.step + 1 == step:
            state.model.load_state_dict(before[0])
            state.optimizer.load_state_dict(before[1])
        return outputs

    return made


def test_a_second_such_step_ends_the_run_where_it_is_until_changes_are_accepted(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = keys_of_steps(config_for(shards, tmp_path / "clean", *LENGTH), monkeypatch)
    monkeypatch.setattr(inputs.views, "draw", planted(keys[1][0], keys[4][0]))
    cfg = config_for(shards, tmp_path / "bad", *LENGTH)
    with pytest.raises(OctshardError, match=r"step 1: .*goes on behind it"):
        loop.train(cfg)
    assert final_of(cfg)["step"] == 1
    for _ in range(2):
        with pytest.raises(OctshardError, match=r"step 4: .*second one: nothing was saved since"):
            loop.train(cfg)
        assert final_of(cfg)["step"] == 1
        assert read(tmp_path / "bad" / "nonfinite-step-00000004", 3)["skipped"] == [1]
    slower = config_for(shards, tmp_path / "bad", *LENGTH, "optim.base_lr=0.001")
    with pytest.raises(OctshardError, match=r"step 4: .*goes on behind it"):
        loop.train(slower, accept_changes=True)
    assert loop.train(slower).step == 8
    assert final_of(cfg)["skipped"] == [1, 4]


def test_a_state_that_cannot_be_kept_is_said_beside_the_volumes(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config_for(shards, tmp_path / "bad", *LENGTH)
    bad_key = keys_of_steps(config_for(shards, tmp_path / "clean", *LENGTH), monkeypatch)[3][1]

    def full_disk(*_: Any, **__: Any) -> None:
        raise store.StoreError("the disk is full")

    monkeypatch.setattr(inputs.views, "draw", planted(bad_key))
    monkeypatch.setattr(nonfinite.checkpoint, "write", full_disk)
    with pytest.raises(OctshardError, match=f"step 3: .*{bad_key} .*could not be kept: the disk is full"):
        loop.train(cfg)
    assert checkpoint.list_checkpoints(cfg.run.out) == []


GLOO = """
from octshard.errors import OctshardError
from octshard.train import inputs, loop
from tests.support.tiny_run import config_for
from tests.train.test_nonfinite import planted
import torch

inputs.views.draw = planted({bad_key!r})
try:
    loop.train(config_for({shards!r}, {out!r}, *{settings!r}))
except OctshardError as error:
    print("ended:", error)
"""


def test_two_processes_skip_the_step_that_is_bad_in_one_of_them(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = (*LENGTH, "run.per_device_batch=2")
    bad_key = keys_of_steps(config_for(shards, tmp_path / "clean", *more), monkeypatch)[3][1]
    script = GLOO.format(bad_key=bad_key, shards=shards, out=str(tmp_path / "bad"), settings=more)
    outputs = [process.communicate(timeout=400) for process in start_together([script, script])]
    lines = [next(line for line in stdout.splitlines() if line.startswith("ended")) for stdout, _ in outputs]
    assert all("step 3: loss or gradient is not finite" in line for line in lines), outputs
    assert sum(f"the loss is not for {bad_key} " in line for line in lines) == 1
    # one process alone, of the same micro-batches: what both have kept is the state before the step
    loop.train(config_for(shards, tmp_path / "two", *more), stop_at(2))
    kept, alone = read(tmp_path / "bad" / "nonfinite-step-00000003", 2), read(tmp_path / "two", 2)
    for name, tensor in kept["model"].items():
        torch.testing.assert_close(tensor, alone["model"][name], rtol=1e-4, atol=1e-6)
    skipped = read(tmp_path / "bad", 3)
    assert all(torch.equal(tensor, kept["model"][name]) for name, tensor in skipped["model"].items())
