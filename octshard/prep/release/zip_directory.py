"""The directory of a ZIP or ZIP64, read by ranges from its tail; every member is checked.

A ZIP or member that contradicts itself becomes one refusal, never a crash, a hang or a large allocation. The
name of a member is shown and compared; it never becomes a path.
"""

import stat
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from octshard.errors import OctshardError
from octshard.printable import printable
from octshard.storage import store

STORED, DEFLATED = 0, 8
ENCRYPTED, SIZES_FOLLOW, UTF8 = 0x2041, 0x8, 0x800  # flag bits; ENCRYPTED: the three kinds of encryption
ZIP64_MARK = 2**32 - 1  # in a field of 32 bits: see the ZIP64 field
LOCAL = struct.Struct("<4s5H3L2H")  # a local header, up to its name

TAIL = 2**17  # bytes of the first read: the end records and, in a ZIP of some hundred members, the directory
MAX_DIRECTORY = 2**27  # bytes; that of a whole release in one ZIP has 10 million
MAX_MEMBERS = 2**20
# Real OCT deflates 1.1 to 2 times, synthetic black frames a few hundred times; deflate's limit is 1032.
MAX_RATIO = 200
SMALL = 2**20  # a member that unpacks to less is harmless at any ratio
MAX_MEMBER = 2**33  # bytes; the greatest real scan is 0.3 GB
MAX_TOTAL = 2**44  # bytes out of one ZIP; a whole release is 5.4 TB
MAX_SHOWN = 500  # characters of a name in a message

_ENTRY = struct.Struct("<4s6H3L5H2L")
_END, _END64, _LOCATOR_BYTES = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), 20
_SEE_END64 = (2**16 - 1,) * 4 + (ZIP64_MARK,) * 2  # values of the end record that refer to the ZIP64 one


class DamagedZip(OctshardError):
    """A ZIP or a member contradicts itself. args: those of its RefusedMember."""

    def __str__(self) -> str:
        url, member, reason, *_ = self.args
        return f"{url}:{shown(member)}: {reason}" if member else f"{url}: {reason}"


@dataclass(frozen=True)
class RefusedMember:
    """A ZIP (`member` empty), or a member of one, that cannot be read, and why. names: those in `reason`."""

    zip: str
    member: str
    reason: str
    names: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """The directory entry of a member: where it lies, and its size and CRC."""

    zip: str
    name: str
    offset: int  # of its local header
    compressed: int  # bytes in the ZIP
    size: int  # bytes unpacked
    crc32: int
    method: int  # STORED or DEFLATED
    limit: int  # byte at which the directory begins: no member reaches beyond


@dataclass(frozen=True)
class _Raw:
    """The bytes of a directory, and its values in the end record."""

    zip: str
    data: bytes
    start: int  # where it begins
    shift: int  # bytes before the ZIP's own first one: offsets count from there
    count: int  # members promised,
    modulus: int  # but for a multiple of this


def read(url: str) -> tuple[list[ZipEntry], list[RefusedMember]]:
    """The members of a ZIP that can be read, without folders, and those that cannot.

    A ZIP that cannot be read at all is one refusal without a member's name.
    """
    try:
        members = list(_members(_raw(url, store.size(url))))
        sound = [entry for entry, problem in members if not problem]
        _check_sizes(url, sound)
    except DamagedZip as damage:
        return [], [RefusedMember(*damage.args)]
    overlap = _overlaps(sound)
    refused = [
        RefusedMember(url, shown(entry.name), problem) if problem else _overlapping(entry, overlap[id(entry)])
        for entry, problem in members
        if problem or id(entry) in overlap
    ]
    return [entry for entry in sound if id(entry) not in overlap], refused


def problem_of(entry: ZipEntry, flags: int, attributes: int) -> str:
    """Why a member with these flag bits and external attributes must not be read, or empty."""
    name = entry.name.replace("\\", "/")
    if name.startswith("/") or name[1:2] == ":":
        return "absolute name"
    if ".." in name.split("/") or "\0" in name:
        return "climbing name"
    if stat.S_ISLNK(attributes >> 16):
        return "symbolic link"
    if flags & ENCRYPTED:
        return "encrypted"
    if entry.method not in (STORED, DEFLATED):
        return f"compression method {entry.method}, want stored or deflated"
    if (end := _least_end(entry)) > entry.limit:
        return f"bytes {entry.offset} to {end}, want them before its ZIP's directory at {entry.limit}"
    if entry.method == STORED and entry.compressed != entry.size:
        return f"stored, but {entry.compressed} bytes would become {entry.size}"
    if entry.size > MAX_MEMBER:
        return f"{entry.size} bytes, want at most {MAX_MEMBER}"
    if entry.size > SMALL and entry.size > MAX_RATIO * max(1, entry.compressed):
        return f"{entry.compressed} bytes would become {entry.size}: more than {MAX_RATIO} times"
    return ""


def shown(name: str) -> str:
    """A name with escapes for control characters, cut to MAX_SHOWN."""
    return printable(name[:MAX_SHOWN])


