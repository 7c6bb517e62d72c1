"""Bytes by ranges: neighbours in one request, order kept, memory bounded, faults named."""

import contextlib
import gc
import hashlib
import itertools
import random
import threading
import uuid
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from octshard.dataset.shard import BadSample
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError
from octshard.storage import remote as requests_module
from octshard.storage import store
from octshard.storage.client import Blob
from octshard.stream import read, read_ahead
from octshard.stream.cache import Cache
from octshard.stream.cache_folder import ShardFile
from octshard.stream.index import SampleRef
from octshard.stream.read import Scratch
from octshard.stream.read_ahead import ReadAhead, Request
from tests.support import faulty_store

SIZE = 512


def entries_of(url: str, samples: int, shards: int = 1, size: int = SIZE) -> list[SampleRef]:
    """Made-up shards of equal samples, written there; byte values tell sample from sample."""
    found = []
    for number in range(shards):
        data = b"".join(content(number, i, size) for i in range(samples)) + bytes(1024)
        where = ShardFile(f"{url}/{number}.tar", len(data), hashlib.sha256(data).hexdigest())
        store.write(where.url, data)
        for i in range(samples):
            row = SampleRow(f"key{number}-{i}", *[""] * 8, source="", offset=i * size, nbytes=size)
            found.append(SampleRef(where, 0, row))
    return found


def content(shard: int, sample: int, size: int = SIZE) -> bytes:
    return random.Random(1000 * shard + sample).randbytes(size)


@pytest.fixture
def remote() -> str:
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(start, stop) of every request that is made from now on."""
    found: list[tuple[int, int]] = []
    honest = store.get

    def counted(url: str, start: int, stop: int) -> Blob:
        found.append((start, stop))
        return honest(url, start, stop)

    monkeypatch.setattr(store, "get", counted)
    return found


@contextlib.contextmanager
def opened(connections: int = 1, cache: Cache | None = None) -> Iterator[ReadAhead]:
    with contextlib.closing(ReadAhead(connections, cache)) as one:
        yield one


def take_all(one: ReadAhead, asked: list[Request]) -> list[bytes]:
    scratch, found = Scratch(), []
    for each in asked:
        found.append(bytes(one.result(each, scratch)))
        one.release(each)
    return found


@pytest.mark.parametrize("where", ["remote", "local"])
def test_what_was_asked_for_comes_whatever_the_order(where: str, remote: str, tmp_path: Path) -> None:
    entries = entries_of(remote if where == "remote" else str(tmp_path), 30, shards=3)
    random.Random(0).shuffle(entries)
    entries += entries[:7]  # the same sample twice, as at the border of two epochs
    with opened(connections=3) as one:
        found = take_all(one, [one.submit(entry) for entry in entries])
        assert one.held == 0
    numbers = [tuple(map(int, entry.row.key[3:].split("-"))) for entry in entries]
    assert found == [content(*number) for number in numbers]


def test_neighbours_that_are_asked_for_together_come_in_one_request(
    remote: str, requests: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block of 16 samples in any order is 4 requests of 4 samples; 16 without read-ahead."""
    monkeypatch.setattr(read_ahead, "REQUEST", 4 * SIZE)
    entries = entries_of(remote, 16)
    random.Random(1).shuffle(entries)
    with planned(entries) as (one, asked):
        take_all(one, asked)
    assert sum(stop - start for start, stop in requests) == 16 * SIZE  # nothing is read twice
    assert len(requests) <= 6
    assert max(stop - start for start, stop in requests) <= 7 * SIZE


@contextlib.contextmanager
def planned(entries: list[SampleRef]) -> Iterator[tuple[ReadAhead, list[Request]]]:
    """All are asked for before the first request is made."""
    gate = threading.Event()
    honest = store.get

    def waiting(url: str, start: int, stop: int) -> Blob:
        gate.wait()
        return honest(url, start, stop)

    with pytest.MonkeyPatch.context() as patch, opened() as one:
        patch.setattr(store, "get", waiting)
        asked = [one.submit(entry) for entry in entries]
        gate.set()
        yield one, asked


