"""Whole shards are kept, checked and evicted; nothing half, wrong or too much ever stands in the folder."""

import errno
import hashlib
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from octshard.storage import local, store
from octshard.storage.errors import StoreError
from octshard.stream import cache, cache_folder
from octshard.stream.cache import Cache
from octshard.stream.cache_folder import ShardFile
from tests.support import faulty_store
from tests.support.log_lines import log_lines

SIZE = 10_000  # of a made shard: three ranges, the last a short one


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "RANGE", 4096)
    monkeypatch.setattr(cache_folder, "PIECE", 1024)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    with log_lines() as lines:
        yield lines


@pytest.fixture
def opened(tmp_path: Path, logged: list[str]) -> Iterator[Callable[..., Cache]]:
    """Caches of one folder, as of as many processes; they are closed at last."""
    caches: list[Cache] = []

    def make(limit: int = 10 * SIZE, downloaders: int = 1) -> Cache:
        caches.append(Cache(str(tmp_path / "cache"), limit, downloaders))
        return caches[-1]

    yield make
    for disk_cache in caches:
        disk_cache.close()


def content(number: int, size: int = SIZE) -> bytes:
    return np.random.default_rng(number).bytes(size)


def put(number: int, size: int = SIZE, root: str = "") -> ShardFile:
    """A shard in a store, and what the table says of it."""
    data = content(number, size)
    url = store.join(root or f"memory://{uuid.uuid4().hex}", f"{number}.tar")
    store.write(url, data)
    return ShardFile(url, len(data), hashlib.sha256(data).hexdigest())


def filled(disk_cache: Cache, *shards: ShardFile) -> None:
    for shard in shards:
        disk_cache.request(shard)
        disk_cache.join()


def has(disk_cache: Cache, shard: ShardFile) -> bool:
    copy = disk_cache.open(shard)
    if copy is None:
        return False
    copy.close()
    return True


def files(folder: Path) -> list[Path]:
    """What a cache holds, whole or not."""
    return sorted(path for path in (folder / "cache").iterdir() if path.name != "lock")


def the_copy(folder: Path) -> Path:
    (path,) = files(folder)
    return path


def held_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


