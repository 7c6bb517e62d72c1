"""The scans of a release in its device ZIPs: the member of each manifest row, and its bytes by ranges.

No ZIP is ever whole in memory or on disk. The name of a member selects a manifest row and nothing else. A
member whose bytes contradict its ZIP, by header, size or CRC, is a DamagedZip of one line.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from isal import isal_zlib

from octshard.errors import UsageError
from octshard.prep.refusals import Refused
from octshard.prep.release import folder_listing, scan_path, zip_companions, zip_directory
from octshard.prep.release.aireadi import Release
from octshard.prep.release.entry import Entry
from octshard.prep.release.folder_listing import Image
from octshard.prep.release.source import Fingerprint, folder_fingerprint
from octshard.prep.release.zip_directory import DamagedZip, RefusedMember, ZipEntry, shown
from octshard.prep.release.zip_names import BELOW, device_in, find_zips, member_names, zip_device
from octshard.storage import checksum, store

READ = 2**23  # a member that is read whole takes one request per so many bytes
EXTRA = 512  # bytes of a local header's extra fields that the first request allows for
FEED, PIECE = 2**16, 2**18  # bytes given to the inflater, and taken from it, at once


@dataclass(frozen=True)
class ZipSource:
    """The scans of a release, read straight from its ZIPs by manifest path."""

    entries: Mapping[str, ZipEntry]
    refused: Mapping[str, RefusedMember] = field(default_factory=dict)  # of paths with no other member
    unread_zips: Sequence[RefusedMember] = ()  # that are damaged as a whole: nobody knows what they hold
    versions: Mapping[str, str] = field(default_factory=dict)  # of the ZIPs, by URL
    companions: Mapping[str, ZipEntry] = field(default_factory=dict)  # that no row names, as `zip_companions`
    listed: frozenset[str] = frozenset()  # what rows name; a file beside these lies in the same ZIP

    def has(self, path: str) -> bool:
        """True if a ZIP holds a member for this manifest path, or may hold one: it may not be readable."""
        path = scan_path.file_of(path)
        return self._entry(path) is not None or path in self.folders or bool(self._held_back(path))

    @cached_property
    def folders(self) -> Mapping[str, Sequence[str]]:
        """Folder, with a / at its end -> the paths of images in it, readable or not."""
        inside: dict[str, list[str]] = {}
        for path in (*self.entries, *self.refused):
            folder, slash, name = path.rpartition("/")
            if folder_listing.is_image(name):
                inside.setdefault(folder + slash, []).append(path)
        return inside

    def fingerprint(self, path: str) -> Fingerprint:
        """Size and CRC of the unpacked file, by the directory; FileNotFoundError if no ZIP has it."""
        path = scan_path.file_of(path)
        if (entry := self._entry(path)) is not None:
            return Fingerprint(entry.size, entry.crc32, self.versions.get(entry.zip, ""))
        if path in self.folders:
            members = [self.entries.get(image) for image in self.folders[path]]
            versions = ["" if member is None else str(member.crc32) for member in members]
            return folder_fingerprint(zip(self._images(path), versions, strict=True))
        if held_back := self._held_back(path):
            return Fingerprint(None, None, " ".join(self.versions.get(m.zip, "") for m in held_back))
        raise FileNotFoundError(f"{path} is in no ZIP")

    def read(self, entry: Entry) -> bytes:
        """The file of a manifest row; FileNotFoundError if no ZIP has it, Refused `unreadable_member`."""
        path = scan_path.file_of(entry.path)
        if path in self.folders:
            return folder_listing.write(self._images(path))
        member = self._entry(path)
        if member is None:
            held_back = self._held_back(path)
            if not held_back:
                raise FileNotFoundError(f"{path} is in no ZIP")
            lead = "" if held_back[0].member else "in no ZIP that can be read: "
            raise _unreadable(lead, held_back)
        try:
            return read(member)
        except DamagedZip as damage:
            raise _unreadable("", [RefusedMember(*damage.args)]) from damage

    def _images(self, folder: str) -> list[Image]:
        """Of one of `folders`, in its order; those that cannot be read have no size."""
        sized = [(path, self.entries.get(path)) for path in self.folders[folder]]
        return [Image(path.rpartition("/")[2], member.size if member else 0) for path, member in sized]

    def _entry(self, path: str) -> ZipEntry | None:
        return self.entries.get(path) or self.companions.get(path)

    def _held_back(self, path: str) -> list[RefusedMember]:
        """The refused member for a path, or else the damaged ZIPs that may hold one."""
        if path in self.refused:
            return [self.refused[path]]
        if self.listed and path not in self.listed:
            return []
        device = device_in(f"/{path}")
        return [z for z in self.unread_zips if zip_device(z.zip) in ("", device) or not device]


def open_release(release: Release) -> tuple[ZipSource, list[RefusedMember], list[str]]:
    """(source, refused members, `ZIP:member` without a manifest row). No ZIP at all is a UsageError."""
    zips = find_zips(release.root)
    if not zips:
        folders = f"in it, {', '.join(BELOW)} or a folder directly below one of these"
        raise UsageError(f"{release.root}: no ZIP {folders}; name the release root, or read it unpacked")
    versions = {url: store.etag(url) for url in zips}
    entry_by_path, refused, others = match(release, zips)
    names = member_names(release.entries)
    refused_by_path = {names.path_of(r.zip, r.member): r for r in refused if r.member}
    beside = zip_companions.find(entry_by_path, others, refused)
    source = ZipSource(
        entries=entry_by_path,
        refused=beside.refused | {p: r for p, r in refused_by_path.items() if p and p not in entry_by_path},
        unread_zips=[r for r in refused if not r.member],
        versions=versions,
        companions=beside.entries,
        listed=frozenset(path for entry in release.entries for path in entry.files),
    )
    needed = set(map(id, beside.entries.values()))
    unlisted = [f"{entry.zip}:{shown(entry.name)}" for entry in others if id(entry) not in needed]
    return source, refused, unlisted


def match(
    release: Release, zips: Sequence[str]
) -> tuple[dict[str, ZipEntry], list[RefusedMember], list[ZipEntry]]:
    """(manifest path -> entry, refused members, members without a row). Of two for one row the first wins."""
    names = member_names(release.entries)
    entry_by_path: dict[str, ZipEntry] = {}
    refused, unlisted = [], []
    for url in zips:
        members, problems = zip_directory.read(url)
        refused += problems
        for entry in members:
            path = names.path_of(entry.zip, entry.name)
            if not path:
                unlisted.append(entry)
            elif path in entry_by_path:
                refused.append(_duplicate(entry, entry_by_path[path]))
            else:
                entry_by_path[path] = entry
    return entry_by_path, refused, unlisted


def read(entry: ZipEntry) -> bytes:
    """A whole member, checked; DamagedZip if it contradicts its ZIP.

    A remote one is then read once more: its bytes may have been altered on their way.
    """
    try:
        return _read(entry)
    except DamagedZip:
        if not store.is_remote(entry.zip):
            raise
        return _read(entry)


def _read(entry: ZipEntry) -> bytes:
    whole = io.BytesIO()
    for piece in chunks(entry, READ):
        whole.write(piece)
    return whole.getvalue()


def head(entry: ZipEntry, count: int) -> bytes:
    """The first `count` bytes of a member, or all of a smaller one; what follows is not checked."""
    data = bytearray()
    for piece in chunks(entry, count + zip_directory.LOCAL.size + len(entry.name.encode()) + EXTRA):
        data += piece
        if len(data) >= count:
            break
    return bytes(data[:count])


def chunks(entry: ZipEntry, block: int) -> Iterator[bytes]:
    """A member's bytes in order; requests and pieces of at most `block` bytes, two of them held at once.

    DamagedZip at the first contradiction; size and CRC are checked only when all pieces are read.
    """
    size = crc = 0
    for piece in (_stored if entry.method == zip_directory.STORED else _inflated)(entry, block):
        size, crc = size + len(piece), checksum.crc32(piece, crc)
        if size > entry.size:
            raise _damage(entry, f"becomes more than the {entry.size} bytes that the directory says")
        yield piece
        del piece  # before the next is inflated
    if size != entry.size:
        raise _damage(entry, f"becomes {size} bytes, the directory says {entry.size}")
    if crc != entry.crc32:
        raise _damage(entry, f"its CRC-32 is {crc:08x}, the directory says {entry.crc32:08x}")


def _stored(entry: ZipEntry, block: int) -> Iterator[bytes]:
    """A member's bytes as they are in the ZIP; the first request reads the local header too."""
    header = zip_directory.LOCAL.size + len(entry.name.encode())
    first = max(header, min(block, header + EXTRA + entry.compressed))
    at = min(entry.offset + first, entry.limit)
    piece = store.read_range(entry.zip, entry.offset, at)
    start = entry.offset + _header_bytes(entry, piece)
    stop = start + entry.compressed
    if stop > entry.limit:
        raise _damage(entry, f"ends at byte {stop}, behind its ZIP's directory at {entry.limit}")
    piece = piece[start - entry.offset : stop - entry.offset]
    if piece:
        yield piece
    for begin in range(max(at, start), stop, block):
        del piece  # before the next is read
        piece = store.read_range(entry.zip, begin, min(begin + block, stop))
        yield piece


