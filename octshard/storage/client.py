"""The requests that every remote store answers: one client per scheme. No cloud library is imported here:
gcsfs enters in `gcs`, s3fs in `s3`, and fsspec for the other schemes in `remote`.

A client sends each request once and raises whatever its library raises. Retries and error texts are in
`remote`. A version is an opaque text that changes whenever the object is replaced.
"""

import logging
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple, Protocol

from octshard.storage import transport
from octshard.storage.checksum import WholeChecksum
from octshard.storage.errors import AlteredBytes, IncompleteRead, one_line

Retry = Callable[[Callable[[], Any]], Any]  # does one request of several, with retries

PART = 2**25  # bytes of each part of a larger object, which is read or put, and retried, alone
CONNECT_S = 20.0
STALL_S = 30.0  # an attempt that brings no byte for so long is given up
BYTES = "application/octet-stream"


class Blob(NamedTuple):
    """Bytes of an object, with the size of the whole object and its version ('' if the store gives none)."""

    data: bytes
    size: int
    version: str
    checksum: str = ""  # of the whole object, as `checksum.WholeChecksum` reads it; empty if none is given


class Client(Protocol):
    """One remote store; `fs` is its fsspec filesystem, for requests that are the same in all of them."""

    fs: Any

    def head(self, url: str) -> Blob:
        """Size and version, no bytes."""

    def get(self, url: str, start: int, stop: int | None, version: str) -> Blob:
        """Bytes [start, stop), fewer only where the object ends; only of that version, if one is named."""

    def put(self, url: str, data: bytes, if_version: str | None) -> str:
        """Puts an object and returns its new version.

        if_version: None replaces any object, '' only creates, else only that version is replaced.
        """

    def upload(self, url: str, file: BinaryIO, size: int, retry: Retry) -> None:
        """Puts a large object in parts; it appears with the last part, and a failed upload is aborted."""

    def bucket(self, url: str) -> None:
        """FileNotFoundError if there is no such bucket."""

    def account(self) -> str:
        """The account that requests are made with, for error lines; sends no request."""


def call(fs: Any, name: str, /, *args: Any, **arguments: Any) -> Any:
    """`fs.name(...)` of an fsspec filesystem, within the limits of `transport`."""
    if getattr(fs, "async_impl", False):
        return transport.wait(fs.loop, getattr(fs, f"_{name}"), *args, **arguments)
    return getattr(fs, name)(*args, **arguments)


def split_url(url: str) -> tuple[str, str]:
    """(bucket, key) of a URL."""
    bucket, _, key = url.split("://", 1)[1].partition("/")
    return bucket, key


def range_header(start: int, stop: int | None) -> dict[str, str]:
    return {} if stop is None else {"Range": f"bytes={start}-{stop - 1}"}


def object_size(content_range: str | None, otherwise: int) -> int:
    """Bytes of the whole object, from a Content-Range header: 10 for `bytes 0-4/10`."""
    return int(content_range.rsplit("/", 1)[1]) if content_range else otherwise


def check(blob: Blob, start: int, stop: int | None) -> Blob:
    """`blob` if it holds all bytes of [start, stop) that the object has, else IncompleteRead.

    AlteredBytes if it is the whole object and its checksum differs.
    """
    expected = max(0, min(blob.size, blob.size if stop is None else stop) - start)
    if len(blob.data) != expected:
        raise IncompleteRead(f"{expected} bytes from {start} on were promised, {len(blob.data)} came")
    if expected == blob.size:
        whole = WholeChecksum(blob.checksum)
        whole.update(blob.data)
        if difference := whole.difference():
            raise AlteredBytes(f"{difference}: altered on the way, or in the store")
    return blob


def best_effort(operation: Callable[[], Any]) -> None:
    """Runs a clean-up after a failure; an error of its own is logged and does not hide the first."""
    try:
        operation()
    except Exception as error:  # each cloud library raises classes of its own
        logging.getLogger(__name__).debug("an unfinished upload stays: %s", one_line(error))
