"""The benchmarks' slow bucket: right bytes through every fault, and no byte before its time."""

import importlib.util
import os
import socket
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from octshard.storage import remote, store
from tests.support.emulators import need

PATH = Path(__file__).parents[2] / "benchmarks" / "slow_store.py"
DATA = np.random.default_rng(0).bytes(300_000)


@pytest.fixture(scope="module")
def slow_store() -> Iterator[ModuleType]:
    """The file, found by name also by the process that it starts."""
    spec = importlib.util.spec_from_file_location("slow_store", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PATH.parent))
        patch.setitem(sys.modules, "slow_store", module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.bin").write_bytes(DATA)
    (tmp_path / "two.bin").write_bytes(b"12")
    return tmp_path


def test_our_client_reads_it_through_faults(
    slow_store: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("gcsfs")
    monkeypatch.setattr(remote.random, "uniform", lambda low, high: 0.0)
    url = f"gs://{slow_store.BUCKET}/a/one.bin"
    with slow_store.serving(folder, fault_share=0.3, seed=1) as endpoint:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", endpoint)
        parts = [store.read_range(url, start, start + 10_000) for start in range(0, len(DATA), 10_000)]
        assert b"".join(parts) == DATA
        assert store.size(url) == len(DATA)
        assert store.etag(url) == str((folder / "a" / "one.bin").stat().st_mtime_ns)
        assert store.list_names(f"gs://{slow_store.BUCKET}") == ["a", "two.bin"]
        assert store.list_names(f"gs://{slow_store.BUCKET}/a") == ["one.bin"]
        with store.open_read(url) as file:
            file.seek(-5, os.SEEK_END)
            assert file.read() == DATA[-5:]
        for absent in ("a/none", "../two.bin"):
            with pytest.raises(FileNotFoundError):
                store.read_range(f"gs://{slow_store.BUCKET}/{absent}", 0, 1)
        with pytest.raises(store.StoreError, match="the object is shorter"):
            store.read_range(url, len(DATA) - 1, len(DATA) + 1)


def test_another_generation_is_not_served(slow_store: ModuleType, folder: Path) -> None:
    with slow_store.serving(folder) as endpoint:
        media = f"{endpoint}/download/storage/v1/b/{slow_store.BUCKET}/o/two.bin?alt=media&generation="
        now = (folder / "two.bin").stat().st_mtime_ns
        with urllib.request.urlopen(f"{media}{now}") as reply:
            assert reply.read() == b"12"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{media}{now + 1}")


class Clock:
    """Stands for `time`: it goes on only when somebody sleeps, and then a little longer than was asked."""

    def __init__(self, oversleeps_s: float) -> None:
        self.now, self.oversleeps_s = 50.0, oversleeps_s

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + (self.oversleeps_s if seconds else 0.0)


@pytest.mark.parametrize("oversleeps_s", [0.0, 0.004])
def test_no_byte_comes_before_its_time(
    slow_store: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, oversleeps_s: float
) -> None:
    clock = Clock(oversleeps_s)
    monkeypatch.setattr(slow_store, "time", clock)
    sent, sendfile = [], os.sendfile

    def seen(to: int, file: int, at: int, count: int) -> int:
        sent.append((clock.now, at + count))
        return sendfile(to, file, at, count)

    monkeypatch.setattr(slow_store.os, "sendfile", seen)
    here, there = socket.socketpair()
    with here, there, open(folder / "a" / "one.bin", "rb") as file:
        slow_store._send(here, file.fileno(), (1000, 61_000), 1e6)  # 60 ms
        assert there.recv(100_000, socket.MSG_WAITALL | socket.MSG_DONTWAIT) == DATA[1000:61_000]
    assert len(sent) > 2
    assert all(now >= 50 + (end - 1000) / 1e6 - 1e-9 for now, end in sent)
    assert clock.now == pytest.approx(50.06 + oversleeps_s)  # of every sleep but the last, nothing stays


def test_faults_are_drawn_by_number_and_seed(slow_store: ModuleType) -> None:
    def drawn(share: float, seed: int) -> list[str | None]:
        manner = slow_store.ServerSpec("", 0.0, 1.0, share, seed)
        return [manner.fault(number) for number in range(3000)]

    assert drawn(0.05, 1) == drawn(0.05, 1)
    assert drawn(0.05, 1) != drawn(0.05, 2)
    assert set(drawn(0.0, 1)) == {None}
    drawn_faults = Counter(drawn(0.05, 1))
    assert set(drawn_faults) == {None, *slow_store.FAULTS}
    assert 100 < 3000 - drawn_faults[None] < 200  # 150 expected, standard deviation 12