def _inflated(entry: ZipEntry, block: int) -> Iterator[bytes]:
    """The bytes of a deflated member, in pieces of at most PIECE."""
    inflater = isal_zlib.decompressobj(-15)
    for packed in _stored(entry, block):
        for at in range(0, len(packed), FEED):
            feed, more = packed[at : at + FEED], True
            while more:
                if inflater.eof:
                    raise _damage(entry, "its deflated data ends too early")
                try:
                    piece = inflater.decompress(feed, PIECE)
                except isal_zlib.error as error:  # type: ignore[misc]
                    raise _damage(entry, f"not deflated data: {' '.join(str(error).split())}") from None
                feed = inflater.unconsumed_tail
                more = not inflater.eof and bool(piece) and (bool(feed) or len(piece) == PIECE)
                if piece:
                    yield piece
        del packed  # before the next is read
    if not inflater.eof:
        raise _damage(entry, "its deflated data is cut off")
    if inflater.unused_data:
        raise _damage(entry, "its deflated data ends too early")


def _header_bytes(entry: ZipEntry, head: bytes) -> int:
    """Bytes of the local header that `head` begins with; DamagedZip if it is of another member."""
    if not head.startswith(b"PK\3\4"):
        raise _damage(entry, f"no local header at byte {entry.offset}")
    _, _, flags, method, _, _, crc32, packed, size, names, extras = zip_directory.LOCAL.unpack_from(head)
    raw = head[zip_directory.LOCAL.size : zip_directory.LOCAL.size + names]
    if raw not in (entry.name.encode(), entry.name.encode("cp437", "replace")):
        name = shown(raw.decode("utf-8", "replace"))
        raise DamagedZip(entry.zip, entry.name, f"its local header is of {name}", (name,))
    if method != entry.method or flags & zip_directory.ENCRYPTED:
        text = f"method {method}, flags {flags:#x}; the directory says {entry.method}, not encrypted"
        raise _damage(entry, f"its local header says {text}")
    local_values, expected = (crc32, packed, size), (entry.crc32, entry.compressed, entry.size)
    differs = local_values[0] != expected[0] or any(
        t not in (w, zip_directory.ZIP64_MARK) for t, w in zip(local_values[1:], expected[1:], strict=True)
    )
    if differs and any(local_values) and not flags & zip_directory.SIZES_FOLLOW:
        raise _damage(
            entry, f"its local header says (CRC, packed, size) {local_values}, the directory {expected}"
        )
    return zip_directory.LOCAL.size + names + extras


def _unreadable(lead: str, members: Sequence[RefusedMember]) -> Refused:
    """The refusal, without the folders of this machine: rows are the same wherever a release lies."""
    places = [_place(member) for member in members]
    texts = [f"{place}: {member.reason}" for place, member in zip(places, members, strict=True)]
    names = [name for member in members for name in member.names]
    return Refused("unreadable_member", lead + "; ".join(texts), (*places, *names))


def _place(refused: RefusedMember) -> str:
    member = f":{shown(refused.member)}" if refused.member else ""
    return shown(refused.zip.rsplit("/", 1)[-1]) + member


def _damage(entry: ZipEntry, reason: str) -> DamagedZip:
    return DamagedZip(entry.zip, entry.name, reason)


def _duplicate(entry: ZipEntry, first: ZipEntry) -> RefusedMember:
    same = (entry.size, entry.crc32) == (first.size, first.crc32)
    name, url = shown(first.name), first.zip
    reason = f"duplicate of {name} in {url}, {'same' if same else 'other'} bytes"
    return RefusedMember(entry.zip, shown(entry.name), reason, (name, url))
