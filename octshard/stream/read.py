"""The bytes of one sample, from a local shard, a remote one or a cached copy."""

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from octshard.dataset.shard import BadSample
from octshard.errors import OctshardError
from octshard.storage import store
from octshard.storage.errors import OutOfRange
from octshard.storage.local import local_path, one_line_errors
from octshard.stream.index import SampleRef


class Scratch:
    """A thread's own memory for what it reads."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def view(self, size: int) -> memoryview:
        """So many bytes; what it gave before is overwritten."""
        if len(self._bytes) < size:
            self._bytes = bytearray(size)
        return memoryview(self._bytes)[:size]


class Reply(NamedTuple):
    """The bytes of one sample, and how many its whole shard has."""

    data: memoryview
    shard_bytes: int


def read_now(entry: SampleRef, scratch: Scratch) -> memoryview:
    """The bytes of one sample, at once and without asking for them before."""
    if store.is_remote(entry.shard.url):
        return read_remote(entry)
    return read_local(entry, str(local_path(entry.shard.url)), scratch)


def read_remote(entry: SampleRef) -> memoryview:
    """The bytes of a sample in a remote shard, by a request of their own."""
    with naming_sample(entry):
        piece = store.get(entry.shard.url, entry.start, entry.stop)
    return check_reply(entry, Reply(memoryview(piece.data), piece.size))


def read_local(entry: SampleRef, path: str, scratch: Scratch) -> memoryview:
    """The bytes of a sample in a local shard, into `scratch`."""
    with naming_sample(entry), one_line_errors(path):
        file = os.open(path, os.O_RDONLY)
    try:
        return _read_into(file, entry, scratch)
    finally:
        os.close(file)


def _read_into(file: int, entry: SampleRef, scratch: Scratch) -> memoryview:
    room = scratch.view(entry.stop - entry.start)
    with naming_sample(entry), one_line_errors(entry.shard.url):
        _want_size(entry, os.fstat(file).st_size)
        got = 0
        while got < len(room) and (more := os.preadv(file, [room[got:]], entry.start + got)):
            got += more
    if got != len(room):
        raise BadSample(f"{entry.where}: the shard was cut while it was read; run octshard prep verify")
    return room


@contextlib.contextmanager
def naming_sample(entry: SampleRef) -> Iterator[None]:
    """What a store says of a request, said of the sample that it was for."""
    try:
        yield
    except FileNotFoundError:
        raise OctshardError(
            f"{entry.where}: the shard is missing, want it beside its samples.parquet"
        ) from None
    except OutOfRange as error:
        raise BadSample(f"{entry.where}: {error}") from error
    except store.StoreError as error:
        raise OctshardError(f"{entry.where}: {error}") from error


def check_reply(entry: SampleRef, reply: Reply) -> memoryview:
    _want_size(entry, reply.shard_bytes)
    return reply.data


def _want_size(entry: SampleRef, found: int) -> None:
    if found != entry.shard.bytes:
        raise BadSample(
            f"{entry.where}: the shard has {found} bytes, want {entry.shard.bytes}: it was cut or replaced; "
            f"run octshard prep verify"
        )


def advise_will_need(path: str, start: int, size: int) -> None:
    """Tells the system what will be read, so that it begins. Only a hint: the reader meets any error."""
    with contextlib.suppress(OSError, AttributeError):  # not every system takes such hints
        file = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(file, start, size, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(file)
