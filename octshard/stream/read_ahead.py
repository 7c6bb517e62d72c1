"""Reads the bytes of samples ahead of their use, in the order of use and within a bound.

Neighbours in a shard that are submitted together come in one request (`request_plan`). Samples of local and
cached shards are read in place by their consumer; for local ones the system gets a hint in advance.
"""

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import cast

from octshard.dataset.shard import BadSample
from octshard.errors import OctshardError
from octshard.storage import store, transport
from octshard.storage.client import Blob
from octshard.storage.errors import OutOfRange
from octshard.storage.local import local_path
from octshard.stream.cache import Cache
from octshard.stream.index import SampleRef
from octshard.stream.read import (
    Reply,
    Scratch,
    advise_will_need,
    check_reply,
    naming_sample,
    read_into,
    read_local,
    read_now,
    read_remote,
)
from octshard.stream.request_plan import ByteRange, RequestPlan

REQUEST_BYTES = 14_000_000  # a request ends with the sample that passes this: 14 to 20 MB for most volumes


@dataclass(eq=False)
class Request:
    """One submitted sample."""

    sample: SampleRef
    span: ByteRange  # the same sample in the plan
    reply: Future[Reply | None] = field(default_factory=Future)  # None: read it from the cache
    from_cache: bool = False


class ReadAhead:
    """Reads submitted samples, `connections` requests at once; the threads end with `close`."""

    def __init__(self, connections: int, cache: Cache | None) -> None:
        self._cache = cache
        self._changed = threading.Condition()  # guards the next three
        self._plan = RequestPlan(REQUEST_BYTES, min_near=2 * connections)
        self._waiting: dict[int, Request] = {}  # by number in the plan: neither in a request nor withdrawn
        self._closed = False
        self._requests = transport.Scope()  # to the store, under way
        self._threads = [
            threading.Thread(target=self._serve, name=f"stream-read-{i}", daemon=True)
            for i in range(connections)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def held_bytes(self) -> int:
        """Bytes that are in memory, on their way, or waiting to be read."""
        with self._changed:
            return self._plan.held_bytes

    def submit(self, sample: SampleRef) -> Request:
        """Asks for the bytes of a sample. Call it in the order in which they will be used."""
        with self._changed:
            span = self._plan.submit(sample.shard.url, sample.start, sample.stop)
            request = self._waiting[span.number] = Request(sample, span)
            self._changed.notify()
        return request

    def result(self, request: Request, scratch: Scratch) -> memoryview:
        """Waits for the bytes; valid until `release`, or until `scratch` is used again.

        Raises BadSample if the shard is not the one of the tables, OctshardError if the store fails.
        """
        sample = request.sample
        if store.is_remote(sample.shard.url):
            with naming_sample(sample):
                reply = request.reply.result()
            return self._read_cached(request, scratch) if reply is None else check_reply(sample, reply)
        with self._changed:
            self._plan.withdraw(request.span)
            self._waiting.pop(request.span.number, None)
        return read_local(sample, str(local_path(sample.shard.url)), scratch)

    def reread(self, request: Request, error: BadSample, scratch: Scratch) -> memoryview:
        """The bytes once more, from where the shard is; a copy in the cache that gave `error` is removed."""
        if request.from_cache:
            cast(Cache, self._cache).invalidate(request.sample.shard, str(error))
        return self.read_now(request.sample, scratch)

    def read_now(self, sample: SampleRef, scratch: Scratch) -> memoryview:
        """The bytes of a sample that was not submitted, at once."""
        with self._requests.active():
            return read_now(sample, scratch)

    def release(self, request: Request) -> None:
        """The bytes are not used any more."""
        with self._changed:
            self._plan.release(request.span)
            request.reply = Future()  # frees the reply, though the batch still holds the request
            self._changed.notify_all()

    def close(self) -> None:
        """Ends the threads, and the requests that are under way; waiting for a later one: CancelledError."""
        with self._changed:
            self._closed = True
            for request in self._waiting.values():
                request.reply.cancel()
            self._changed.notify_all()
        self._requests.cancel()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while group := self._next_group():
            try:
                with self._requests.active():
                    self._read(group)
            except BaseException as error:  # of any kind: it belongs to those who wait for the bytes
                for request in group:
                    if not request.reply.done():
                        request.reply.set_exception(error)

    def _next_group(self) -> list[Request]:
        """What the next request reads; waits until something is due. Empty after `close`."""
        with self._changed:
            while not self._closed:
                if group := self._plan.next_group():
                    return [self._waiting.pop(span.number) for span in group]
                self._changed.wait()
            return []

    def _read(self, group: list[Request]) -> None:
        first, last = group[0].sample, group[-1].sample
        if not store.is_remote(first.shard.url):
            advise_will_need(str(local_path(first.shard.url)), first.start, last.stop - first.start)
            return
        if self._in_cache(first):
            for request in group:
                request.reply.set_result(None)
            return
        try:
            blob = store.get(first.shard.url, first.start, last.stop)
        except OutOfRange:  # the shard is cut: each sample is tried alone, for some may still be there
            if len(group) == 1:
                raise
            for request in group:
                self._read_alone(request)
        else:
            self._hand_over(group, blob)

    def _read_alone(self, request: Request) -> None:
        try:
            self._read([request])
        except OctshardError as error:
            request.reply.set_exception(error)

    def _hand_over(self, group: list[Request], blob: Blob) -> None:
        with self._changed:
            self._plan.share_buffer([request.span for request in group])
        base, view = group[0].sample.start, memoryview(blob.data)
        for request in group:
            part = view[request.sample.start - base : request.sample.stop - base]
            request.reply.set_result(Reply(part, blob.size))

    def _in_cache(self, sample: SampleRef) -> bool:
        """True if the shard is in the cache; if not, the cache begins to fetch it."""
        if self._cache is None:
            return False
        copy = self._cache.open(sample.shard)
        if copy is None:
            self._cache.request(sample.shard)
            return False
        copy.close()
        return True

    def _read_cached(self, request: Request, scratch: Scratch) -> memoryview:
        """The bytes from the copy in the cache, or from the store if the copy has gone since."""
        copy = cast(Cache, self._cache).open(request.sample.shard)
        if copy is None:
            with self._requests.active():
                return read_remote(request.sample)
        request.from_cache = True
        with copy:
            return read_into(copy.fileno(), request.sample, scratch)
