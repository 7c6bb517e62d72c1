"""The files of rows whose paths lead into ZIPs, beside a source of all other files."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from octshard.prep.release import folder_listing, zip_companions, zip_directory, zip_path
from octshard.prep.release.entry import Entry
from octshard.prep.release.source import Fingerprint, Source
from octshard.prep.release.zip_directory import RefusedMember, ZipEntry
from octshard.prep.release.zip_source import ZipSource
from octshard.storage import store, transport
from octshard.storage.checksum import Buffer

REQUESTS = 16  # ZIPs whose directories are read at once


@dataclass(frozen=True)
class MixedSource:
    """members: of the `zips`, paths that are files; files: of all other paths, None where there are none."""

    zips: frozenset[str]
    members: ZipSource
    files: Source | None

    def read(self, entry: Entry) -> Buffer:
        """As `Source`."""
        return self._source(entry.path).read(entry)

    def has(self, path: str) -> bool:
        """As `Source`."""
        try:
            return self._source(path).has(path)
        except FileNotFoundError:
            return False

    def fingerprint(self, path: str) -> Fingerprint:
        """As `Source`."""
        return self._source(path).fingerprint(path)

    def _source(self, path: str) -> Source:
        if _leads_into(path, self.zips):
            return self.members
        if self.files is None:
            raise FileNotFoundError(f"{path} is in no ZIP")
        return self.files


def zips_of(root: str, entries: Iterable[Entry]) -> list[str]:
    """Paths below `root` of the ZIPs that rows lead into, sorted; a folder that is called so is none."""
    named = sorted({path for entry in entries for path in zip_path.candidates(entry.path)})
    with transport.thread_pool(REQUESTS) as threads:
        are_files = list(threads.map(lambda path: zip_path.is_file(store.join(root, path)), named))
    return [path for path, is_file in zip(named, are_files, strict=True) if is_file]


def inside_and_others(entries: Iterable[Entry], zips: Collection[str]) -> tuple[list[Entry], list[Entry]]:
    """The rows that lead into these ZIPs, and the others."""
    inside: list[Entry] = []
    others: list[Entry] = []
    for entry in entries:
        (inside if _leads_into(entry.path, zips) else others).append(entry)
    return inside, others


def open_members(root: str, entries: Sequence[Entry], zips: Sequence[str]) -> ZipSource:
    """The source of all rows that lead into these ZIPs."""
    listed = frozenset(path for entry in entries for path in entry.files)
    found: dict[str, ZipEntry] = {}
    refused: dict[str, RefusedMember] = {}
    others: list[ZipEntry] = []
    urls = [store.join(root, path) for path in zips]
    with transport.thread_pool(REQUESTS) as threads:
        contents = list(threads.map(zip_directory.read, urls))
    for path, (members, problems) in zip(zips, contents, strict=True):
        whole = next((problem for problem in problems if not problem.member), None)
        if whole is not None:
            refused |= {row: whole for row in listed if row.startswith(f"{path}/")}
        refused |= {f"{path}/{problem.member}": problem for problem in problems if problem.member}
        for member in members:
            name = f"{path}/{member.name}".replace("\\", "/")
            if name in listed or _is_image_of(name, listed):
                found.setdefault(name, member)
            else:
                others.append(member)
    beside = zip_companions.find(found, others, [p for _, problems in contents for p in problems if p.member])
    return ZipSource(
        entries=found,
        refused=beside.refused | {row: problem for row, problem in refused.items() if row not in found},
        versions={url: store.etag(url) for url in urls},
        companions=beside.entries,
        listed=listed,
    )


def _leads_into(path: str, zips: Collection[str]) -> bool:
    return any(candidate in zips for candidate in zip_path.candidates(path))


def _is_image_of(path: str, listed: frozenset[str]) -> bool:
    """True for an image in a folder that is one scan."""
    folder, slash, name = path.rpartition("/")
    return folder + slash in listed and folder_listing.is_image(name)
