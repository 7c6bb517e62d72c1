"""Memory that is full is met before the first step: smaller micro-batches, or once a smaller image."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from octshard.config.train import TrainConfig
from octshard.errors import OctshardError, UsageError
from octshard.models import checkpoint
from octshard.train import loop, memory_probe
from octshard.train.objectives.jepa import Jepa
from tests.support.processes import start_together
from tests.support.tiny_run import config_for, write_dataset
from tests.train.test_loop import Listener, final_of, run, same_state
from tests.train.test_nonfinite import stop_at

PROBED = ("run.samples_budget=8", "run.global_batch=8", "run.per_device_batch=8", "run.memory_probe=on")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21, "val": 4})


def full_above(volumes: int, voxels: int = 10**9) -> Callable[..., Any]:
    """A forward pass for which the device's memory is too small above a micro-batch or an image."""
    forward = Jepa.forward

    def limited(self: Jepa, context_BCDHW: torch.Tensor, *rest: Any) -> Any:
        if len(context_BCDHW) > volumes or context_BCDHW[0].numel() > voxels:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")
        return forward(self, context_BCDHW, *rest)

    return limited


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Micro-batches of every forward pass that was begun in training."""
    sizes: list[int] = []
    make_step = memory_probe.make_step

    def counted(run: Any, state: Any, micro_batches: Any, sums: Any) -> Any:
        sizes.append(len(micro_batches[0].host.batch.keys))
        return make_step(run, state, micro_batches, sums)

    monkeypatch.setattr(memory_probe, "make_step", counted)
    return sizes


def test_the_micro_batch_is_halved_until_it_fits_and_a_resume_begins_with_it(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forwards: list[int]
) -> None:
    length = "run.samples_budget=24"
    monkeypatch.setattr(Jepa, "forward", full_above(3))
    cfg, listener = config_for(shards, tmp_path / "run", *PROBED, length), Listener({1: signal.SIGTERM})
    assert run(cfg, listener).step == 1
    assert forwards == [8, 4, 2, 2]  # the one that fits makes two steps
    expected = "WARNING run.per_device_batch=8 does not fit into memory: 2 instead, with more accumulation"
    assert any(line.startswith(expected) for line in listener.lines), listener.lines
    assert any("global batch 8 = 2 x 1 cpu x 4" in line for line in listener.lines)
    record = json.loads((tmp_path / "run" / "memory.json").read_text())
    assert record["asked"] == {"per_device_batch": 8, "image_size": [8, 32, 16]}
    assert record["chosen"] == {"per_device_batch": 2, "image_size": [8, 32, 16]}
    forwards.clear()
    assert run(cfg).step == 3
    assert forwards == [2, 2]
    # the run is that of somebody who asked for 2
    monkeypatch.undo()
    plain = config_for(shards, tmp_path / "plain", *PROBED, length, "run.per_device_batch=2")
    plain.run.memory_probe = "off"
    loop.train(plain)
    assert same_state(final_of(cfg), final_of(plain))
    assert cfg.run.per_device_batch == 8  # the caller's config stays


def test_a_probe_changes_nothing_of_a_run_that_fits(shards: str, tmp_path: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    cfgs = [
        config_for(shards, tmp_path / name, *PROBED, f"run.memory_probe={name}") for name in ("on", "off")
    ]
    for cfg in cfgs:
        loop.train(cfg)
    assert same_state(*(final_of(cfg) for cfg in cfgs))
    assert torch.equal(before, torch.get_rng_state())
    assert not (tmp_path / "on" / "memory.json").exists()


def test_on_the_cpu_nothing_is_tried_unless_asked_for(
    shards: str, tmp_path: Path, forwards: list[int]
) -> None:
    loop.train(config_for(shards, tmp_path, *PROBED, "run.memory_probe=auto"))
    assert forwards == []


def test_a_batch_that_halves_badly_takes_the_next_divisor() -> None:
    class Two:
        device_count = 2

    cfg = TrainConfig()
    cfg.run.global_batch, cfg.run.per_device_batch = 36, 9
    batches = [c.run.per_device_batch for c in memory_probe._candidates(cfg, Two(), is_new=True)]  # type: ignore[arg-type]
    assert batches == [9, 3, 1]
    assert all(18 % batch == 0 for batch in batches)


def test_what_fits_at_no_batch_is_one_line(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forwards: list[int]
) -> None:
    monkeypatch.setattr(Jepa, "forward", full_above(0))
    cfg = config_for(shards, tmp_path, *PROBED)
    with pytest.raises(
        UsageError, match=r"run.per_device_batch=1: memory of cpu is full; .*oom_shrink=true"
    ) as error:
        loop.train(cfg)
    assert "\n" not in str(error.value)
    assert forwards == [8, 4, 2, 1]
    assert checkpoint.list_checkpoints(str(tmp_path)) == []


def test_byols_micro_batch_is_not_made_smaller(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forwards: list[int]
) -> None:
    monkeypatch.setattr(Jepa, "forward", full_above(4))
    with pytest.raises(UsageError, match=r"per_device_batch=8: .*with BatchNorm a smaller one is another"):
        loop.train(config_for(shards, tmp_path, *PROBED, "objective.name=byol"))
    assert forwards == [8]


def test_a_new_run_may_take_the_smaller_image_once_and_keeps_it(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same at a size of this test: of 8 x 32 x 16 voxels 8 x 16 x 16 are left."""
    monkeypatch.setattr(memory_probe, "SHRUNK", [8, 16, 16])
    more = (
        "run.samples_budget=24",
        "run.oom_shrink=true",
        "objective.masks=[{kind: cubes, cube: [1,1,1], context: 4, target: 3}]",
    )
    whole, cut = (config_for(shards, tmp_path / name, *PROBED, *more) for name in ("whole", "cut"))
    with monkeypatch.context() as patched:
        patched.setattr(Jepa, "forward", full_above(8, 8 * 16 * 16))
        listener = Listener()
        assert run(whole, listener).step == 3
        assert loop.train(cut, stop_at(1)).step == 1
    assert any("model.image_size=[8, 32, 16] does not fit" in line for line in listener.lines)
    assert "image_size:\n  - 8\n  - 16\n  - 16" in final_of(whole)["config"]
    # a resume takes it without a word, also with memory enough
    assert loop.train(cut).step == 3
    assert same_state(final_of(whole), final_of(cut))
    # a run that was begun at the larger image never shrinks
    large = config_for(shards, tmp_path / "large", *PROBED, *more)
    loop.train(large, stop_at(1))
    monkeypatch.setattr(Jepa, "forward", full_above(8, 8 * 16 * 16))
    with pytest.raises(UsageError, match="memory of cpu is full"):
        loop.train(large)


