"""Sources of the bytes of a release's files: the protocol, and the folder of an unpacked release."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from octshard.prep.release import folder_listing, scan_path
from octshard.prep.release.entry import Entry
from octshard.prep.release.folder_listing import Image
from octshard.storage import checksum, listing, local, store
from octshard.storage.checksum import Buffer
from octshard.storage.listing import Listed

TRIED = 8  # files that are looked for to learn where the paths of a manifest begin


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
        """The bytes of an entry's file, or the listing of its folder; FileNotFoundError if there is none.

        Refused if it is held back.
        """

    def has(self, path: str) -> bool:
        """True if there is a file for this manifest path."""

    def fingerprint(self, path: str) -> Fingerprint:
        """Of the file, or of all images of the folder, for this manifest path; FileNotFoundError if there
        is none.
        """


@dataclass(frozen=True)
class FolderSource:
    """Files below the release's root at their manifest paths without the first `skipped` folders of these."""

    root: str
    skipped: int = field(default=0, kw_only=True)

    def read(self, entry: Entry) -> Buffer:
        """The whole file, mapped where it is local."""
        return map_scan(self._url(entry.path))

    def has(self, path: str) -> bool:
        """Asks the store."""
        try:
            return bool(self.fingerprint(path))
        except FileNotFoundError:
            return False

    def fingerprint(self, path: str) -> Fingerprint:
        """Asks the store; FileNotFoundError if there is no file."""
        url = self._url(path)
        if scan_path.is_folder(url):
            images = _images_in(url)
            return folder_fingerprint([(Image(image.name, image.size), image.version) for image in images])
        if not store.is_remote(url):
            local.file_size(url)  # raises for a folder or a pipe
        size, version = store.size_and_etag(url)
        return Fingerprint(size, None, version)

    def _url(self, path: str) -> str:
        url = store.join(self.root, *scan_path.file_of(path).rstrip("/").split("/")[self.skipped :])
        return f"{url}/" if scan_path.is_folder(path) else url


def open_folder(root: str, entries: Sequence[Entry]) -> FolderSource:
    """The unpacked release at `root`. Its manifest may name files from a folder above, as absolute paths do:

    as few leading folders that all rows share are skipped as it takes to find one of a few files.
    """
    paths = sorted({entry.path for entry in entries if entry.path})
    few = paths[:: max(1, len(paths) // TRIED)]
    shared = os.path.commonpath([os.path.dirname(path.rstrip("/")) for path in paths]) if paths else ""
    for skipped in range(len(shared.split("/")) + 1 if shared else 1):
        source = FolderSource(root, skipped=skipped)
        if any(source.has(path) for path in few):
            return source
    return FolderSource(root)


def map_scan(url: str) -> Buffer:
    """The whole file, mapped where it is local, or the listing of a folder whose URL ends in /.

    FileNotFoundError if there is none.
    """
    if not scan_path.is_folder(url):
        return map_file(url)
    return folder_listing.write(Image(image.name, image.size) for image in _images_in(url))


def folder_fingerprint(images: Iterable[tuple[Image, str]]) -> Fingerprint:
    """Of a folder. images: each with its own version."""
    ordered = sorted(images)
    version = checksum.xxh3(repr([(image.name, version) for image, version in ordered]).encode())
    return Fingerprint(folder_listing.total_bytes([image for image, _ in ordered]), None, version)


def _images_in(url: str) -> list[Listed]:
    """FileNotFoundError if there is no folder, or nothing in it where a store knows no folders."""
    if not store.is_remote(url) and not os.path.isdir(store.local_path(url)):
        raise FileNotFoundError(f"{url}: no folder")
    listed = listing.entries(url.rstrip("/"))
    if store.is_remote(url) and not listed:
        raise FileNotFoundError(f"{url}: nothing in it")
    return [entry for entry in listed if not entry.is_folder and folder_listing.is_image(entry.name)]


def map_file(url: str) -> Buffer:
    """The whole file, mapped where it is local; FileNotFoundError if there is none."""
    if not store.is_remote(url):
        local.file_size(url)  # raises for a folder or a pipe; opening a pipe would wait for its writer
    return store.map(url)
