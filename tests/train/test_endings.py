"""Checkpoints that cannot be written, or not so fast: how a run ends, what is left, and that it goes on."""

import errno
import os
import signal
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from octshard.models import checkpoint
from octshard.storage import store
from octshard.storage.store import StoreError
from octshard.train import checkpointer, loop, setup
from tests.support.faulty_store import FaultyStore
from tests.support.tiny_run import config_for, write_dataset
from tests.train.test_loop import final_of, same_state

# 12 steps, and a checkpoint after each second one
LENGTH = (
    "run.samples_budget=48",
    "run.checkpoint_every_epochs=0.4",
    "run.log_every_steps=1",
    "run.val_samples=0",
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21})


def test_a_full_disk_at_a_checkpoint_ends_the_run_soon_and_the_older_one_is_whole(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fourth checkpoint meets a disk that is full after its first kilobyte."""
    whole, full = (config_for(shards, tmp_path / name, *LENGTH) for name in ("whole", "full"))
    loop.train(whole)
    write, files, failed, steps = checkpoint._HashingFile.write, list[Any](), threading.Event(), list[int]()

    def limited(self: Any, data: bytes) -> int:
        if self not in files:
            files.append(self)
        if len(files) >= 4 and self.bytes > 1000:
            failed.set()
            self.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise self.error
        return write(self, data)

    def heard(step: int, total: int, note: str) -> None:
        steps.append(step)
        if step == 8:
            assert failed.wait(30)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint._HashingFile, "write", limited)
        with pytest.raises(
            StoreError, match=r"step-00000008.pt: the disk is full; free some space and run the same"
        ):
            loop.train(full, heard)
    assert steps[-1] <= 9  # told at the next line of the log, not at the next checkpoint
    names = sorted(os.listdir(tmp_path / "full" / "checkpoints"))
    assert not [name for name in names if "00000008" in name]
    assert final_of(full)["step"] == 6
    assert loop.train(full).step == 12
    assert same_state(final_of(whole), final_of(full))


def test_a_bucket_that_cannot_be_reached_at_a_checkpoint_ends_the_run_in_one_line(
    shards: str, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCTSHARD_STORE_DEADLINE_S", "3")
    cfg = config_for(shards, f"gs://faulty/{uuid.uuid4().hex}", *LENGTH)

    def lose(step: int, total: int, note: str) -> None:
        if step == 3:
            checkpoints.wait()
            faulty.fail(*[503] * 10_000)

    opened = checkpointer.Checkpointer.__init__
    checkpoints: Any = None

    def keep(self: Any, *values: Any) -> None:
        nonlocal checkpoints
        checkpoints = self
        opened(self, *values)

    monkeypatch.setattr(checkpointer.Checkpointer, "__init__", keep)
    with pytest.raises(StoreError, match=r"gs://faulty/.*OCTSHARD_STORE_DEADLINE_S sets the time") as error:
        loop.train(cfg, lose)
    assert "\n" not in str(error.value)
    faulty.faults.clear()
    assert final_of(cfg)["step"] == 2


def test_a_slow_store_holds_the_loop_back_and_two_copies_at_most_are_held(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write ends only when the loop has made the next copy, as in a store slower than the loop."""
    host_payload, write, changed = setup.host_payload, checkpointer.write, threading.Condition()
    copies = written = most = 0

    def copied(*values: Any) -> Any:
        nonlocal copies, most
        with changed:
            copies += 1
            most = max(most, copies - written)
            changed.notify_all()
        return host_payload(*values)

    def slow(out: str, payload: Any, *values: Any, **more: Any) -> Any:
        nonlocal written
        with changed:
            due = written + 2
            assert changed.wait_for(lambda: copies >= due or payload["step"] == 12, timeout=60)
        info = write(out, payload, *values, **more)
        with changed:
            written += 1
        return info

    monkeypatch.setattr(setup, "host_payload", copied)
    monkeypatch.setattr(checkpointer, "write", slow)
    assert loop.train(config_for(shards, tmp_path, *LENGTH)).step == 12
    assert (copies, written, most) == (6, 6, 2)


def test_sigterm_while_a_checkpoint_is_on_its_way_waits_for_it_and_saves(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, stopped = checkpointer.write, threading.Event()

    def slow(out: str, payload: Any, *values: Any, **more: Any) -> Any:
        assert stopped.wait(60)
        return write(out, payload, *values, **more)

    def terminate(step: int, total: int, note: str) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGTERM)
            stopped.set()

    monkeypatch.setattr(checkpointer, "write", slow)
    cfg = config_for(shards, tmp_path, *LENGTH)
    assert loop.train(cfg, terminate).stop_signal == signal.SIGTERM
    assert [info.step for info in checkpoint.list_checkpoints(cfg.run.out)] == [2, 3]


def test_what_a_kill_left_of_an_upload_is_no_checkpoint(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are there and their .json is not: as a kill between the two leaves it in a bucket."""
    cfg = config_for(shards, f"memory://{uuid.uuid4().hex}", *LENGTH)

    class Killed(BaseException):
        """Ends the writing thread as a kill would: nothing after it runs."""

    write_info = checkpoint.write_info

    def killed(out: str, info: Any) -> Any:
        if info.step == 6:
            raise Killed
        return write_info(out, info)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "write_info", killed)
        with pytest.raises(Killed):
            loop.train(cfg)
    names = store.list_names(store.join(cfg.run.out, "checkpoints"))
    assert "step-00000006.pt" in names
    assert "step-00000006.json" not in names
    assert final_of(cfg)["step"] == 4
    assert loop.train(cfg).step == 12
