"""The bytes of samples, asked for in the order in which they will be used, read ahead within a bound.

Neighbours in a shard that are asked for together come in one request. Local shards and cached ones are read
where they lie, by whoever uses them; of them only the system is told in advance.
"""

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import cast

from octshard.dataset.shard import BadSample
from octshard.errors import OctshardError
from octshard.storage import store
from octshard.storage.client import Blob
from octshard.storage.errors import OutOfRange
from octshard.storage.local import local_path
from octshard.stream.cache import Cache
from octshard.stream.index import SampleRef
from octshard.stream.read import (
    Reply,
    Scratch,
    _read_into,
    advise_will_need,
    check_reply,
    naming_sample,
    read_local,
    read_remote,
)

REQUEST = 14_000_000  # a request ends with the sample that makes it so long: 14 to 20 MB for most volumes


@dataclass(eq=False)
class Request:
    """One sample that was asked for."""

    entry: SampleRef
    number: int  # it is so manieth
    reply: Future[Reply | None] = field(default_factory=Future)  # None: read it where it lies
    held: "_SharedBuffer | None" = None  # what its bytes keep in memory
    copied: bool = False  # its bytes come from the cache

    @property
    def bytes(self) -> int:
        """Of its slice."""
        return self.entry.stop - self.entry.start


@dataclass(eq=False)
class _SharedBuffer:
    """One reply in memory, until the last of its samples is used."""

    bytes: int
    users: int


