"""Sources of the bytes of a release's files: the protocol, and the folder of an unpacked release."""

from dataclasses import dataclass
from typing import Protocol

from octshard.prep.release.aireadi import Entry
from octshard.storage import local, store
from octshard.storage.checksum import Buffer


class Source(Protocol):
    """Gives the bytes of a release's files."""

    def read(self, entry: Entry) -> Buffer:
        """The bytes of an entry's file; FileNotFoundError if there is none."""

    def has(self, path: str) -> bool:
        """True if there is a file for this manifest path."""

    def size(self, path: str) -> int:
        """Bytes of a file that is there."""


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
            return self.size(path) >= 0
        except FileNotFoundError:
            return False

    def size(self, path: str) -> int:
        """Asks the store; FileNotFoundError if there is no file."""
        url = store.join(self.root, path)
        return store.size(url) if store.is_remote(url) else local.file_size(url)


def map_file(url: str) -> Buffer:
    """The whole file, mapped where it is local; FileNotFoundError if there is none."""
    if not store.is_remote(url):
        local.file_size(url)  # raises for a folder or a pipe; opening a pipe would wait for its writer
    return store.map(url)