def test_held_counts_a_reply_until_its_last_sample_is_used(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four come in one reply, the fifth by itself."""
    monkeypatch.setattr(read_ahead, "REQUEST", 4 * SIZE)
    held = []
    with opened(connections=0) as one:  # requests are made by hand
        asked = [one.submit(entry) for entry in entries_of(remote, 5)]
        for each in asked:
            if not each.reply.done():
                one._read(one._next_group())
            one.result(each, Scratch())
            one.release(each)
            held.append(one.held)
    assert held == [5 * SIZE] * 3 + [SIZE, 0]


def test_a_reply_goes_with_its_last_sample_though_who_asked_remains(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Data(bytearray):
        """Bytes that can be watched."""

    made = []
    honest = store.get

    def watched(url: str, start: int, stop: int) -> Blob:
        piece = honest(url, start, stop)
        data = Data(piece.data)
        made.append(weakref.ref(data))
        return piece._replace(data=data)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "get", watched)
    with opened() as one:
        asked = [one.submit(entry) for entry in entries_of(remote, 4)]
        take_all(one, asked)
        gc.collect()
        assert made
        assert [ref() for ref in made] == [None] * len(made)
        assert len(asked) == 4


def test_only_the_near_half_is_read_and_neighbours_on_both_sides_come_along(remote: str) -> None:
    """Without threads, what the next request would be is asked by hand."""
    apart = entries_of(remote, 1, shards=16)
    with opened(connections=0) as one:
        for entry in apart:
            one.submit(entry)
        assert [one._next_group()[0].number for _ in range(8)] == list(range(8))
        assert one._due() is None
        one.submit(apart[0])
        one.submit(apart[1])
        assert one._due() is not None
    together = entries_of(f"{remote}/more", 8)
    with opened(connections=0) as one:
        for number in (5, 3, 6, 4, 1):
            one.submit(together[number])
        assert [asked.entry.row.key for asked in one._next_group()] == [
            "key0-3",
            "key0-4",
            "key0-5",
            "key0-6",
        ]


def test_a_cut_shard_spoils_only_what_was_cut_and_names_it(remote: str) -> None:
    entries = entries_of(remote, 6)
    url = entries[0].shard.url
    store.write(url, store.read(url)[: 4 * SIZE + 100])
    with opened() as one:
        asked = [one.submit(entry) for entry in entries]
        for entry, each in zip(entries, asked, strict=True):
            with pytest.raises(BadSample, match=rf"{url} at {entry.start} \({entry.row.key}\): "):
                one.result(
                    each, Scratch()
                )  # a shard of another size is not the table's, whole samples or not
            one.release(each)


@pytest.mark.parametrize("where", ["remote", "local"])
@pytest.mark.parametrize("damage", ["cut", "grown", "gone"])
def test_a_shard_that_is_not_the_tables_is_an_error(
    where: str, damage: str, remote: str, tmp_path: Path
) -> None:
    (entry,) = entries_of(remote if where == "remote" else str(tmp_path), 1)
    data = store.read(entry.shard.url)
    if damage == "gone":
        store.remove(entry.shard.url)
    else:
        store.write(entry.shard.url, data[:-512] if damage == "cut" else data + bytes(512))
    wanted: type[OctshardError] = OctshardError if damage == "gone" else BadSample
    with opened() as one:
        asked = one.submit(entry)
        with pytest.raises(wanted, match=r"0\.tar at 0 \(key0-0\): the shard") as raised:
            one.result(asked, Scratch())
    with pytest.raises(wanted, match=r"0\.tar at 0 \(key0-0\): the shard"):
        read.read_now(entry, Scratch())
    assert "\n" not in str(raised.value)


def test_whatever_goes_wrong_in_a_thread_reaches_who_waits(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entry,) = entries_of(remote, 1)

    def broken(*_: object) -> Blob:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(store, "get", broken)
    with opened() as one, pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        one.result(one.submit(entry), Scratch())


def test_closing_lets_go_of_those_who_wait_and_ends_the_threads(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = entries_of(remote, 1, shards=9)
    gate, reached = threading.Event(), threading.Event()

    def stuck(*_: object) -> Blob:
        reached.set()
        gate.wait()
        raise store.StoreError("too late")

    monkeypatch.setattr(store, "get", stuck)
    one = ReadAhead(1, None)
    asked = [one.submit(entry) for entry in entries]
    reached.wait()
    met: list[BaseException] = []

    def waiting() -> None:
        try:
            one.result(asked[8], Scratch())
        except BaseException as error:
            met.append(error)

    waiter, closer = threading.Thread(target=waiting), threading.Thread(target=one.close)
    waiter.start()
    closer.start()
    waiter.join(20)  # while the request before its own still hangs
    assert [type(error) for error in met] == [CancelledError]
    gate.set()
    closer.join(20)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stream-read")]


def test_shards_in_the_cache_are_read_from_there(
    remote: str, tmp_path: Path, requests: list[tuple[int, int]]
) -> None:
    entries = entries_of(remote, 8, shards=2)
    with Cache(str(tmp_path / "cache"), 10**6) as cache, opened(2, cache) as one:
        for entry in entries:
            cache.request(entry.shard)
        cache.join()
        requests.clear()
        found = take_all(one, [one.submit(entry) for entry in entries])
        assert found == [content(s, i) for s, i in itertools.product(range(2), range(8))]
        assert requests == []
        for copy in (tmp_path / "cache").glob("*.tar"):  # evicted by another process, say
            copy.unlink()
        assert take_all(one, [one.submit(entry) for entry in entries]) == found
        assert requests


def test_a_store_that_fails_one_request_in_five_gives_the_same_bytes(
    faulty: faulty_store.FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests_module.random, "uniform", lambda low, high: 0.0)
    monkeypatch.setattr(read_ahead, "REQUEST", 1)
    entries = entries_of(f"gs://{faulty_store.BUCKET}/{uuid.uuid4().hex}", 25)
    kinds: list[str | int] = [503, faulty_store.RESET, 429, faulty_store.SHORT, 500]
    asked_before = len(faulty.asked)
    faulty.faults += kinds
    with opened(connections=4) as one:
        found = take_all(one, [one.submit(entry) for entry in entries])
    assert found == [content(0, i) for i in range(25)]
    assert faulty.faults == []
    assert len(faulty.asked) - asked_before >= 25 + len(kinds)


def test_scratch_grows_and_is_used_again() -> None:
    scratch = Scratch()
    room = scratch.view(10)
    room[:] = b"0123456789"
    assert bytes(scratch.view(4)) == b"0123"
    assert len(scratch.view(100)) == 100
