"""Copies of whole shards in one local folder that several processes fill, read and trim at the same time.

A copy is named after its sha256 and a faster checksum; other files are left alone. A partial file has its
full size at once and is held by flock: one that nobody holds is a killed process's. It raises OSErrors.
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
COPY = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}\.tar")
PARTIAL = re.compile(r"[0-9a-f]{32}" + re.escape(PARTIAL_SUFFIX))


@dataclass(frozen=True)
class ShardFile:
    """A slow or remote shard, as shards.parquet knows it; sha256 is that of the whole tar, in hex."""

    url: str
    bytes: int
    sha256: str

    @property
    def stem(self) -> str:
        """How the names of its files begin."""
        return self.sha256[:32]


class Claim(NamedTuple):
    """The right to make a copy, as long as `handle`, open on the partial file, is not released."""

    handle: int
    partial: Path
    evicted: int  # copies that made room for it


class CacheFolder:
    """At most `limit_bytes` of copies and partial files; what needs a listing is done under one flock."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self._known: dict[str, Path] = {}  # by stem: copies are opened far more often than they come and go

    def prepare(self) -> int:
        """Makes the folder, sweeps it, brings it below the limit; how many copies that cost."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._sweep()
            return self._make_room(0) or 0

    def find(self, shard: ShardFile) -> Path | None:
        """The shard's copy, whatever it holds."""
        known = self._known.get(shard.stem)
        if known is not None and known.exists():
            return known
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return None
        name = next((name for name in names if name.startswith(shard.stem) and COPY.fullmatch(name)), None)
        if name is None:
            return None
        self._known[shard.stem] = found = self.path / name
        return found

    def claim(self, shard: ShardFile) -> Claim | None:
        """Makes room for a copy; None if there is one, or somebody makes it, or others fill the room now."""
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

    def finish(self, claim: Claim, shard: ShardFile, found: str) -> None:
        """Gives a whole, sound partial file its name."""
        os.fsync(claim.handle)
        touch(claim.handle)
        with self._locked():  # a listing might miss a file that is renamed under it
            os.replace(claim.partial, self.path / f"{shard.stem}-{found}.tar")

    def release(self, claim: Claim) -> None:
        """Ends a claim; the partial file goes, unless it has become the copy."""
        try:
            self.remove(claim.partial, claim.handle)
        finally:
            os.close(claim.handle)

    def remove(self, path: Path, handle: int) -> None:
        """Removes the file that is open as `handle`, not another that took its name since."""
        with self._locked():
            if _is_at(path, handle):
                path.unlink()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self.path / "lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _sweep(self) -> None:
        for path in self._names(PARTIAL):
            if _is_free(path):
                path.unlink(missing_ok=True)

    def _make_room(self, wanted: int) -> int | None:
        """Evicts until `wanted` bytes fit; how many copies, or None, and all stay, if that would not do."""
        sizes = {path: path.stat() for path in self._names(COPY)}
        partials = sum(path.stat().st_size for path in self._names(PARTIAL))
        if partials + wanted > self.limit_bytes:
            return None
        excess = partials + wanted + sum(stat.st_size for stat in sizes.values()) - self.limit_bytes
        if excess <= 0:
            return 0
        evicted = 0
        for path in sorted(sizes, key=lambda path: (not _is_free(path), sizes[path].st_mtime_ns)):
            path.unlink(missing_ok=True)
            excess, evicted = excess - sizes[path].st_size, evicted + 1
            if excess <= 0:
                break
        return evicted

    def _names(self, kind: re.Pattern[str]) -> list[Path]:
        return [self.path / name for name in os.listdir(self.path) if kind.fullmatch(name)]


def pin(copy: io.FileIO) -> None:
    """Marks a copy as used now and, as long as it is open, as one to be evicted after all others."""
    with contextlib.suppress(OSError):  # hints: a folder may be read-only, a file somebody else's
        fcntl.flock(copy, fcntl.LOCK_SH | fcntl.LOCK_NB)
    with contextlib.suppress(OSError):
        touch(copy.fileno())


def touch(handle: int) -> None:
    """Sets the time by which copies are evicted; the kernel's own clock is too coarse to tell an order by."""
    os.utime(handle, ns=(time.time_ns(),) * 2)


def integrity_error(path: Path, copy: io.FileIO, shard: ShardFile) -> str | None:
    """What is wrong with an open copy (`found ..., want ...`), by its size and then its checksum."""
    size = os.fstat(copy.fileno()).st_size
    if size != shard.bytes:
        return f"found {size} bytes, want {shard.bytes}"
    buffer, sums = memoryview(bytearray(PIECE)), list[str]()
    for start in range(0, size, PIECE):  # read, not mapped: a bad disk would end the process, not the read
        sums += checksums(buffer[: os.preadv(copy.fileno(), [buffer], start)])
    found, wanted = combine_checksums(sums), path.stem.partition("-")[2]
    return None if found == wanted else f"found checksum {found}, want {wanted}"


def checksums(data: checksum.Buffer) -> list[str]:
    """Those of the pieces of a part that begins where a piece does."""
    whole = memoryview(data)
    return [checksum.xxh3(whole[start : start + PIECE]) for start in range(0, len(whole), PIECE)]


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
    """True if the open file is (still) the one with that name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
