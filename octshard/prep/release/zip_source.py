"""The scans of a release inside its device ZIPs: which member is whose, and a member's bytes, by ranges.

No ZIP is ever whole in memory or on disk. A member's name chooses a manifest row and nothing else. Bytes
that are not what their ZIP promises, by header, size or CRC, are Damaged, in one line.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from isal import isal_zlib

from octshard.errors import UsageError
from octshard.imaging.volume import DEVICES
from octshard.prep.release import zip_directory
from octshard.prep.release.aireadi import Entry, Release
from octshard.prep.release.zip_directory import DamagedZip, RefusedMember, ZipEntry, shown
from octshard.storage import checksum, store

READ = 2**23  # a member that is read whole takes one request per so many bytes
EXTRA = 512  # bytes of a local header's extra fields that the first request reckons with
FEED, PIECE = 2**16, 2**18  # bytes given to the inflater, and taken from it, at once


@dataclass(frozen=True)
class ZipSource:
    """The scans of a release, read straight from its ZIPs by manifest path."""

    places: Mapping[str, ZipEntry]
    refused: Mapping[str, str] = field(default_factory=dict)  # paths whose only members cannot be had: why

    def has(self, path: str) -> bool:
        """True if a ZIP holds a member for this manifest path."""
        return path in self.places

    def size(self, path: str) -> int:
        """Bytes of the unpacked file."""
        return self.places[path].size

    def read(self, entry: Entry) -> bytes:
        """The file of a manifest row; FileNotFoundError, with the reason, if no ZIP has it whole."""
        if entry.path in self.refused:
            raise FileNotFoundError(f"refused in its ZIP: {self.refused[entry.path]}")
        if entry.path not in self.places:
            raise FileNotFoundError(f"{entry.path} is in no ZIP")
        try:
            return read(self.places[entry.path])
        except DamagedZip as damage:
            raise FileNotFoundError(f"damaged in its ZIP: {damage}") from damage


def open_release(release: Release) -> tuple[ZipSource, list[RefusedMember], list[str]]:
    """(scans by manifest path, what was refused, `ZIP:member` that no row wants); no ZIP is a UsageError."""
    found = find_zips(release.root)
    if not found:
        places = "itself, structural_oct, retinal_oct, retinal_oct/structural_oct and their device folders"
        raise UsageError(f"{release.root}: no ZIP in {places}; name the release root, or read it unpacked")
    by_path, refused, unlisted = match(release, found)
    by_place = _places(release.entries)
    why = {_path_of(r.zip, r.member, by_place): f"{r.zip}:{r.member}: {r.reason}" for r in refused}
    return (
        ZipSource(by_path, {p: text for p, text in why.items() if p and p not in by_path}),
        refused,
        unlisted,
    )


def find_zips(root: str) -> list[str]:
    """ZIPs at the root, in device folders, and in either below retinal_oct and structural_oct; sorted."""
    below = ("structural_oct", "retinal_oct", "retinal_oct/structural_oct")
    homes = [root, *(store.join(root, *folder.split("/")) for folder in below)]
    folders = [*homes, *(store.join(home, device) for home in homes for device in DEVICES)]
    names = [store.join(folder, name) for folder in folders for name in store.list_names(folder)]
    return sorted(name for name in names if name.lower().endswith(".zip"))


def match(
    release: Release, zips: Sequence[str]
) -> tuple[dict[str, ZipEntry], list[RefusedMember], list[str]]:
    """(manifest path -> member, refused ones, members that no row wants). Of two for a row the first wins."""
    by_place = _places(release.entries)
    taken: dict[str, ZipEntry] = {}
    refused, unlisted = [], []
    for url in zips:
        members, problems = zip_directory.read(url)
        refused += problems
        for place in members:
            path = _path_of(place.zip, place.name, by_place)
            if not path:
                unlisted.append(f"{url}:{shown(place.name)}")
            elif path in taken:
                refused.append(RefusedMember(url, shown(place.name), _twin(place, taken[path])))
            else:
                taken[path] = place
    return taken, refused, unlisted


def read(place: ZipEntry) -> bytes:
    """A whole member, checked; Damaged if it is not what its ZIP promises."""
    whole = io.BytesIO()
    for piece in chunks(place, READ):
        whole.write(piece)
    return whole.getvalue()


def chunks(place: ZipEntry, block: int) -> Iterator[bytes]:
    """A member's bytes in order; requests and pieces of at most `block` bytes, two of them held at once.

    Damaged as soon as they lie; size and CRC are known to be right only when the last piece was followed by
    the end.
    """
    got = crc = 0
    for piece in (_stored if place.method == zip_directory.STORED else _inflated)(place, block):
        got, crc = got + len(piece), checksum.crc32(piece, crc)
        if got > place.size:
            raise _damage(place, f"becomes more than the {place.size} bytes that the directory says")
        yield piece
        del piece  # before the next is made
    if got != place.size:
        raise _damage(place, f"becomes {got} bytes, the directory says {place.size}")
    if crc != place.crc32:
        raise _damage(place, f"its CRC-32 is {crc:08x}, the directory says {place.crc32:08x}")


def _stored(place: ZipEntry, block: int) -> Iterator[bytes]:
    """A member's bytes as they stand in the ZIP; the first request brings the local header too."""
    header = zip_directory.LOCAL.size + len(place.name.encode())
    first = max(header, min(block, header + EXTRA + place.compressed))
    at = min(place.offset + first, place.limit)
    piece = store.read_range(place.zip, place.offset, at)
    start = place.offset + _header_bytes(place, piece)
    stop = start + place.compressed
    if stop > place.limit:
        raise _damage(place, f"ends at byte {stop}, behind its ZIP's directory at {place.limit}")
    piece = piece[start - place.offset : stop - place.offset]
    if piece:
        yield piece
    for begin in range(max(at, start), stop, block):
        del piece  # before the next is read
        piece = store.read_range(place.zip, begin, min(begin + block, stop))
        yield piece


