"""One writer per target; what died holds nothing, what was lost is said."""

import json
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

from octshard import lock, store
from octshard.errors import OctshardError
from octshard.store import StoreError


def test_one_writer_per_target(root: str) -> None:
    url = store.join(root, "lock")
    with (
        lock.one_writer(url),
        pytest.raises(OctshardError, match="is writing here, want one writer"),
        lock.one_writer(url),
    ):
        pass
    with lock.one_writer(url):
        pass


def test_a_killed_run_holds_no_lock(tmp_path: Path) -> None:
    url = str(tmp_path / "lock")
    code = """import sys; from octshard import lock
with lock.one_writer(sys.argv[1]): print('held', flush=True); sys.stdin.read()"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(OctshardError, match=f"process {holder.pid} on"), lock.one_writer(url):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with lock.one_writer(url):
        pass


def test_a_stale_remote_lock_is_taken_over() -> None:
    url = f"memory://{uuid.uuid4().hex}/lock"
    store.write(url, b'{"token": "x", "host": "elsewhere", "pid": 1, "time": 0}')
    with lock.one_writer(url):
        assert b"elsewhere" not in store.read(url)


def steal(url: str) -> None:
    """Puts another owner's lease and waits until the holder's heartbeat has seen it."""
    thief = {"token": "another", "host": "elsewhere", "pid": 1, "time": 1e12}
    heartbeat = next(thread for thread in threading.enumerate() if thread.name == f"lease of {url}")
    for _ in range(200):
        store.write(
            url, json.dumps(thief).encode()
        )  # again, should a beat have come between its read and write
        heartbeat.join(timeout=0.05)
        if not heartbeat.is_alive():
            return


def test_a_lease_that_was_taken_over_ends_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.01)
    url = f"memory://{uuid.uuid4().hex}/lock"
    with pytest.raises(StoreError, match="the lock was lost"), lock.one_writer(url):
        steal(url)
    assert json.loads(store.read(url))["token"] == "another"


def test_a_lock_that_makes_no_sense_holds_nobody() -> None:
    url = f"memory://{uuid.uuid4().hex}/lock"
    store.write(url, b"[1]")
    with lock.one_writer(url):
        pass


def test_a_folder_that_cannot_be_is_one_clear_line() -> None:
    with pytest.raises(StoreError, match="cannot be written"), lock.one_writer("/proc/nowhere/lock"):
        pass
