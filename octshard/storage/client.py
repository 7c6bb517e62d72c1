"""What a remote store is asked: one client per scheme. The only cloud import.

A client asks, once, or fails with whatever its library raises; to try again, and to say what went wrong, is
`store`'s business. A version is an opaque text that changes whenever the object is replaced.
"""

import logging
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple, Protocol

from octshard.storage.errors import IncompleteRead, one_line

Again = Callable[[Callable[[], Any]], Any]  # does one request of several, with retries

PART = 2**25  # a larger object goes up in parts of so many bytes, each tried again by itself
CONNECT_S = 20.0
STALL_S = 60.0  # a reply that brings no byte for so long is given up
BYTES = "application/octet-stream"


class Blob(NamedTuple):
    """Bytes of an object, and of which object: how many it has in all, and its version ('' if not told)."""

    data: bytes
    size: int
    version: str


class Client(Protocol):
    """One remote store; `fs` is its fsspec filesystem, for what all of them do alike."""

    fs: Any

    def head(self, url: str) -> Blob:
        """Size and version, no bytes."""

    def get(self, url: str, start: int, stop: int | None, version: str) -> Blob:
        """Bytes [start, stop), fewer only where the object ends; only of that version, if one is named."""

    def put(self, url: str, data: bytes, over: str | None) -> str:
        """Puts an object, over anything (None), over nothing ('') or over that version; its new version."""

    def upload(self, url: str, file: BinaryIO, size: int, again: Again) -> None:
        """Puts a large object in parts; it appears with the last, and a failed upload is taken back."""

    def bucket(self, url: str) -> None:
        """FileNotFoundError if there is no such bucket."""

    def account(self) -> str:
        """As whom the store is asked, said without asking anybody."""


def split_url(url: str) -> tuple[str, str]:
    """(bucket, key) of a URL."""
    bucket, _, key = url.split("://", 1)[1].partition("/")
    return bucket, key


def range_header(start: int, stop: int | None) -> dict[str, str]:
    return {} if stop is None else {"Range": f"bytes={start}-{stop - 1}"}


def object_size(content_range: str | None, otherwise: int) -> int:
    """How many bytes the object has: `bytes 0-4/10` says 10."""
    return int(content_range.rsplit("/", 1)[1]) if content_range else otherwise


def check_size(piece: Blob, start: int, stop: int | None) -> Blob:
    wanted = max(0, min(piece.size, piece.size if stop is None else stop) - start)
    if len(piece.data) != wanted:
        raise IncompleteRead(f"{wanted} bytes from {start} on were promised, {len(piece.data)} came")
    return piece


def try_to(act: Callable[[], Any]) -> None:
    """Tidies up after a failure, without hiding it behind another."""
    try:
        act()
    except Exception as error:  # cloud clients raise kinds of their own
        logging.getLogger(__name__).debug("an unfinished upload stays: %s", one_line(error))