class Gate:
    """Stands before the store's ranges: counts them, and holds those after the first `free` ones."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.reached, self.let_go = threading.Event(), threading.Event()
        read_range = store.read_range

        def gated(url: str, start: int, stop: int) -> bytes:
            self.asked.append((url, start, stop))
            if len(self.asked) > free:
                self.reached.set()
                assert self.let_go.wait(30)
            return read_range(url, start, stop)

        monkeypatch.setattr(store, "read_range", gated)


def test_a_filled_shard_is_a_hit_with_the_same_bytes(opened: Callable[..., Cache], tmp_path: Path) -> None:
    disk_cache, shard = opened(), put(1)
    assert disk_cache.open(shard) is None
    filled(disk_cache, shard)
    with disk_cache.open(shard) as copy:
        assert os.pread(copy.fileno(), 2 * SIZE, 0) == content(1)
        with pytest.raises(OSError, match="not open for writing"):
            copy.write(b"x")
    assert disk_cache.counts() == cache.Counts(1, 1, 1, SIZE, 0, 0, 0)
    assert the_copy(tmp_path).name.startswith(shard.sha256[:32] + "-")


def test_ranges_are_asked_for_one_after_another(
    opened: Callable[..., Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, shard = Gate(monkeypatch, 99), put(1)
    filled(opened(), shard)
    assert gate.asked == [(shard.url, 0, 4096), (shard.url, 4096, 8192), (shard.url, 8192, SIZE)]


@pytest.mark.parametrize("size", [0, 1, 1024, 4096, 4097])
def test_any_size_goes_round(opened: Callable[..., Cache], size: int) -> None:
    shard = put(3, size)
    filled(opened(), shard)
    with opened().open(shard) as copy:
        assert copy.read() == content(3, size)


def test_another_cache_of_the_folder_finds_what_one_filled(opened: Callable[..., Cache]) -> None:
    first, second, shard = opened(), opened(), put(1)
    filled(first, shard)
    filled(second, shard)
    assert has(second, shard)
    assert (first.counts().filled, second.counts().filled) == (1, 0)


def test_a_shard_that_is_not_the_tables_never_gets_a_name(
    opened: Callable[..., Cache], tmp_path: Path, logged: list[str]
) -> None:
    disk_cache, shard = opened(), put(1)
    wrong = ShardFile(shard.url, shard.bytes, hashlib.sha256(b"another").hexdigest())
    filled(disk_cache, wrong, wrong)
    assert files(tmp_path) == []
    assert not has(disk_cache, wrong)
    assert disk_cache.counts().damaged == 1  # and was not fetched a second time
    (line,) = logged
    assert shard.url in line
    assert f"found sha256 {shard.sha256}, want {wrong.sha256}" in line


def test_a_shard_altered_on_its_way_is_fetched_again(
    opened: Callable[..., Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_cache, shard, sent = opened(), put(1), []
    read_range = store.read_range

    def altered_once(url: str, start: int, stop: int) -> bytes:
        sent.append(start)
        data = read_range(url, start, stop)
        return data if len(sent) != 2 else data[:-1] + bytes([data[-1] ^ 1])

    monkeypatch.setattr(store, "read_range", altered_once)
    filled(disk_cache, shard)
    with disk_cache.open(shard) as copy:
        assert copy.read() == content(1)
    assert disk_cache.counts().damaged == 0


def test_close_ends_a_download_that_hangs(
    opened: Callable[..., Cache], faulty: faulty_store.FaultyStore, tmp_path: Path
) -> None:
    disk_cache, shard = opened(), put(1, root="s3://faulty")
    faulty.fail(*[faulty_store.STALL] * 100)
    disk_cache.request(shard)
    assert faulty.stalled.wait(30)
    begun = len(faulty.asked)
    disk_cache.close()
    assert len(faulty.asked) == begun
    assert files(tmp_path) == []


@pytest.mark.parametrize("position", [0, 4095, SIZE - 1])
def test_a_flipped_byte_is_found_on_open_and_the_shard_fetched_again(
    opened: Callable[..., Cache], tmp_path: Path, logged: list[str], position: int
) -> None:
    shard = put(1)
    filled(opened(), shard)
    data = bytearray(content(1))
    data[position] ^= 1
    the_copy(tmp_path).write_bytes(data)
    fresh = opened()
    assert fresh.open(shard) is None
    assert files(tmp_path) == []
    assert fresh.counts().damaged == 1
    (line,) = logged
    assert "damaged copy" in line
    assert shard.url in line
    filled(fresh, shard)
    with fresh.open(shard) as copy:
        assert copy.read() == content(1)


@pytest.mark.parametrize("size", [0, 512, SIZE - 1, SIZE + 1])
def test_a_copy_of_another_size_is_found_on_any_open(
    opened: Callable[..., Cache], tmp_path: Path, logged: list[str], size: int
) -> None:
    disk_cache, shard = opened(), put(1)
    filled(disk_cache, shard)
    assert has(disk_cache, shard)
    os.truncate(the_copy(tmp_path), size)
    assert not has(disk_cache, shard)
    assert files(tmp_path) == []
    assert len(logged) == 1
    assert f"found {size} bytes, want {SIZE}" in logged[0]
    filled(disk_cache, shard)
    assert has(disk_cache, shard)


def test_a_copy_is_read_through_only_once(
    opened: Callable[..., Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = put(1)
    filled(opened(), shard)
    read, flaw, all_ask = [], cache_folder.integrity_error, threading.Event()

    def counted(path: Path, copy: io.FileIO, shard: ShardFile) -> str | None:
        read.append(path)
        assert all_ask.wait(30)
        return flaw(path, copy, shard)

    monkeypatch.setattr(cache_folder, "integrity_error", counted)
    fresh = opened()
    threads = [threading.Thread(target=has, args=(fresh, shard)) for _ in range(8)]
    for thread in threads:
        thread.start()
    all_ask.set()
    for thread in threads:
        thread.join()
    assert fresh.counts().hits == 8
    assert len(read) == 1


def test_the_longest_unused_goes_first(opened: Callable[..., Cache], tmp_path: Path) -> None:
    disk_cache = opened(3 * SIZE)
    a, b, c, d, e = (put(number) for number in range(5))
    filled(disk_cache, a, b, c)
    assert has(disk_cache, a)
    filled(disk_cache, d)  # b is the longest unused
    assert not has(disk_cache, b)
    filled(disk_cache, e)  # then c
    assert [has(disk_cache, shard) for shard in (a, b, c, d, e)] == [True, False, False, True, True]
    assert held_bytes(tmp_path) == 3 * SIZE
    assert disk_cache.counts().evicted == 2


def test_what_was_never_used_goes_in_the_order_in_which_it_came(opened: Callable[..., Cache]) -> None:
    disk_cache, shards = opened(5 * SIZE), [put(number) for number in range(12)]
    filled(disk_cache, *shards)
    assert [has(disk_cache, shard) for shard in shards] == [False] * 7 + [True] * 5


def test_an_open_copy_is_evicted_last_and_stays_readable(opened: Callable[..., Cache]) -> None:
    disk_cache, other = opened(2 * SIZE), opened(2 * SIZE)
    a, b, c, d, e = (put(number) for number in range(5))
    filled(disk_cache, a, b)
    with disk_cache.open(a) as copy_a:
        with disk_cache.open(b) as copy_b:
            assert has(disk_cache, a)  # b is now the longest unused, but both are open
            filled(other, c)
            assert not has(disk_cache, b)
            assert copy_b.read() == content(1)
        filled(other, d)  # c is not open: it goes, though a is unused for longer
        assert not has(disk_cache, c)
        assert has(disk_cache, a)
        filled(other, e)
        assert has(disk_cache, a)
        assert copy_a.read() == content(0)
    assert has(other, e)


def test_a_shard_larger_than_the_limit_is_never_cached(
    opened: Callable[..., Cache], tmp_path: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, 99)
    disk_cache, fits = opened(SIZE), put(3)
    filled(disk_cache, fits, put(1, SIZE + 1), put(2, SIZE + 2))
    assert has(disk_cache, fits)
    assert disk_cache.counts().evicted == 0
    assert {url for url, _, _ in gate.asked} == {fits.url}
    (line,) = logged
    assert f"{SIZE + 1} bytes, want at most the {SIZE}" in line


def test_a_smaller_limit_holds_from_the_start(opened: Callable[..., Cache], tmp_path: Path) -> None:
    shards = [put(number) for number in range(4)]
    filled(opened(), *shards)
    smaller = opened(2 * SIZE + 1)
    assert held_bytes(tmp_path) == 2 * SIZE
    assert smaller.counts().evicted == 2
    assert [has(smaller, shard) for shard in shards] == [False, False, True, True]


def test_other_peoples_files_are_left_alone(opened: Callable[..., Cache], tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    for name in ("train-000000.tar", "x.partial", ".y.partial", "notes"):
        (tmp_path / "cache" / name).write_bytes(bytes(5 * SIZE))
    disk_cache, a, b = opened(SIZE), put(1), put(2)
    filled(disk_cache, a, b)
    assert has(disk_cache, b)
    assert len(files(tmp_path)) == 5


def test_two_threads_that_ask_for_a_shard_download_it_once(
    opened: Callable[..., Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, shard = Gate(monkeypatch, 0), put(1)
    disk_cache = opened(downloaders=2)
    threads = [threading.Thread(target=disk_cache.request, args=(shard,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gate.reached.wait(30)
    disk_cache.request(shard)  # while it is under way
    gate.let_go.set()
    disk_cache.join()
    disk_cache.request(shard)  # and when it is there
    disk_cache.join()
    assert len(gate.asked) == 3
    assert disk_cache.counts().filled == 1


def test_a_shard_under_way_elsewhere_is_neither_downloaded_nor_swept(
    opened: Callable[..., Cache], tmp_path: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, shard = Gate(monkeypatch, 1), put(1)
    first, second = opened(), opened()
    first.request(shard)
    assert gate.reached.wait(30)
    partial = the_copy(tmp_path)
    assert partial.name.endswith(local.PARTIAL_SUFFIX)
    assert not has(second, shard)
    filled(second, shard)
    opened()
    assert the_copy(tmp_path) == partial
    gate.let_go.set()
    first.join()
    assert has(second, shard)
    assert second.counts() == cache.Counts(1, 1, 0, 0, 0, 0, 0)
    assert logged == []


def test_a_download_counts_in_full_from_its_beginning(
    opened: Callable[..., Cache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, first, second = Gate(monkeypatch, 0), opened(2 * SIZE - 1), opened(2 * SIZE - 1)
    a, b = put(1), put(2)
    first.request(a)
    assert gate.reached.wait(30)
    assert held_bytes(tmp_path) == SIZE
    filled(second, b)  # no room beside it: dropped, not waited for
    gate.let_go.set()
    first.join()
    assert (has(first, a), has(first, b)) == (True, False)


def test_close_ends_a_download_and_leaves_nothing_of_it(
    opened: Callable[..., Cache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut, queued = put(1), put(2), put(3)
    gate = Gate(monkeypatch, 4)
    disk_cache = opened()
    filled(disk_cache, whole)
    disk_cache.request(cut)
    disk_cache.request(queued)
    assert gate.reached.wait(30)  # before its second range
    closing = threading.Thread(target=disk_cache.close)
    closing.start()
    with disk_cache._changed:
        assert disk_cache._changed.wait_for(lambda: disk_cache._closed, 30)
    gate.let_go.set()
    closing.join(30)
    assert not closing.is_alive()
    assert len(gate.asked) == 5
    assert the_copy(tmp_path).name.startswith(whole.sha256[:32])
    disk_cache.request(queued)
    assert len(gate.asked) == 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("shard cache")]


@pytest.mark.parametrize("error", [StoreError("planted"), FileNotFoundError("planted")])
def test_what_the_store_refuses_is_dropped_quietly_and_may_be_asked_for_again(
    opened: Callable[..., Cache],
    tmp_path: Path,
    logged: list[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    disk_cache, shard, read_range = opened(), put(1), store.read_range

    def failing(url: str, start: int, stop: int) -> bytes:
        if start and disk_cache.counts().failed == 0:
            raise error
        return read_range(url, start, stop)

    monkeypatch.setattr(store, "read_range", failing)
    filled(disk_cache, shard)
    assert files(tmp_path) == []
    assert (disk_cache.counts().failed, disk_cache.counts().filled, logged) == (1, 0, [])
    filled(disk_cache, shard)
    assert has(disk_cache, shard)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "replace", "truncate"])
def test_trouble_with_the_disk_is_one_line_and_the_end_of_caching(
    opened: Callable[..., Cache],
    tmp_path: Path,
    logged: list[str],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    call: str,
) -> None:
    disk_cache, before, shards = opened(downloaders=2), put(0), [put(number) for number in range(1, 5)]
    filled(disk_cache, before)

    def failing(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(cache_folder.os, call, failing)
        for shard in shards:
            disk_cache.request(shard)
        disk_cache.join()
    filled(disk_cache, *shards)
    assert len(files(tmp_path)) == 1
    (line,) = logged
    assert line.startswith(f"WARNING {tmp_path / 'cache'}: ")
    reason = "the disk is full" if code in (errno.ENOSPC, errno.EDQUOT) else os.strerror(code)
    assert reason in line
    assert "nothing more is cached" in line
    assert has(disk_cache, before)  # what is there is still of use
    assert [has(disk_cache, shard) for shard in shards] == [False] * 4


def test_a_full_disk_evicts_nothing_for_what_is_not_made_any_more(
    opened: Callable[..., Cache], logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_cache, before, large = opened(2 * SIZE), put(0), put(2, 2 * SIZE)
    filled(disk_cache, before)
    both = threading.Event()

    def failing(*_: object) -> int:
        assert both.wait(30)
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(cache_folder.os, "write", failing)
        disk_cache.request(put(1))
        disk_cache.request(large)
        both.set()
        disk_cache.join()
    assert has(disk_cache, before)
    assert len(logged) == 1


def test_a_place_that_cannot_be_is_one_line(
    opened: Callable[..., Cache], tmp_path: Path, logged: list[str]
) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    disk_cache, shard = opened(), put(1)
    filled(disk_cache, shard)
    assert not has(disk_cache, shard)
    assert len({line for line in logged if "nothing more is cached" in line}) == 1


def test_a_damaged_copy_that_cannot_be_removed_is_a_miss(
    opened: Callable[..., Cache], tmp_path: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = put(1)
    filled(opened(), shard)
    the_copy(tmp_path).write_bytes(bytes(SIZE))
    disk_cache = opened()

    def failing(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", failing)
        assert [has(disk_cache, shard) for _ in range(3)] == [False] * 3
    assert disk_cache.counts().damaged == 1
    assert len(logged) == 2  # that it is damaged, and that it stays


KILLED = """
import hashlib, sys, threading
from octshard.storage import local, store
from octshard.stream import cache
url, folder, size, sha256 = sys.argv[1:]
cache.RANGE = 4096
read_range = store.read_range
def blocking(url, start, stop):
    if start:
        print('first range written', flush=True)
        threading.Event().wait()
    return read_range(url, start, stop)
