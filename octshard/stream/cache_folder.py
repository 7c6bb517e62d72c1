"""Copies of whole shards in one local folder that several processes fill, read and trim at the same time.

A copy is named after the shard's sha256 and a faster checksum; other files are left alone. A partial file has
its full size at once and is held by flock: one without a lock was left by a killed process. Raises OSError.
"""

import contextlib
import fcntl
import io
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from octshard.storage import checksum
from octshard.storage.local import PARTIAL_SUFFIX

PIECE = 2**20  # bytes per checksum; the names of copies depend on it
COPY_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}\.tar")
PARTIAL_NAME = re.compile(r"[0-9a-f]{32}" + re.escape(PARTIAL_SUFFIX))


@dataclass(frozen=True)
class ShardFile:
    """A shard as shards.parquet lists it; sha256 is that of the whole tar, in hex."""

    url: str
    bytes: int
    sha256: str

    @property
    def stem(self) -> str:
        """The first part of the names of its files in a cache."""
        return self.sha256[:32]


class Claim(NamedTuple):
    """The right to make a copy, from `claim` to `release`. handle: the partial file, open and locked."""

    handle: int
    partial: Path
    evicted: int  # copies that made room for it


class CacheFolder:
    """At most `limit_bytes` of copies and partial files; what depends on a listing runs under one flock."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self._paths_by_stem: dict[
            str, Path
        ] = {}  # of copies: they are opened far more often than they change

    def prepare(self) -> int:
        """Makes the folder, sweeps it, brings it below the limit; how many copies were evicted."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._sweep()
            return self._make_room(0) or 0

    def find(self, shard: ShardFile) -> Path | None:
        """The path of the shard's copy, which is not checked; None if there is none."""
        path = self._paths_by_stem.get(shard.stem)
        if path is not None and path.exists():
            return path
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return None
        copies = (name for name in names if name.startswith(shard.stem) and COPY_NAME.fullmatch(name))
        name = next(copies, None)
        if name is None:
            return None
        self._paths_by_stem[shard.stem] = path = self.path / name
        return path

    def claim(self, shard: ShardFile) -> Claim | None:
        """Makes room for a copy; None if there is one, it is being made, or partial files leave no room."""
        partial = self.path / f"{shard.stem}{PARTIAL_SUFFIX}"
        with self._locked():
            self._sweep()
            if self.find(shard) or partial.exists():
                return None
            evicted = self._make_room(shard.bytes)
            if evicted is None:
                return None
            claim = Claim(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644), partial, evicted)
            try:
                fcntl.flock(claim.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.truncate(claim.handle, shard.bytes)  # so that it counts in full from now on
            except OSError:
                partial.unlink()
                os.close(claim.handle)
                raise
        return claim

    def finish(self, claim: Claim, shard: ShardFile, combined: str) -> None:
        """Gives a whole, sound partial file its name. combined: from `combine_checksums`."""
        os.fsync(claim.handle)
        touch(claim.handle)
        with self._locked():  # a listing might miss a file that is renamed under it
            os.replace(claim.partial, self.path / f"{shard.stem}-{combined}.tar")

    def release(self, claim: Claim) -> None:
        """Ends a claim and removes the partial file, unless it has become the copy."""
        try:
            self.remove(claim.partial, claim.handle)
        finally:
            os.close(claim.handle)

    def remove(self, path: Path, handle: int) -> None:
        """Removes the file that is open as `handle`, but not another that has taken its name since."""
        with self._locked():
            if _is_at(path, handle):
                path.unlink()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self.path / "lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _sweep(self) -> None:
        """Removes the partial files of killed processes."""
        for path in self._paths(PARTIAL_NAME):
            if _is_free(path):
                path.unlink(missing_ok=True)

    def _make_room(self, needed: int) -> int | None:
        """Evicts copies until `needed` bytes fit; how many, or None if that would not do, and all stay."""
        stats = {path: path.stat() for path in self._paths(COPY_NAME)}
        partials = sum(path.stat().st_size for path in self._paths(PARTIAL_NAME))
        if partials + needed > self.limit_bytes:
            return None
        excess = partials + needed + sum(stat.st_size for stat in stats.values()) - self.limit_bytes
        if excess <= 0:
            return 0
        evicted = 0
        for path in sorted(stats, key=lambda path: (not _is_free(path), stats[path].st_mtime_ns)):
            path.unlink(missing_ok=True)
            excess, evicted = excess - stats[path].st_size, evicted + 1
            if excess <= 0:
                break
        return evicted

    def _paths(self, pattern: re.Pattern[str]) -> list[Path]:
        return [self.path / name for name in os.listdir(self.path) if pattern.fullmatch(name)]


def pin(copy: io.FileIO) -> None:
    """Marks a copy as used now and, as long as it is open, as one to be evicted after all others."""
    with contextlib.suppress(OSError):  # hints: the folder may be read-only, the file another user's
        fcntl.flock(copy, fcntl.LOCK_SH | fcntl.LOCK_NB)
    with contextlib.suppress(OSError):
        touch(copy.fileno())


def touch(handle: int) -> None:
    """Sets the time by which copies are evicted; the kernel's own timestamps are too coarse to order them."""
    os.utime(handle, ns=(time.time_ns(),) * 2)


def integrity_error(path: Path, copy: io.FileIO, shard: ShardFile) -> str | None:
    """What is wrong with an open copy (`found ..., want ...`), by its size and then its checksum."""
    size = os.fstat(copy.fileno()).st_size
    if size != shard.bytes:
        return f"found {size} bytes, want {shard.bytes}"
    buffer, sums = memoryview(bytearray(PIECE)), list[str]()
    for start in range(0, size, PIECE):  # read, not mapped: a bad disk would end the process, not the read
        sums += checksums(buffer[: os.preadv(copy.fileno(), [buffer], start)])
    combined, expected = combine_checksums(sums), path.stem.partition("-")[2]
    return None if combined == expected else f"found checksum {combined}, want {expected}"


def checksums(data: checksum.Buffer) -> list[str]:
    """One for each piece of PIECE bytes; `data` begins where a piece of the shard does."""
    view = memoryview(data)
    return [checksum.xxh3(view[start : start + PIECE]) for start in range(0, len(view), PIECE)]


def combine_checksums(sums: list[str]) -> str:
    """The checksum in a copy's name, from those of all its pieces."""
    return checksum.xxh3("".join(sums).encode())


def _is_free(path: Path) -> bool:
    """True if no process of this machine holds the file, or it is gone."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True


def _is_at(path: Path, handle: int) -> bool:
    """True if `path` still names the open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
