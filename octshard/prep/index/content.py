"""What an index reads of one file: its first bytes, rarely all of it, and texts beside it."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from octshard.prep.readers import side_text
from octshard.prep.release import zip_source
from octshard.prep.release.zip_directory import ZipEntry
from octshard.storage import store
from octshard.storage.checksum import Buffer

MOST_UNPACKED = 2**28  # bytes of a member of a local ZIP that is unpacked for its directory


class Content(Protocol):
    """The bytes of a file."""

    @property
    def is_mapped(self) -> bool:
        """True if all of it may be looked at for the price of what is looked at."""

    def head(self, count: int) -> bytes:
        """Its first bytes."""

    def whole(self) -> Buffer:
        """All of them."""

    def open(self, block_bytes: int) -> BinaryIO | None:
        """A seekable file that reads so many bytes at once; None where that would cost too much."""

    def beside(self, name: str) -> Buffer:
        """A text in the same folder, or its beginning; FileNotFoundError if there is none."""


@dataclass(frozen=True)
class StoredFile:
    """As `Content`, of the file `url`."""

    url: str
    size: int

    @property
    def is_mapped(self) -> bool:
        return not store.is_remote(self.url)

    def head(self, count: int) -> bytes:
        return store.read_range(self.url, 0, min(self.size, count))

    def whole(self) -> Buffer:
        return store.map(self.url)

    def open(self, block_bytes: int) -> BinaryIO | None:
        return store.open_read(self.url, block_bytes)

    def beside(self, name: str) -> Buffer:
        url = store.join(self.url.rpartition("/")[0], name)
        return store.read_range(url, 0, min(store.size(url), side_text.LONGEST))


@dataclass(frozen=True, eq=False)
class ZipMember:
    """As `Content`. members: all of its ZIP, by name."""

    entry: ZipEntry
    members: Mapping[str, ZipEntry]

    @property
    def is_mapped(self) -> bool:
        return False

    def head(self, count: int) -> bytes:
        return zip_source.head(self.entry, count)

    def whole(self) -> Buffer:
        return zip_source.read(self.entry)

    def open(self, block_bytes: int) -> BinaryIO | None:
        if store.is_remote(self.entry.zip) or self.entry.size > MOST_UNPACKED:
            return None
        return io.BytesIO(zip_source.read(self.entry))

    def beside(self, name: str) -> Buffer:
        folder, slash, _ = self.entry.name.rpartition("/")
        if (entry := self.members.get(folder + slash + name)) is None:
            raise FileNotFoundError(name)
        return zip_source.head(entry, side_text.LONGEST)
