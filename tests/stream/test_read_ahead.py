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


def write_samples(url: str, count: int, shards: int = 1) -> list[SampleRef]:
    """Shards of `count` samples of SIZE random bytes each, written to `url`."""
    samples = []
    for number in range(shards):
        data = b"".join(content(number, i) for i in range(count)) + bytes(1024)
        shard = ShardFile(f"{url}/{number}.tar", len(data), hashlib.sha256(data).hexdigest())
        store.write(shard.url, data)
        for i in range(count):
            row = SampleRow(f"key{number}-{i}", *[""] * 8, source="", offset=i * SIZE, nbytes=SIZE)
            samples.append(SampleRef(shard, 0, row))
    return samples


def content(shard: int, sample: int) -> bytes:
    return random.Random(1000 * shard + sample).randbytes(SIZE)


@pytest.fixture
def remote() -> str:
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(start, stop) of every request that is made from now on."""
    ranges: list[tuple[int, int]] = []
    get = store.get

    def counted(url: str, start: int, stop: int) -> Blob:
        ranges.append((start, stop))
        return get(url, start, stop)

    monkeypatch.setattr(store, "get", counted)
    return ranges


@contextlib.contextmanager
def opened(connections: int = 1, cache: Cache | None = None) -> Iterator[ReadAhead]:
    with contextlib.closing(ReadAhead(connections, cache)) as reader:
        yield reader


def take_all(reader: ReadAhead, requests: list[Request]) -> list[bytes]:
    scratch, contents = Scratch(), []
    for request in requests:
        contents.append(bytes(reader.result(request, scratch)))
        reader.release(request)
    return contents


@pytest.mark.parametrize("where", ["remote", "local"])
def test_submitted_samples_come_in_any_order(where: str, remote: str, tmp_path: Path) -> None:
    samples = write_samples(remote if where == "remote" else str(tmp_path), 30, shards=3)
    random.Random(0).shuffle(samples)
    samples += samples[:7]  # the same sample twice, as at the border of two epochs
    with opened(connections=3) as reader:
        contents = take_all(reader, [reader.submit(sample) for sample in samples])
        assert reader.held_bytes == 0
    numbers = [tuple(map(int, sample.row.key[3:].split("-"))) for sample in samples]
    assert contents == [content(*number) for number in numbers]


def test_neighbours_that_are_submitted_together_come_in_one_request(
    remote: str, requests: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block of 16 samples in any order is 4 requests of 4 samples; 16 without read-ahead."""
    monkeypatch.setattr(read_ahead, "REQUEST_BYTES", 4 * SIZE)
    samples = write_samples(remote, 16)
    random.Random(1).shuffle(samples)
    with all_submitted(samples) as (reader, submitted):
        take_all(reader, submitted)
    assert sum(stop - start for start, stop in requests) == 16 * SIZE  # nothing is read twice
    assert len(requests) <= 6
    assert max(stop - start for start, stop in requests) <= 7 * SIZE


@contextlib.contextmanager
def all_submitted(samples: list[SampleRef]) -> Iterator[tuple[ReadAhead, list[Request]]]:
    """All are submitted before the first reply comes."""
    gate = threading.Event()
    get = store.get

    def waiting(url: str, start: int, stop: int) -> Blob:
        gate.wait()
        return get(url, start, stop)

    with pytest.MonkeyPatch.context() as patch, opened() as reader:
        patch.setattr(store, "get", waiting)
        submitted = [reader.submit(sample) for sample in samples]
        gate.set()
        yield reader, submitted


