"""A file of the release as it comes: its bytes, its companions, and what the row says of them."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from octshard.prep.refusals import Refused
from octshard.prep.release import folder_listing, scan_path
from octshard.prep.release.entry import Entry
from octshard.prep.release.source import Source
from octshard.storage import checksum
from octshard.storage.checksum import Buffer

KEPT = 8  # files beside one that are held: each that is mapped keeps a file open


class FileFacts(NamedTuple):
    """Columns of `SampleRow` that the bytes of a file fill."""

    source_bytes: int
    source_crc32: int
    source_xxh3: str

    def for_row(self, entry: Entry) -> dict[str, Any]:
        """Those that a row may have: of a private folder no digest of names, which confirms a guess."""
        is_private = entry.source_id and scan_path.is_folder(entry.path)
        return self._asdict() | ({"source_crc32": None, "source_xxh3": ""} if is_private else {})


@dataclass(frozen=True)
class Companions:
    """Gives a reader the files beside that of `entry`, and remembers their digests. Few are read but once."""

    entry: Entry
    source: Source
    digests: dict[str, str] = field(default_factory=dict)
    files: dict[str, Buffer] = field(default_factory=dict)

    def read(self, name: str) -> Buffer:
        """The file of this name in the same folder; FileNotFoundError if there is none."""
        if name in self.files:
            return self.files[name]
        folder = self.entry.path.rpartition("/")[0]
        data = self.source.read(replace(self.entry, path=f"{folder}/{name}".lstrip("/"), parts=""))
        self.digests[name] = checksum.xxh3_128(data)
        if len(self.files) < KEPT:
            self.files[name] = data
        return data

    def joint_xxh3(self, own: str) -> str:
        """Of a file of digest `own`, with all that was read beside it, as headers are often alike, and with
        the series or volume, where a file may hold several.
        """
        parts = [own, *self.digests.values(), *filter(None, [scan_path.scan_of(self.entry.path)])]
        return checksum.xxh3_128(" ".join(parts).encode()) if len(parts) > 1 else own


class SourceFile(NamedTuple):
    """The bytes, mapped where the file is local, and their facts."""

    data: Buffer
    facts: FileFacts


def read_file(entry: Entry, source: Source) -> SourceFile:
    """The file of a manifest row, or the listing of its folder; source_bytes are those of all its images.

    Refused `missing_file` if the row names none, or one that is not there.

    `unreadable_member` comes from the source.
    """
    if not entry.path:
        raise Refused("missing_file", "the manifest names no file")
    try:
        data = source.read(entry)
    except FileNotFoundError:  # the same words whether a ZIP or a folder has it not: rows must be the same
        raise Refused("missing_file", f"no object at {entry.path}{_hint(entry.path)}") from None
    is_folder = scan_path.is_folder(entry.path)
    nbytes = folder_listing.total_bytes(folder_listing.read(data)) if is_folder else len(data)
    return SourceFile(data, FileFacts(nbytes, checksum.crc32(data), checksum.xxh3_128(data)))


def _hint(path: str) -> str:
    """What was meant by a name without an ending, perhaps."""
    may_be_folder = not scan_path.is_folder(path) and "." not in path.rpartition("/")[2]
    return "; a folder that is one scan has a / at its end" if may_be_folder else ""