class ReadAhead:
    """Reads what is asked for, `connections` requests at once; threads end with `close`."""

    def __init__(self, connections: int, cache: Cache | None) -> None:
        self._cache = cache
        self._changed = threading.Condition()  # guards what follows
        self._waiting: dict[int, Request] = {}  # by number, so in order
        self._at: dict[tuple[str, int], Request] = {}  # those by shard and first byte
        self._until: dict[tuple[str, int], Request] = {}  # and by the byte behind them
        self._asked = self._used = self._held = 0
        self._least = 2 * connections  # samples that may always be on their way
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"stream-read-{i}", daemon=True)
            for i in range(connections)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def held(self) -> int:
        """Bytes that are held, on their way, or asked for."""
        with self._changed:
            return self._held

    def submit(self, entry: SampleRef) -> Request:
        """Asks for the bytes of a sample; to be called in the order in which they will be used."""
        with self._changed:
            asked = Request(entry, self._asked)
            self._asked += 1
            self._held += asked.bytes
            asked.held = _SharedBuffer(asked.bytes, 1)
            self._waiting[asked.number] = asked
            self._at.setdefault((entry.shard.url, entry.start), asked)
            self._until.setdefault((entry.shard.url, entry.stop), asked)
            self._changed.notify()
        return asked

    def result(self, asked: Request, scratch: Scratch) -> memoryview:
        """Its bytes, waited for; good until `release`, or until `scratch` is used again.

        BadSample and PastTheEnd are the sample's own fault, any other OctshardError is the store's.
        """
        entry = asked.entry
        if store.is_remote(entry.shard.url):
            with naming_sample(entry):
                reply = asked.reply.result()
            return self._cached(asked, scratch) if reply is None else check_reply(entry, reply)
        with self._changed:
            self._forget(asked)
        return read_local(entry, str(local_path(entry.shard.url)), scratch)

    def reread(self, asked: Request, wrong: BadSample) -> memoryview:
        """Its bytes from the store, if what was wrong with them was the cache's copy, which is removed; else
        raises what was wrong.
        """
        if not asked.copied:
            raise wrong
        cast(Cache, self._cache).invalidate(asked.entry.shard, str(wrong))
        return read_remote(asked.entry)

    def release(self, asked: Request) -> None:
        """Its bytes are no longer looked at."""
        with self._changed:
            self._used += 1
            held = cast(_SharedBuffer, asked.held)
            held.users -= 1
            if held.users == 0:
                self._held -= held.bytes
            asked.reply, asked.held = Future(), None  # the reply may go, even while the batch waits
            self._changed.notify_all()

    def close(self) -> None:
        """Ends the threads, after the requests that are under way."""
        with self._changed:
            self._closed = True
            for asked in self._waiting.values():
                asked.reply.cancel()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while group := self._next_group():
            try:
                self._read(group)
            except BaseException as error:  # whatever it is, it belongs to those who wait for the bytes
                for asked in group:
                    if not asked.reply.done():
                        asked.reply.set_exception(error)

    def _next_group(self) -> list[Request]:
        """What the next request reads; waits until there is something. Empty at the end."""
        with self._changed:
            while not self._closed:
                if head := self._due():
                    return self._group(head)
                self._changed.wait()
            return []

    def _due(self) -> Request | None:
        """The first that waits, if it stands in the near half of what is asked for.

        The far half is left to grow together with its neighbours, unless it is short.
        """
        head = next(iter(self._waiting.values()), None)
        near = max(self._least, (self._asked - self._used + 1) // 2)
        return head if head and head.number < self._used + near else None

    def _group(self, head: Request) -> list[Request]:
        """The head and its neighbours in the shard, behind and before, as far as one request goes."""
        group, size = [head], head.bytes
        self._forget(head)
        url = head.entry.shard.url
        while size < REQUEST and (after := self._at.get((url, group[-1].entry.stop))):
            group.append(after)
            size += after.bytes
            self._forget(after)
        while size < REQUEST and (before := self._until.get((url, group[0].entry.start))):
            group.insert(0, before)
            size += before.bytes
            self._forget(before)
        return group

    def _forget(self, asked: Request) -> None:
        """It waits no longer."""
        self._waiting.pop(asked.number, None)
        url = asked.entry.shard.url
        if self._at.get((url, asked.entry.start)) is asked:
            del self._at[url, asked.entry.start]
        if self._until.get((url, asked.entry.stop)) is asked:
            del self._until[url, asked.entry.stop]

    def _read(self, group: list[Request]) -> None:
        first, last = group[0].entry, group[-1].entry
        if not store.is_remote(first.shard.url):
            advise_will_need(str(local_path(first.shard.url)), first.start, last.stop - first.start)
            return
        if self._in_cache(first):
            for asked in group:
                asked.reply.set_result(None)
            return
        try:
            piece = store.get(first.shard.url, first.start, last.stop)
        except OutOfRange:  # a cut shard: each of them learns for itself whether it is still there
            if len(group) == 1:
                raise
            for asked in group:
                self._read_alone(asked)
        else:
            self._hand_over(group, piece)

    def _read_alone(self, asked: Request) -> None:
        try:
            self._read([asked])
        except OctshardError as error:
            asked.reply.set_exception(error)

    def _hand_over(self, group: list[Request], piece: Blob) -> None:
        base, held = group[0].entry.start, _SharedBuffer(len(piece.data), len(group))
        with self._changed:
            for asked in group:
                asked.held = held
        view = memoryview(piece.data)
        for asked in group:
            part = view[asked.entry.start - base : asked.entry.stop - base]
            asked.reply.set_result(Reply(part, piece.size))

    def _in_cache(self, entry: SampleRef) -> bool:
        """True if the shard is in the cache; if not, the cache begins to fetch it."""
        if self._cache is None:
            return False
        copy = self._cache.open(entry.shard)
        if copy is None:
            self._cache.request(entry.shard)
            return False
        copy.close()
        return True

    def _cached(self, asked: Request, scratch: Scratch) -> memoryview:
        """From the copy in the cache, or from the store if it has gone meanwhile."""
        copy = cast(Cache, self._cache).open(asked.entry.shard)
        if copy is None:
            return read_remote(asked.entry)
        asked.copied = True
        with copy:
            return _read_into(copy.fileno(), asked.entry, scratch)