def test_held_counts_a_reply_until_its_last_sample_is_used(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four come in one reply, the fifth by itself."""
    monkeypatch.setattr(read_ahead, "REQUEST_BYTES", 4 * SIZE)
    held = []
    with opened(connections=0) as reader:  # requests are made by hand
        for request in [reader.submit(sample) for sample in write_samples(remote, 5)]:
            if not request.reply.done():
                reader._read(reader._next_group())
            reader.result(request, Scratch())
            reader.release(request)
            held.append(reader.held_bytes)
    assert held == [5 * SIZE] * 3 + [SIZE, 0]


def test_a_reply_is_freed_with_its_last_sample_though_the_requests_remain(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Data(bytearray):
        """Bytes that can be watched."""

    replies = []
    get = store.get

    def watched(url: str, start: int, stop: int) -> Blob:
        blob = get(url, start, stop)
        data = Data(blob.data)
        replies.append(weakref.ref(data))
        return blob._replace(data=data)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "get", watched)
    with opened() as reader:
        requests = [reader.submit(sample) for sample in write_samples(remote, 4)]
        take_all(reader, requests)
        gc.collect()
        assert replies
        assert [ref() for ref in replies] == [None] * len(replies)
        assert len(requests) == 4


def test_requests_are_the_groups_of_the_plan(remote: str, requests: list[tuple[int, int]]) -> None:
    """Without threads: 3 to 6 are neighbours, 1 is apart and in the far half until others are released."""
    samples = write_samples(remote, 8)
    with opened(connections=0) as reader:
        submitted = [reader.submit(samples[number]) for number in (5, 3, 6, 4, 1)]
        reader._read(reader._next_group())
        take_all(reader, submitted[:4])
        reader._read(reader._next_group())
        take_all(reader, submitted[4:])
    assert requests == [(3 * SIZE, 7 * SIZE), (SIZE, 2 * SIZE)]


def test_a_cut_shard_spoils_only_what_was_cut_and_names_it(remote: str) -> None:
    samples = write_samples(remote, 6)
    url = samples[0].shard.url
    store.write(url, store.read(url)[: 4 * SIZE + 100])
    with opened() as reader:
        for sample, request in [(sample, reader.submit(sample)) for sample in samples]:
            # a shard of another size is not the one of the tables: whole samples are refused too
            with pytest.raises(BadSample, match=rf"{url} at {sample.start} \({sample.row.key}\): "):
                reader.result(request, Scratch())
            reader.release(request)


@pytest.mark.parametrize("where", ["remote", "local"])
@pytest.mark.parametrize("damage", ["cut", "grown", "gone"])
def test_a_shard_that_is_not_the_tables_is_an_error(
    where: str, damage: str, remote: str, tmp_path: Path
) -> None:
    (sample,) = write_samples(remote if where == "remote" else str(tmp_path), 1)
    data = store.read(sample.shard.url)
    if damage == "gone":
        store.remove(sample.shard.url)
    else:
        store.write(sample.shard.url, data[:-512] if damage == "cut" else data + bytes(512))
    expected: type[OctshardError] = OctshardError if damage == "gone" else BadSample
    with opened() as reader:
        request = reader.submit(sample)
        with pytest.raises(expected, match=r"0\.tar at 0 \(key0-0\): the shard") as raised:
            reader.result(request, Scratch())
    with pytest.raises(expected, match=r"0\.tar at 0 \(key0-0\): the shard"):
        read.read_now(sample, Scratch())
    assert "\n" not in str(raised.value)


def test_any_error_in_a_thread_reaches_the_consumer(remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (sample,) = write_samples(remote, 1)

    def broken(*_: object) -> Blob:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(store, "get", broken)
    with opened() as reader, pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        reader.result(reader.submit(sample), Scratch())


def test_closing_cancels_waiting_requests_and_ends_the_threads(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = write_samples(remote, 1, shards=9)
    gate, reached = threading.Event(), threading.Event()

    def stuck(*_: object) -> Blob:
        reached.set()
        gate.wait()
        raise store.StoreError("too late")

    monkeypatch.setattr(store, "get", stuck)
    reader = ReadAhead(1, None)
    submitted = [reader.submit(sample) for sample in samples]
    reached.wait()
    errors: list[BaseException] = []

    def waiting() -> None:
        try:
            reader.result(submitted[8], Scratch())
        except BaseException as error:
            errors.append(error)

    waiter, closer = threading.Thread(target=waiting), threading.Thread(target=reader.close)
    waiter.start()
    closer.start()
    waiter.join(20)  # while the request before its own still hangs
    assert [type(error) for error in errors] == [CancelledError]
    gate.set()
    closer.join(20)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stream-read")]


def test_shards_in_the_cache_are_read_from_there(
    remote: str, tmp_path: Path, requests: list[tuple[int, int]]
) -> None:
    samples = write_samples(remote, 8, shards=2)
    with Cache(str(tmp_path / "cache"), 10**6) as cache, opened(2, cache) as reader:
        for sample in samples:
            cache.request(sample.shard)
        cache.join()
        requests.clear()
        contents = take_all(reader, [reader.submit(sample) for sample in samples])
        assert contents == [content(s, i) for s, i in itertools.product(range(2), range(8))]
        assert requests == []
        for copy in (tmp_path / "cache").glob("*.tar"):  # evicted by another process, say
            copy.unlink()
        assert take_all(reader, [reader.submit(sample) for sample in samples]) == contents
        assert requests


def test_a_store_that_fails_one_request_in_five_gives_the_same_bytes(
    faulty: faulty_store.FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests_module.random, "uniform", lambda low, high: 0.0)
    monkeypatch.setattr(read_ahead, "REQUEST_BYTES", 1)
    samples = write_samples(f"gs://{faulty_store.BUCKET}/{uuid.uuid4().hex}", 25)
    kinds: list[str | int] = [503, faulty_store.RESET, 429, faulty_store.SHORT, 500]
    requests_before = len(faulty.asked)
    faulty.faults += kinds
    with opened(connections=4) as reader:
        contents = take_all(reader, [reader.submit(sample) for sample in samples])
    assert contents == [content(0, i) for i in range(25)]
    assert faulty.faults == []
    assert len(faulty.asked) - requests_before >= 25 + len(kinds)


def test_close_ends_a_request_that_hangs(faulty: faulty_store.FaultyStore) -> None:
    samples = write_samples(f"gs://{faulty_store.BUCKET}/{uuid.uuid4().hex}", 2)
    faulty.fail(*[faulty_store.STALL] * 100)
    reader = ReadAhead(2, None)
    request = reader.submit(samples[0])
    assert faulty.stalled.wait(30)
    begun = len(faulty.asked)
    reader.close()
    assert len(faulty.asked) == begun  # and nothing is asked for again
    with pytest.raises(OctshardError, match=r"0\.tar at 0 \(key0-0\): the request was cancelled"):
        reader.result(request, Scratch())


def test_scratch_grows_and_is_used_again() -> None:
    scratch = Scratch()
    scratch.view(10)[:] = b"0123456789"
    assert bytes(scratch.view(4)) == b"0123"
    assert len(scratch.view(100)) == 100