store.read_range = blocking
one = cache.Cache(folder, 10**6)
one.request(cache.ShardFile(url, int(size), sha256))
one.join()
"""


def test_a_killed_download_leaves_a_partial_that_the_next_cache_sweeps(
    opened: Callable[..., Cache], tmp_path: Path
) -> None:
    shard = put(1, root=str(tmp_path / "slow"))
    words = [shard.url, str(tmp_path / "cache"), str(shard.bytes), shard.sha256]
    child = subprocess.Popen([sys.executable, "-c", KILLED, *words], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "first range written\n"
    living = opened(SIZE)
    assert the_copy(tmp_path).name.endswith(local.PARTIAL_SUFFIX)  # not swept while its owner lives
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert the_copy(tmp_path).read_bytes()[:4096] == content(1)[:4096]
    assert not has(living, shard)
    opened()
    assert files(tmp_path) == []
    filled(living, shard)
    assert has(living, shard)


def test_a_claim_sweeps_too(opened: Callable[..., Cache], tmp_path: Path) -> None:
    disk_cache, a, b = opened(SIZE), put(1), put(2)
    leftover = tmp_path / "cache" / f"{a.sha256[:32]}.partial"
    leftover.write_bytes(bytes(SIZE))
    filled(disk_cache, b)
    assert has(disk_cache, b)
    assert not leftover.exists()


def fill_all(folder: str, limit: int, shards: list[ShardFile], start: object) -> None:
    """One of two processes; ends with 1 if it sees other bytes than there are, or any trouble."""
    cache.RANGE, cache_folder.PIECE = 4096, 1024
    start.wait()  # type: ignore[attr-defined]
    with log_lines() as logged, Cache(folder, limit) as disk_cache:
        for shard in shards:
            disk_cache.request(shard)
            copy = disk_cache.open(shard)
            if copy is not None:
                with copy:
                    assert hashlib.sha256(copy.read()).hexdigest() == shard.sha256
        disk_cache.join()
        counts = disk_cache.counts()
    assert not logged
    assert counts.damaged == counts.failed == 0


def test_two_processes_that_fill_one_folder_keep_the_limit(tmp_path: Path) -> None:
    shards = [put(number, 2000 + 700 * number, str(tmp_path / "slow")) for number in range(12)]
    limit = 25_000
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    folder = tmp_path / "cache"
    parts = [shards * 3, shards[::-1] * 3]
    children = [context.Process(target=fill_all, args=(str(folder), limit, part, start)) for part in parts]
    for child in children:
        child.start()
    start.wait()
    most = 0
    watching = cache_folder.CacheFolder(folder, limit)
    folder.mkdir(exist_ok=True)
    while any(child.is_alive() for child in children):
        with watching._locked():
            most = max(most, held_bytes(tmp_path))
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert most <= limit
    assert held_bytes(tmp_path) > limit - 2000 - 700 * 11  # and the room is used
    assert not [path for path in files(tmp_path) if path.name.endswith(local.PARTIAL_SUFFIX)]


@pytest.mark.parametrize("seed", range(8))
def test_no_sequence_of_acts_breaks_the_limit(
    opened: Callable[..., Cache], tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    limit = int(rng.integers(3000, 30_000))
    shards = [put(100 * seed + number, int(rng.integers(1, 12_000))) for number in range(8)]
    caches = [opened(limit, 2), opened(limit, 2)]
    open_copies = []
    for act in rng.integers(0, 5, 120):
        disk_cache, shard = caches[rng.integers(2)], shards[rng.integers(len(shards))]
        if act < 2:
            disk_cache.request(shard)
        elif act == 2:
            disk_cache.join()
        elif (copy := disk_cache.open(shard)) is not None:
            assert copy.read() == store.read(shard.url)
            open_copies.append(copy)
        if act == 4 and open_copies:
            open_copies.pop(int(rng.integers(len(open_copies)))).close()
        with cache_folder.CacheFolder(tmp_path / "cache", limit)._locked():
            assert held_bytes(tmp_path) <= limit
    for disk_cache in caches:
        disk_cache.join()
        assert disk_cache.counts().damaged == 0
    for copy in open_copies:
        copy.close()