def _raw(url: str, size: int) -> _Raw:
    """Reads the tail of a ZIP, and the directory if the tail does not hold all of it."""
    tail = store.read_range_twice(url, max(0, size - TAIL), size)
    base = size - len(tail)
    at = tail.rfind(b"PK\5\6")
    while at >= 0 and at + _END.size + int.from_bytes(tail[at + 20 : at + 22], "little") > len(tail):
        at = tail.rfind(b"PK\5\6", 0, at)  # the record's own comment must be whole
    if at < 0:
        raise _broken(url, f"no end record in the last {len(tail)} of its {size} bytes; is it cut off?")
    (disk, first, here, count, length, offset), stop, modulus = _end(url, tail, at)
    if disk or first or here != count:
        raise _broken(url, f"part {disk} of several, with {here} of {count} members; want one whole ZIP")
    start = base + stop - length
    if offset > start:
        raise _broken(url, f"a directory of {length} bytes at {offset} runs into the end at {base + stop}")
    if length > MAX_DIRECTORY:
        raise _broken(url, f"a directory of {length} bytes, want at most {MAX_DIRECTORY}")
    if start and not count and not length:  # an end record inside the comment of another
        raise _broken(url, f"an end record of no members behind {start} bytes")
    if count * _ENTRY.size > length:
        raise _broken(url, f"{count} members promised in a directory of {length} bytes, too few for that")
    whole = start >= base
    data = tail[start - base : stop] if whole else store.read_range_twice(url, start, base + stop)
    return _Raw(url, data, start, start - offset, count, modulus)


def _end(url: str, tail: bytes, at: int) -> tuple[list[int], int, int]:
    """(disk, first disk, members here, members, bytes, offset) of a directory, where it stops in `tail`,
    and the modulus of its count, by the end record at byte `at` of `tail` and the ZIP64 one before it."""
    narrow_values = _END.unpack_from(tail, at)[1:7]
    if not tail.startswith(b"PK\6\7", max(0, at - _LOCATOR_BYTES)):
        return list(narrow_values), at, 2**16
    at -= _LOCATOR_BYTES + _END64.size
    if at < 0 or not tail.startswith(b"PK\6\6", at):
        raise _broken(url, "no ZIP64 end record before its locator")
    wide_values = _END64.unpack_from(tail, at)[4:]
    values = zip(narrow_values, wide_values, _SEE_END64, strict=True)
    return [wide if narrow == see else narrow for narrow, wide, see in values], at, 2**64


def _members(raw: _Raw) -> Iterator[tuple[ZipEntry, str]]:
    """Every member that is not a folder, and why it must not be read, or empty."""
    at = count = 0
    while at < len(raw.data):
        if at + _ENTRY.size > len(raw.data) or not raw.data.startswith(b"PK\1\2", at):
            raise _broken(raw.zip, f"no directory entry at byte {raw.start + at}")
        stop = at + _ENTRY.size + sum(struct.unpack_from("<3H", raw.data, at + 28))
        if stop > len(raw.data):
            raise _broken(raw.zip, f"the directory entry at byte {raw.start + at} runs beyond the directory")
        if (count := count + 1) > MAX_MEMBERS:
            raise _broken(raw.zip, f"more than {MAX_MEMBERS} members")
        entry, problem = _member(raw, at)
        if not entry.name.endswith(("/", "\\")):
            yield entry, problem
        at = stop
    if (count - raw.count) % raw.modulus:
        raise _broken(raw.zip, f"{count} members in its directory, {raw.count} by its end record")


def _member(raw: _Raw, at: int) -> tuple[ZipEntry, str]:
    """The entry at byte `at` of a directory, and its problem or empty."""
    fields = _ENTRY.unpack_from(raw.data, at)
    flags, method, crc32, names, extras, attributes = (fields[i] for i in (3, 4, 7, 10, 11, 15))
    begin, end = at + _ENTRY.size, at + _ENTRY.size + names
    wide, problem = _wide_field(raw.data[end : end + extras]), ""
    numbers = []
    for number in (fields[9], fields[8], fields[16]):  # in the order of the ZIP64 field
        if number == ZIP64_MARK and len(wide) < 8:
            problem = "4 GiB or more without a ZIP64 field that says how much"
        elif number == ZIP64_MARK:
            number, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        numbers.append(number)
    size, compressed, offset = numbers
    name = raw.data[begin:end].decode("utf-8" if flags & UTF8 else "cp437", "surrogateescape")
    if any(0xDC80 <= ord(char) <= 0xDCFF for char in name):
        problem = "a name that is not the UTF-8 it claims to be"
    entry = ZipEntry(raw.zip, name, offset + raw.shift, compressed, size, crc32, method, raw.start)
    return entry, problem or problem_of(entry, flags, attributes)


def _wide_field(extra: bytes) -> bytes:
    """The ZIP64 field among the extra fields of an entry, or empty."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def _check_sizes(url: str, entries: Sequence[ZipEntry]) -> None:
    """DamagedZip if the members together are larger than their ZIP, or unpack to more than MAX_TOTAL."""
    if entries and sum(entry.compressed for entry in entries) > entries[0].limit:
        raise DamagedZip(url, "", "its members overlap: together they are larger than the ZIP")
    if (total := sum(entry.size for entry in entries)) > MAX_TOTAL:
        raise DamagedZip(url, "", f"{total} bytes inside, want at most {MAX_TOTAL}")


def _overlaps(entries: Sequence[ZipEntry]) -> dict[int, ZipEntry]:
    """id(entry) -> the other one, for every entry that shares bytes with another."""
    others: dict[int, ZipEntry] = {}
    furthest: ZipEntry | None = None
    for entry in sorted(entries, key=lambda e: e.offset):
        if furthest is not None and entry.offset < _least_end(furthest):
            others[id(entry)] = furthest
            others.setdefault(id(furthest), entry)
        if furthest is None or _least_end(entry) > _least_end(furthest):
            furthest = entry
    return others


def _overlapping(entry: ZipEntry, other: ZipEntry) -> RefusedMember:
    name = shown(other.name)
    return RefusedMember(entry.zip, shown(entry.name), f"overlaps {name}", (name,))


def _least_end(entry: ZipEntry) -> int:
    """A member's end, if its local header has no extra fields."""
    return entry.offset + LOCAL.size + len(entry.name) + entry.compressed


def _broken(url: str, reason: str) -> DamagedZip:
    return DamagedZip(url, "", f"not a whole ZIP: {reason}")
