"""A bounded local cache of whole shards, filled in the background and shared by the processes of a machine.

A copy gets its name only if its sha256 is that of the table; each process checks it when it opens it first.
Trouble with the store ends a download, with the disk all of them, in one line; reads go on from the store.
"""

import hashlib
import io
import logging
import os
import threading
from collections import Counter, deque
from pathlib import Path
from typing import NamedTuple

from octshard.storage import local, store
from octshard.storage.errors import StoreError
from octshard.stream import cache_folder
from octshard.stream.cache_folder import CacheFolder, ShardFile

logger = logging.getLogger(__name__)

RANGE = 2**24  # bytes asked of the store at once; whole copies.PIECEs
DOWNLOADERS = 2


class Counts(NamedTuple):
    """What a cache did so far, in this process."""

    hits: int
    misses: int
    filled: int
    bytes: int  # of the filled ones
    evicted: int
    damaged: int  # copies with a wrong checksum, and shards that are not those of the table
    failed: int  # downloads that the store ended


class Cache:
    """At most `limit_bytes` of shards in a folder, the longest unused out first.

    Each trouble is one warning in the log, from any thread; the caller gets no exception.
    """

    def __init__(self, folder: str, limit_bytes: int, downloaders: int = DOWNLOADERS) -> None:
        self._folder = CacheFolder(local.local_path(folder), limit_bytes)
        self._changed = threading.Condition()  # guards what follows
        self._counted: Counter[str] = Counter()
        self._warned: set[str] = set()
        self._queue: deque[ShardFile] = deque()
        self._wanted: set[ShardFile] = set()  # queued or under way
        self._never: set[ShardFile] = set()  # not worth another download
        self._off = self._closed = False
        self._checking = threading.Lock()
        self._sound: dict[tuple[str, int], bool] = {}  # of each (name, inode) that this process opened
        try:
            self._counted["evicted"] += self._folder.prepare()
        except OSError as error:
            self._switch_off(error)
        self._working = 0 if self._off else downloaders
        self._threads = [
            threading.Thread(target=self._work, name=f"shard cache {i}", daemon=True)
            for i in range(self._working)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "Cache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, shard: ShardFile) -> io.FileIO | None:
        """The copy, checked and open for reading, None if there is none (yet); never waits for a download.

        The caller closes it. It stays readable if it is evicted meanwhile: open ones are the last to be.
        """
        try:
            copy = self._opened(shard)
        except OSError as error:
            self._warn(f"{self._folder.path}: {_reason(error)}; read from the store instead", once="open")
            copy = None
        self._count("misses" if copy is None else "hits")
        return copy

    def request(self, shard: ShardFile) -> None:
        """Asks for a copy, to be made in the background, first asked first; returns at once."""
        if shard.bytes > self._folder.limit_bytes:
            found = (
                f"{shard.url}: {shard.bytes} bytes, want at most the {self._folder.limit_bytes} of the cache"
            )
            self._warn(f"{found}; such shards are never cached, raise its limit", once="large")
            return
        with self._changed:
            if self._off or self._closed or not self._working or shard in self._wanted | self._never:
                return
            self._wanted.add(shard)
            self._queue.append(shard)
            self._changed.notify_all()

    def invalidate(self, shard: ShardFile, why: str) -> None:
        """Removes a copy that was found damaged after it was opened; the next `request` fetches it again."""
        with self._checking:
            path = self._folder.find(shard)
            if path is None:
                return
            try:
                with io.FileIO(path) as copy:
                    self._sound.pop((path.name, os.fstat(copy.fileno()).st_ino), None)
                    self._folder.remove(path, copy.fileno())
            except OSError:  # gone, or it stays and is checked anew when it is opened
                pass
        self._count("damaged")
        self._warn(f"{path}: a damaged copy, read from the store instead ({why})")

    def join(self) -> None:
        """Waits until nothing that was asked for is queued or under way, or the cache has ended."""
        with self._changed:
            self._changed.wait_for(lambda: not self._wanted or not self._working)

    def counts(self) -> Counts:
        """So far."""
        with self._changed:
            return Counts(**{name: self._counted[name] for name in Counts._fields})

    def close(self) -> None:
        """Ends downloads before their next range and removes what they had; copies stay."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _opened(self, shard: ShardFile) -> io.FileIO | None:
        path = self._folder.find(shard)
        if path is None:
            return None
        try:
            copy = io.FileIO(path)
        except FileNotFoundError:  # evicted since
            return None
        sound = False
        try:
            sound = self._is_sound(path, copy, shard)
        finally:
            if not sound:
                copy.close()
        if not sound:
            return None
        cache_folder.pin(copy)
        return copy

    def _is_sound(self, path: Path, copy: io.FileIO, shard: ShardFile) -> bool:
        """False, and the copy is removed, if it is damaged; its bytes are read for that only once."""
        stat = os.fstat(copy.fileno())
        mark = (path.name, stat.st_ino)
        if mark in self._sound and stat.st_size == shard.bytes:
            return self._sound[mark]
        with self._checking:
            if mark in self._sound and stat.st_size == shard.bytes:
                return self._sound[mark]
            wrong = cache_folder.integrity_error(path, copy, shard)
            self._sound[mark] = wrong is None
            if wrong is None:
                return True
            self._count("damaged")
            self._warn(f"{path}: {wrong}: a damaged copy of {shard.url}, to be fetched again")
            self._folder.remove(path, copy.fileno())
            del self._sound[mark]  # what cannot be removed is not read again and again
            return False

    def _work(self) -> None:
        """What a downloader does until the cache is closed."""
        try:
            while shard := self._next():
                try:
                    self._fetch(shard)
                except OSError as error:
                    self._switch_off(error)
                finally:
                    with self._changed:
                        self._wanted.discard(shard)
                        self._changed.notify_all()
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    def _next(self) -> ShardFile | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            return None if self._closed else self._queue.popleft()

    def _fetch(self, shard: ShardFile) -> None:
        """Makes a copy, unless one is there or being made, or there can be no room for it now."""
        claim = self._folder.claim(shard)
        if claim is None:
            return
        self._count("evicted", claim.evicted)
        try:
            if found := self._download(shard, claim.handle):
                self._folder.finish(claim, shard, found)
                self._count("filled")
                self._count("bytes", shard.bytes)
        finally:
            self._folder.release(claim)

    def _download(self, shard: ShardFile, handle: int) -> str | None:
        """Writes the shard; its checksum, or None if it is not to be kept."""
        sha256, sums = hashlib.sha256(), list[str]()
        for start in range(0, shard.bytes, RANGE):
            if self._closed or self._off:
                return None
            try:
                data = store.read_range(shard.url, start, min(start + RANGE, shard.bytes))
            except (StoreError, FileNotFoundError):
                self._count("failed")  # whoever reads the shard meets the same, and says it
                return None
            sha256.update(data)
            sums += cache_folder.checksums(data)
            left = memoryview(data)
            while left:
                left = left[os.write(handle, left) :]
        if sha256.hexdigest() == shard.sha256:
            return cache_folder.combine_checksums(sums)
        with self._changed:
            self._never.add(shard)
        self._count("damaged")
        what = f"{shard.url}: found sha256 {sha256.hexdigest()}, want {shard.sha256} as in shards.parquet"
        self._warn(f"{what}; not cached, run `octshard prep verify`")
        return None

    def _switch_off(self, error: OSError) -> None:
        with self._changed:
            self._off = True
            self._wanted.difference_update(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        act = (
            "free some space or lower the limit" if error.errno in local.FULL else "name a folder to write to"
        )
        then = "nothing more is cached in this run, shards are read from the store"
        self._warn(f"{self._folder.path}: {_reason(error)}; {then}; {act}", once="off")

    def _count(self, name: str, by: int = 1) -> None:
        with self._changed:
            self._counted[name] += by

    def _warn(self, line: str, once: str = "") -> None:
        with self._changed:
            if once in self._warned:
                return
            self._warned |= {once} - {""}
        logger.warning("%s", line)


def _reason(error: OSError) -> str:
    return "the disk is full" if error.errno in local.FULL else error.strerror or str(error)