def _inflated(place: ZipEntry, block: int) -> Iterator[bytes]:
    """The bytes of a deflated member, in pieces of at most PIECE."""
    inflater = isal_zlib.decompressobj(-15)
    for packed in _stored(place, block):
        for at in range(0, len(packed), FEED):
            feed, more = packed[at : at + FEED], True
            while more:
                if inflater.eof:
                    raise _damage(place, "its deflated data ends too early")
                try:
                    piece = inflater.decompress(feed, PIECE)
                except isal_zlib.error as error:  # type: ignore[misc]
                    raise _damage(place, f"not deflated data: {' '.join(str(error).split())}") from None
                feed = inflater.unconsumed_tail
                more = not inflater.eof and bool(piece) and (bool(feed) or len(piece) == PIECE)
                if piece:
                    yield piece
        del packed  # before the next is read
    if not inflater.eof:
        raise _damage(place, "its deflated data is cut off")
    if inflater.unused_data:
        raise _damage(place, "its deflated data ends too early")


def _header_bytes(place: ZipEntry, head: bytes) -> int:
    """Bytes of the local header at the front of `head`; Damaged unless it is of this very member."""
    if not head.startswith(b"PK\3\4"):
        raise _damage(place, f"no local header at byte {place.offset}")
    _, _, flags, method, _, _, crc32, packed, size, names, extras = zip_directory.LOCAL.unpack_from(head)
    raw = head[zip_directory.LOCAL.size : zip_directory.LOCAL.size + names]
    if raw not in (place.name.encode(), place.name.encode("cp437", "replace")):
        raise _damage(place, f"its local header is of {shown(raw.decode('utf-8', 'replace'))}")
    if method != place.method or flags & zip_directory.ENCRYPTED:
        text = f"method {method}, flags {flags:#x}; the directory says {place.method}, not encrypted"
        raise _damage(place, f"its local header says {text}")
    told, want = (crc32, packed, size), (place.crc32, place.compressed, place.size)
    differ = told[0] != want[0] or any(
        t not in (w, zip_directory.ZIP64_MARK) for t, w in zip(told[1:], want[1:], strict=True)
    )
    if differ and any(told) and not flags & zip_directory.SIZES_FOLLOW:
        raise _damage(place, f"its local header says (CRC, packed, size) {told}, the directory {want}")
    return zip_directory.LOCAL.size + names + extras


def _damage(place: ZipEntry, reason: str) -> DamagedZip:
    return DamagedZip(place.zip, place.name, reason)


def _places(entries: Sequence[Entry]) -> dict[tuple[str, str, str], str]:
    """(device, person folder, file name) -> manifest path; device or folder empty: where that is enough."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for entry in entries:
        folder, name = _tail(entry.path)
        for device in (entry.device, ""):
            for above in (folder, ""):
                found.setdefault((device, above, name), set()).add(entry.path)
    return {place: next(iter(paths)) for place, paths in found.items() if len(paths) == 1 and place[2]}


def _path_of(url: str, name: str, by_place: Mapping[tuple[str, str, str], str]) -> str:
    """The manifest path that a member belongs to, whatever prefix its copy has; empty if none."""
    member = name.replace("\\", "/")
    folder, name = _tail(member)
    above, file = _tail(url)
    hints = (f"/{member}", f"/{above}/", file)
    device = next((d for hint in hints for d in DEVICES if d in hint), "")
    for wanted in ((device, folder, name), (device, "", name)):
        if wanted in by_place:
            return by_place[wanted]
    return ""


def _tail(path: str) -> tuple[str, str]:
    parts = ["", *path.split("/")]
    return parts[-2], parts[-1]


def _twin(place: ZipEntry, first: ZipEntry) -> str:
    same = (place.size, place.crc32) == (first.size, first.crc32)
    return f"duplicate of {shown(first.name)} in {first.zip}, {'same' if same else 'other'} bytes"
