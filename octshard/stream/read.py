"""The bytes of one sample, from a local shard, a remote one or a cached copy."""

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from octshard.dataset.shard import BadSample
from octshard.errors import OctshardError
from octshard.storage import store
from octshard.storage.errors import OutOfRange
from octshard.storage.local import local_path, one_line_errors, open_handle
from octshard.stream.index import SampleRef


class Scratch:
    """Memory of one thread, used again for every read."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def view(self, size: int) -> memoryview:
        """`size` bytes; what an earlier view held is overwritten."""
        if len(self._bytes) < size:
            self._bytes = bytearray(size)
        return memoryview(self._bytes)[:size]


class Reply(NamedTuple):
    """The bytes of one sample, and the size of its whole shard."""

    data: memoryview
    shard_bytes: int


def read_now(sample: SampleRef, scratch: Scratch) -> memoryview:
    """The bytes of one sample, at once and without read-ahead."""
    if store.is_remote(sample.shard.url):
        return read_remote(sample)
    return read_local(sample, str(local_path(sample.shard.url)), scratch)


def read_remote(sample: SampleRef) -> memoryview:
    """The bytes of a sample in a remote shard, by a request of its own."""
    with naming_sample(sample):
        blob = store.get(sample.shard.url, sample.start, sample.stop)
    return check_reply(sample, Reply(memoryview(blob.data), blob.size))


def read_local(sample: SampleRef, path: str, scratch: Scratch) -> memoryview:
    """The bytes of a sample in a local shard, into `scratch`."""
    with naming_sample(sample), one_line_errors(path):
        file = open_handle(path)
    try:
        return read_into(file, sample, scratch)
    finally:
        os.close(file)


def read_into(file: int, sample: SampleRef, scratch: Scratch) -> memoryview:
    """The bytes of a sample from its shard, open as `file`, into `scratch`.

    BadSample if the shard does not have the size that the tables give.
    """
    with naming_sample(sample), one_line_errors(sample.shard.url):
        _check_shard_size(sample, os.fstat(file).st_size)
        buffer = scratch.view(sample.stop - sample.start)
        filled = 0
        while filled < len(buffer) and (count := os.preadv(file, [buffer[filled:]], sample.start + filled)):
            filled += count
    if filled != len(buffer):
        raise BadSample(f"{sample.location}: the shard was cut while it was read; run octshard prep verify")
    return buffer


@contextlib.contextmanager
def naming_sample(sample: SampleRef) -> Iterator[None]:
    """Turns errors of the store into errors that name the sample."""
    try:
        yield
    except FileNotFoundError:
        raise OctshardError(
            f"{sample.location}: the shard is missing, want it beside its samples.parquet"
        ) from None
    except OutOfRange as error:
        raise BadSample(f"{sample.location}: {error}") from error
    except store.StoreError as error:
        raise OctshardError(f"{sample.location}: {error}") from error


def check_reply(sample: SampleRef, reply: Reply) -> memoryview:
    """The bytes; BadSample if the shard does not have the size that the tables give."""
    _check_shard_size(sample, reply.shard_bytes)
    return reply.data


def _check_shard_size(sample: SampleRef, size: int) -> None:
    if size != sample.shard.bytes:
        raise BadSample(
            f"{sample.location}: the shard has {size} bytes, want {sample.shard.bytes}: it was cut or "
            f"replaced; run octshard prep verify"
        )


def advise_will_need(path: str, start: int, size: int) -> None:
    """Tells the system what will be read, so that it begins. A hint only: the read itself raises errors."""
    with contextlib.suppress(OSError, AttributeError):  # not every system takes such hints
        file = open_handle(path)
        try:
            os.posix_fadvise(file, start, size, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(file)