def test_memory_that_is_full_later_is_one_line(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(step: int, steps: int, note: str) -> None:
        if step == 1:
            monkeypatch.setattr(Jepa, "forward", full_above(1))

    cfg = config_for(shards, tmp_path, *PROBED, "run.samples_budget=24", "run.memory_probe=auto")
    with pytest.raises(
        OctshardError, match=r"memory is full at run.per_device_batch=8 .*goes on from there"
    ) as error:
        loop.train(cfg, full)
    assert "\n" not in str(error.value)


GLOO = """
from octshard.train import loop
from octshard.train.objectives.jepa import Jepa
from tests.support.tiny_run import config_for
from tests.train.test_memory_probe import full_above

Jepa.forward = full_above({volumes})
loop.train(config_for({shards!r}, {out!r}, *{settings!r}))
"""


def test_of_two_processes_all_take_what_fits_into_the_smaller(shards: str, tmp_path: Path) -> None:
    settings = (*PROBED, "run.per_device_batch=4")
    scripts = [
        GLOO.format(volumes=volumes, shards=shards, out=str(tmp_path), settings=settings)
        for volumes in (8, 1)
    ]
    processes = start_together(scripts)
    outputs = [process.communicate(timeout=400) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert json.loads((tmp_path / "memory.json").read_text())["chosen"]["per_device_batch"] == 1
    assert final_of(config_for(shards, tmp_path))["step"] == 1
