"""Sources of the bytes of a release's files: the protocol, and the folder of an unpacked release."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from octshard.prep.release.aireadi import Entry
from octshard.storage import local, store
from octshard.storage.checksum import Buffer


class Fingerprint(NamedTuple):
    """What a store says of a file without reading it: its bytes are others only if one of these is.

    None: not known. version: a text that changes with the object that holds the file.
    """

    size: int | None
    crc32: int | None
    version: str


class Source(Protocol):
    """Gives the bytes of a release's files."""

    def read(self, entry: Entry) -> Buffer:
        """The bytes of an entry's file; FileNotFoundError if there is none, Refused if it is held back."""

    def has(self, path: str) -> bool:
        """True if there is a file for this manifest path."""

    def fingerprint(self, path: str) -> Fingerprint:
        """Of the file for this manifest path; FileNotFoundError if there is none."""


@dataclass(frozen=True)
class FolderSource:
    """Files below the release's root at their manifest paths."""

    root: str

    def read(self, entry: Entry) -> Buffer:
        """The whole file, mapped where it is local."""
        return map_file(store.join(self.root, entry.path))

    def has(self, path: str) -> bool:
        """Asks the store."""
        try:
            return bool(self.fingerprint(path))
        except FileNotFoundError:
            return False

    def fingerprint(self, path: str) -> Fingerprint:
        """Asks the store; FileNotFoundError if there is no file."""
        url = store.join(self.root, path)
        if not store.is_remote(url):
            local.file_size(url)  # raises for a folder or a pipe
        size, version = store.size_and_etag(url)
        return Fingerprint(size, None, version)


def map_file(url: str) -> Buffer:
    """The whole file, mapped where it is local; FileNotFoundError if there is none."""
    if not store.is_remote(url):
        local.file_size(url)  # raises for a folder or a pipe; opening a pipe would wait for its writer
    return store.map(url)
