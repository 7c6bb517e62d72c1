"""One writer per target; what died holds nothing, what was lost is said."""

import json
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

from octshard.errors import OctshardError
from octshard.storage import lock, remote, store
from octshard.storage.store import StoreError
from tests.support.faulty_store import LOST, RESET


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.random, "uniform", lambda low, high: 0.0)


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
    code = """import sys; from octshard.storage import lock
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


def test_a_lock_that_cannot_be_written_is_one_clear_line() -> None:
    with pytest.raises(StoreError, match=r"^/dev/full: ") as caught, lock.one_writer("/dev/full"):
        pass
    assert "\n" not in str(caught.value)


def test_a_lock_that_does_not_fit_on_the_disk_is_one_clear_line(tmp_path: Path) -> None:
    code = """import resource, sys; from octshard.storage import lock
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # as a full disk: the file is made, a write fails
with lock.one_writer(sys.argv[1]): print('held')"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "lock")], capture_output=True, text=True
    )
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].endswith(f"StoreError: {tmp_path / 'lock'}: File too large")


def test_a_stale_remote_lock_is_taken_over(remote_lock: str) -> None:
    store.write(remote_lock, b'{"token": "x", "host": "elsewhere", "pid": 1, "time": 0}')
    with lock.one_writer(remote_lock):
        assert b"elsewhere" not in store.read(remote_lock)
    assert not store.exists(remote_lock)


def test_a_kept_lease_grows_younger(remote_lock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.001)
    beats = threading.Semaphore(0)
    replace = store.put_if_version

    def counted(url: str, data: bytes, version: str) -> str | None:
        try:
            return replace(url, data, version)
        finally:
            beats.release()

    monkeypatch.setattr(store, "put_if_version", counted)
    with lock.one_writer(remote_lock):
        assert beats.acquire(timeout=30)
        first = json.loads(store.read(remote_lock))
        for _ in range(3):
            assert beats.acquire(timeout=30)
        now = json.loads(store.read(remote_lock))
    assert now["token"] == first["token"]
    assert now["time"] > first["time"]


@pytest.fixture(params=["memory", "gs", "s3", pytest.param("moto", marks=pytest.mark.s3)])
def remote_lock(request: pytest.FixtureRequest) -> str:
    """A lock on each remote store that heeds the condition of a put."""
    name = uuid.uuid4().hex
    if request.param == "memory":
        return f"memory://{name}/lock"
    if request.param == "moto":
        return f"{request.getfixturevalue('s3')}/{name}/lock"
    request.getfixturevalue("faulty")
    return f"{request.param}://faulty/{name}/lock"


@pytest.mark.parametrize("stale", [True, False])
def test_of_two_takers_one_wins(remote_lock: str, stale: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both see that nobody living holds it before either writes."""
    if stale:
        store.write(remote_lock, b'{"token": "x", "host": "elsewhere", "pid": 1, "time": 0}')
    meet, end, one_by_one, readers = threading.Barrier(2), threading.Barrier(2), threading.Lock(), set()
    read, replace = store.read_version, store.put_if_version

    def read_then_meet(url: str) -> tuple[bytes, str]:
        me = threading.get_ident()
        try:
            return read(url)
        finally:
            if me not in readers:
                readers.add(me)
                meet.wait(30)

    def replace_in_turn(url: str, data: bytes, version: str) -> str | None:
        with one_by_one:  # the emulator looks at the condition and writes in two moves
            return replace(url, data, version)

    monkeypatch.setattr(store, "read_version", read_then_meet)
    monkeypatch.setattr(store, "put_if_version", replace_in_turn)
    outcomes = []

    def take() -> None:
        try:
            with lock.one_writer(remote_lock):
                outcomes.append("taken")
                end.wait(30)
        except OctshardError as error:
            outcomes.append(str(error).split(": ", 1)[1][:7])
            end.wait(30)

    takers = [threading.Thread(target=take) for _ in range(2)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    assert sorted(outcomes) == ["process", "taken"]
    assert not store.exists(remote_lock)


@pytest.mark.parametrize("fault", [503, RESET, LOST])
def test_a_lock_outlives_faults(fault: str | int, remote_lock: str, request: pytest.FixtureRequest) -> None:
    if "faulty" not in remote_lock:
        pytest.skip("fails on demand only where a test can demand it")
    faulty = request.getfixturevalue("faulty")
    faulty.fail(fault, when="POST|PUT")
    with lock.one_writer(remote_lock):
        assert not faulty.faults


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


@pytest.mark.parametrize("text", [b"[1]", b"", b"{", b"{}", b'{"token": "x", "time": "noon"}', b"\xff"])
def test_a_lock_that_makes_no_sense_holds_nobody(text: bytes) -> None:
    url = f"memory://{uuid.uuid4().hex}/lock"
    store.write(url, text)
    with lock.one_writer(url):
        pass


def test_a_folder_that_cannot_be_is_one_clear_line() -> None:
    with pytest.raises(StoreError, match="cannot be written"), lock.one_writer("/proc/nowhere/lock"):
        pass
