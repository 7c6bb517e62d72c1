"""One stream for training and validation: their order, one set of threads and buffers, and signals."""

import contextlib
import itertools
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from octshard.devices import select
from octshard.models import checkpoint
from octshard.stream import loader
from octshard.stream.read_ahead import ReadAhead
from octshard.train import loop, metrics_log, setup, step_stats, validation
from octshard.train.inputs import TrainInputs, ValInputs, load_inputs, train_batches, val_batches
from octshard.train.run_batches import run_batches
from tests.support.processes import start_together
from tests.support.tiny_run import config_for, write_dataset
from tests.train.test_loop import final_of, same_state
from tests.train.test_nonfinite import stop_at

# 8 steps of two micro-batches; after steps 5 and 8 a validation of five batches of two
LENGTH = (
    "run.samples_budget=32", "run.checkpoint_every_epochs=1", "run.per_device_batch=2", "run.val_samples=9",
)  # fmt: skip


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21, "val": 9})


def keys_of(batch: Any) -> Any:
    if isinstance(batch, ValInputs):
        return "val", batch.own.batch.keys, batch.other.keys
    assert isinstance(batch, TrainInputs)
    return "train", batch.batch.keys


@pytest.mark.parametrize("step", [0, 5, 6])
def test_validation_comes_where_it_is_due_and_training_goes_on_where_it_was(
    shards: str, tmp_path: Path, step: int
) -> None:
    cfg = config_for(shards, tmp_path, *LENGTH)
    if step:
        loop.train(cfg, stop_at(step))
    with contextlib.closing(select.open_backend(cfg.run)) as backend:
        inputs = load_inputs(cfg, backend)
        payload = final_of(cfg) if step else None
        _, state = setup.start(cfg, backend, inputs, payload)
        state.owes_validation = False
        with contextlib.closing(run_batches(inputs, backend, state)) as batches:
            keys = [keys_of(batch) for batch in batches]
        with contextlib.closing(train_batches(inputs, backend, state.position)) as batches:
            trained = [keys_of(batch) for batch in itertools.islice(batches, 2 * (8 - step))]
        validated = [keys_of(batch) for batch in val_batches(inputs, backend)]
    first = trained[: 2 * max(0, 5 - step)]
    expected = [*first, *(validated if first else []), *trained[len(first) :], *validated]
    assert len(validated) == 5
    assert keys == expected


def test_validation_holds_no_threads_and_no_bytes_beside_those_of_training(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config_for(
        shards, tmp_path, *LENGTH, "data.threads=3", "data.connections=2", "data.read_ahead_bytes=9000"
    )
    opened, counts, held = list[ReadAhead](), list[int](), list[int]()

    class Watched(ReadAhead):
        def __init__(self, *values: Any) -> None:
            super().__init__(*values)
            opened.append(self)

    add = validation.val_tokens.add

    def counted(*values: Any) -> Any:
        counts.append(sum(t.name.startswith(("stream", "feed")) for t in threading.enumerate()))
        held.append(sum(read_ahead.held_bytes for read_ahead in opened))
        return add(*values)

    monkeypatch.setattr(loader, "ReadAhead", Watched)
    monkeypatch.setattr(validation.val_tokens, "add", counted)
    loop.train(cfg)
    assert len(counts) == 10
    assert max(counts) <= 3 + 2 + 1  # those of training, and the one that feeds the device
    assert len(opened) == 1
    largest = max(size for size in held)
    batch = 2 * 3200  # bytes of a batch's two samples, at most
    assert largest < 9000 + batch


def interrupt_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM in the batch of validation with that number."""
    add, numbers = validation.val_tokens.add, itertools.count(1)

    def interrupted(*values: Any) -> Any:
        if next(numbers) == number:
            signal.raise_signal(signal.SIGTERM)
        return add(*values)

    monkeypatch.setattr(validation.val_tokens, "add", interrupted)


def untimed(out: str) -> list[dict[str, Any]]:
    lines = [{k: v for k, v in line.items() if k not in step_stats.SPEEDS} for line in metrics_log.read(out)]
    return sorted(lines, key=lambda line: (line["step"], "val_loss" in line))


@pytest.mark.parametrize(("number", "step"), [(2, 5), (7, 8)])  # in the first validation, and in the last
def test_a_signal_cuts_a_validation_short_and_a_restart_makes_up_for_it(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: int
) -> None:
    whole, cut = (config_for(shards, tmp_path / name, *LENGTH) for name in ("whole", "cut"))
    loop.train(whole)
    with monkeypatch.context() as patched:
        interrupt_at(number, patched)
        outcome = loop.train(cut)
    assert (outcome.step, outcome.stop_signal, outcome.val_loss) == (step, signal.SIGTERM, None)
    assert checkpoint.list_checkpoints(cut.run.out)[-1].val_loss is None
    again = loop.train(cut)
    assert (again.step, again.stop_signal) == (8, 0)
    assert same_state(final_of(whole), final_of(cut))
    assert untimed(whole.run.out) == untimed(cut.run.out)
    scores = [
        [(info.step, info.val_loss, info.score) for info in checkpoint.list_checkpoints(cfg.run.out)]
        for cfg in (whole, cut)
    ]
    assert scores[0] == scores[1]
    assert loop.train(cut).step == 8  # now it is complete


GLOO = """
import signal
from octshard.devices.stop_agreement import StopAgreement
from octshard.train import loop, validation
from tests.support.tiny_run import config_for

add, init, signals, agreements = validation.val_tokens.add, StopAgreement.__init__, {signals!r}, []
def opened(self, *values):
    init(self, *values)
    agreements.append(self)
def interrupted(*values):
    if signals:
        signal.raise_signal(signals.pop())
    assert agreements[0]._answered.wait(60)
    return add(*values)
StopAgreement.__init__, validation.val_tokens.add = opened, interrupted
outcome = loop.train(config_for({shards!r}, {out!r}, *{settings!r}))
print("ended", outcome.step, outcome.stop_signal)
"""


def test_a_signal_to_one_of_two_processes_in_a_validation_stops_both(shards: str, tmp_path: Path) -> None:
    settings = (*LENGTH, "run.global_batch=8", "run.samples_budget=64")
    scripts = [
        GLOO.format(signals=signals, shards=shards, out=str(tmp_path), settings=settings)
        for signals in ([], [int(signal.SIGTERM)])
    ]
    processes = start_together(scripts)
    outputs = [process.communicate(timeout=400) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    ends = [next(line for line in out.splitlines() if line.startswith("ended")) for out, _ in outputs]
    assert ends == [f"ended 3 {int(signal.SIGTERM)}"] * 2
    (info,) = checkpoint.list_checkpoints(str(tmp_path))
    assert (info.step, info.val_loss) == (3, None)
