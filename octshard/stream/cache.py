"""A bounded local cache of whole shards, filled in the background and shared by the processes of a machine.

A copy gets its name only if its sha256 is that of the table; each process checks it when it first opens it.
An error of the store ends one download, an error of the disk all of them, each with one line in the log;
reads go on from the store.
"""

import hashlib
import io
import logging
import os
import threading
from collections import Counter, deque
from pathlib import Path
from typing import NamedTuple

from octshard.storage import local, store, transport
from octshard.storage.errors import StoreError
from octshard.stream import cache_folder
from octshard.stream.cache_folder import CacheFolder, ShardFile

logger = logging.getLogger(__name__)

RANGE = 2**24  # bytes of one request to the store; a multiple of cache_folder.PIECE
DOWNLOADERS = 2


class Counts(NamedTuple):
    """What a cache has done so far, in this process."""

    hits: int
    misses: int
    filled: int
    bytes: int  # of the filled ones
    evicted: int
    damaged: int  # copies with a wrong checksum, and shards that are not those of the table
    failed: int  # downloads that ended with an error of the store


class Cache:
    """At most `limit_bytes` of shards in a folder; the least recently used is evicted first.

    Each error is one warning in the log, from any thread; the caller gets no exception.
    """

    def __init__(self, folder: str, limit_bytes: int, downloaders: int = DOWNLOADERS) -> None:
        self._folder = CacheFolder(local.local_path(folder), limit_bytes)
        self._changed = threading.Condition()  # guards what follows
        self._counter: Counter[str] = Counter()
        self._warned: set[str] = set()
        self._queue: deque[ShardFile] = deque()
        self._pending: set[ShardFile] = set()  # queued or being downloaded
        self._rejected: set[ShardFile] = set()  # not those of the table: not downloaded again
        self._disabled = self._closed = False
        self._requests = transport.Scope()  # to the store, under way
        self._verify_lock = threading.Lock()
        # (name, inode) of each copy that this process opened -> True if it is whole
        self._verified: dict[tuple[str, int], bool] = {}
        try:
            self._counter["evicted"] += self._folder.prepare()
        except OSError as error:
            self._disable(error)
        self._running = 0 if self._disabled else downloaders
        self._threads = [
            threading.Thread(target=self._work, name=f"shard cache {i}", daemon=True)
            for i in range(self._running)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "Cache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, shard: ShardFile) -> io.FileIO | None:
        """The copy, checked and open for reading; None if there is none (yet). Never waits for a download.

        The caller closes it. It stays readable if it is evicted; open copies are evicted last.
        """
        try:
            copy = self._open_verified(shard)
        except OSError as error:
            self._warn(f"{self._folder.path}: {_reason(error)}; read from the store instead", once="open")
            copy = None
        self._count("misses" if copy is None else "hits")
        return copy

    def request(self, shard: ShardFile) -> None:
        """Queues the download of a copy, in the background, in the order of requests; returns at once."""
        if shard.bytes > self._folder.limit_bytes:
            limit = self._folder.limit_bytes
            self._warn(
                f"{shard.url}: {shard.bytes} bytes, want at most the {limit} of the cache; "
                "such shards are never cached, raise its limit",
                once="large",
            )
            return
        with self._changed:
            if self._disabled or self._closed or not self._running or shard in self._pending | self._rejected:
                return
            self._pending.add(shard)
            self._queue.append(shard)
            self._changed.notify_all()

    def invalidate(self, shard: ShardFile, why: str) -> None:
        """Removes a copy that proved damaged after it was opened; the next `request` fetches it again."""
        with self._verify_lock:
            path = self._folder.find(shard)
            if path is None:
                return
            try:
                with io.FileIO(path) as copy:
                    self._verified.pop((path.name, os.fstat(copy.fileno()).st_ino), None)
                    self._folder.remove(path, copy.fileno())
            except OSError:  # gone, or it stays and is checked again when it is opened
                pass
        self._count("damaged")
        self._warn(f"{path}: a damaged copy, read from the store instead ({why})")

    def join(self) -> None:
        """Waits until nothing is queued or being downloaded, or the cache has ended."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending or not self._running)

    def counts(self) -> Counts:
        """The counts so far."""
        with self._changed:
            return Counts(**{name: self._counter[name] for name in Counts._fields})

    def close(self) -> None:
        """Ends downloads, also amid a request, and removes their partial files; copies stay."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._requests.cancel()
        for thread in self._threads:
            thread.join()

    def _open_verified(self, shard: ShardFile) -> io.FileIO | None:
        path = self._folder.find(shard)
        if path is None:
            return None
        try:
            copy = io.FileIO(path)
        except FileNotFoundError:  # evicted since
            return None
        verified = False
        try:
            verified = self._verify(path, copy, shard)
        finally:
            if not verified:
                copy.close()
        if not verified:
            return None
        cache_folder.pin(copy)
        return copy

    def _verify(self, path: Path, copy: io.FileIO, shard: ShardFile) -> bool:
        """False if the copy is damaged, and then it is removed. Its bytes are read only once for this."""
        stat = os.fstat(copy.fileno())
        identity = (path.name, stat.st_ino)
        if identity in self._verified and stat.st_size == shard.bytes:
            return self._verified[identity]
        with self._verify_lock:
            if identity in self._verified and stat.st_size == shard.bytes:
                return self._verified[identity]
            problem = cache_folder.integrity_error(path, copy, shard)
            self._verified[identity] = problem is None
            if problem is None:
                return True
            self._count("damaged")
            self._warn(f"{path}: {problem}: a damaged copy of {shard.url}, to be fetched again")
            self._folder.remove(path, copy.fileno())
            del self._verified[identity]  # only now: if removing fails, the copy is not read again and again
            return False

    def _work(self) -> None:
        """The loop of a downloader, until the cache is closed or disabled."""
        try:
            while shard := self._next():
                try:
                    with self._requests.active():
                        self._fetch(shard)
                except OSError as error:
                    self._disable(error)
                finally:
                    with self._changed:
                        self._pending.discard(shard)
                        self._changed.notify_all()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _next(self) -> ShardFile | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            return None if self._closed else self._queue.popleft()

    def _fetch(self, shard: ShardFile) -> None:
        """Makes a copy, unless one exists or is being made, or there is no room for it now."""
        claim = self._folder.claim(shard)
        if claim is None:
            return
        self._count("evicted", claim.evicted)
        try:
            if combined := self._download(shard, claim.handle):
                self._folder.finish(claim, shard, combined)
                self._count("filled")
                self._count("bytes", shard.bytes)
        finally:
            self._folder.release(claim)

    def _download(self, shard: ShardFile, handle: int) -> str | None:
        """Writes the shard into the partial file. Its combined checksum; None if it is not to be kept.

        Bytes that are not those of the table may have been altered on their way: they are fetched twice.
        """
        for _ in range(2):
            sha256, sums = self._download_once(shard, handle)
            if sha256 == shard.sha256:
                return cache_folder.combine_checksums(sums)
            if not sha256:
                return None
        with self._changed:
            self._rejected.add(shard)
        self._count("damaged")
        self._warn(
            f"{shard.url}: found sha256 {sha256}, want {shard.sha256} as in shards.parquet; "
            "not cached, run `octshard prep verify`"
        )
        return None

    def _download_once(self, shard: ShardFile, handle: int) -> tuple[str, list[str]]:
        """(sha256, checksums of the pieces) of what the partial file holds now; ('', []): given up."""
        os.lseek(handle, 0, os.SEEK_SET)
        sha256, sums = hashlib.sha256(), list[str]()
        for start in range(0, shard.bytes, RANGE):
            if self._closed or self._disabled:
                return "", []
            try:
                data = store.read_range(shard.url, start, min(start + RANGE, shard.bytes))
            except (StoreError, FileNotFoundError):
                self._count("failed")  # reading the shard raises the same error, which is reported there
                return "", []
            sha256.update(data)
            sums += cache_folder.checksums(data)
            unwritten = memoryview(data)
            while unwritten:
                unwritten = unwritten[os.write(handle, unwritten) :]
        return sha256.hexdigest(), sums

    def _disable(self, error: OSError) -> None:
        with self._changed:
            self._disabled = True
            self._pending.difference_update(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        advice = (
            "free some space or lower the limit" if error.errno in local.FULL else "name a folder to write to"
        )
        self._warn(
            f"{self._folder.path}: {_reason(error)}; nothing more is cached in this run, shards are read "
            f"from the store; {advice}",
            once="off",
        )

    def _count(self, name: str, by: int = 1) -> None:
        with self._changed:
            self._counter[name] += by

    def _warn(self, line: str, once: str = "") -> None:
        with self._changed:
            if once in self._warned:
                return
            self._warned |= {once} - {""}
        logger.warning("%s", line)


def _reason(error: OSError) -> str:
    return "the disk is full" if error.errno in local.FULL else error.strerror or str(error)
