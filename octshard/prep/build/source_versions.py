"""What the files of a device were like when its shards were made, so that changed ones are read again.

It lies beside the device's folder, not in it: two copies of a release differ in their times of change, and
their shards do not. Without it, or after a move of SRC, sizes alone tell, and refused files are read again.
"""

import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from octshard.config.prep import PrepConfig
from octshard.dataset.tables import SampleRow
from octshard.prep.convert.source_file import Companions
from octshard.prep.plan import Member, ShardPlan
from octshard.prep.readers import image_series, metaimage, nrrd, text_header
from octshard.prep.readers.scan_bytes import INSIDE, ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.release import companion_names, folder_listing, scan_path
from octshard.prep.release.entry import Entry
from octshard.prep.release.source import Fingerprint, Source
from octshard.storage import checksum, json_object, store, transport

REQUESTS = 32  # at once: a store answers one in tens of milliseconds
READS = 4  # at once, of whole files whose version differs and whose size does not
BY_THE_MACHINE = {
    "decoder_crash",
    "decoder_timeout",
    "missing_library",
}  # refusals that the machine may have caused

Pair = tuple[Member, SampleRow]


@dataclass(frozen=True)
class Origin:
    """Where the files of a device were read, as the command said it."""

    src: str
    from_zip: bool
    manifest: str = ""  # where it was, if not in src


@dataclass(frozen=True)
class SourceVersions:
    """Of the files of a device by `Entry.source`: what their store says now, and their versions when they
    were read.
    """

    now: Mapping[str, Fingerprint]  # without files that are not there
    before: Mapping[str, str]
    place: Mapping[str, Any] = field(default_factory=dict)  # where they are, as it is written down

    def may_differ(self, member: Member, row: SampleRow) -> bool:
        """True if a file may have other bytes than its row was made of, or its refusal may not hold."""
        now, before = self.now.get(row.source), self.before.get(row.source)
        if row.reason in BY_THE_MACHINE:
            return True
        if now is None:  # unpacked files may be removed once they are stored
            return row.reason == "unreadable_member"
        if row.source_bytes is None:  # it was not there, or could not be read out of its ZIP
            return row.reason == "missing_file" or before != now.version
        if now.size != row.source_bytes:
            return True
        alone = not (companion_names.may_need(member.entry.path) or member.entry.part_names)
        if now.crc32 is not None and (now.crc32 != row.source_crc32 or alone):
            return now.crc32 != row.source_crc32
        return row.status != "ok" if before is None else before != now.version

    def differs(self, member: Member, row: SampleRow, source: Source) -> bool:
        """As `may_differ`, but a file of the same size is read, and its bytes tell."""
        if not self.may_differ(member, row):
            return False
        now = self.now.get(row.source)
        if row.reason in BY_THE_MACHINE or now is None or row.source_bytes is None:
            return True
        if now.size != row.source_bytes or now.crc32 not in (None, row.source_crc32):
            return True
        try:
            return row.source_xxh3 not in _digests(member.entry, source)
        except (FileNotFoundError, Refused):
            return True


def look(cfg: PrepConfig, device: str, plans: Sequence[ShardPlan], source: Source) -> SourceVersions:
    """Asks for every file of a device, and reads what the last run wrote down."""
    entries = [member.entry for plan in plans for member in plan.members]
    entry_of = {entry.source: entry for entry in entries if entry.path}

    def ask(entry: Entry) -> Fingerprint | None:
        try:
            return _fingerprint(source, entry)
        except FileNotFoundError:
            return None

    with transport.thread_pool(REQUESTS) as threads:
        now = dict(zip(entry_of, threads.map(ask, entry_of.values()), strict=True))
    place, secret = _place(cfg, entries), _secret(cfg, entries)
    versions = {name: _hidden(found, secret) for name, found in now.items() if found is not None}
    return SourceVersions(versions, _read(cfg, device, place), place)


def _secret(cfg: PrepConfig, entries: Sequence[Entry]) -> bytes:
    """What only those know who have the manifest; empty where paths are not private."""
    paths = sorted(entry.path for entry in entries if entry.source_id)
    return "\n".join([cfg.src, *paths]).encode(errors="surrogateescape") if paths else b""


def _hidden(found: Fingerprint, secret: bytes) -> Fingerprint:
    """With a digest for its version, which may be a time, and so tell the day of a visit."""
    if not secret:
        return found
    return found._replace(version=hmac.digest(secret, found.version.encode(), "sha256").hex()[:32])


def _place(cfg: PrepConfig, entries: Sequence[Entry]) -> dict[str, Any]:
    """Where files are read; where paths are private, as they may be all the way up, a digest of that."""
    if secret := _secret(cfg, entries):
        digest = hmac.digest(secret, b"src", "sha256").hex()
        return {"src_hmac": digest, "from_zip": cfg.from_zip}
    return {"src": cfg.src, "from_zip": cfg.from_zip} | ({"manifest": cfg.manifest} if cfg.manifest else {})


def _fingerprint(source: Source, entry: Entry) -> Fingerprint:
    """Of a file, its version with those of the files beside it that hold its pixels."""
    own = source.fingerprint(entry.path)
    versions = [own.version]
    named = _named_in(entry, source) if own.size is not None and own.size <= text_header.LONGEST else ()
    for other in dict.fromkeys((*companion_names.of(entry.path), *named, *entry.files[1:])):
        with suppress(FileNotFoundError):
            versions.append(source.fingerprint(other).version)
    return own._replace(version=" ".join(versions))


def _named_in(entry: Entry, source: Source) -> tuple[str, ...]:
    """The path of the file that a header names for its values. Few are headers: all else is not read."""
    if not companion_names.is_header(entry.path):
        return ()
    try:
        head = bytes(source.read(entry)[: text_header.LONGEST])
    except (FileNotFoundError, Refused):
        return ()
    reader = nrrd if nrrd.is_one(ScanBytes(head)) else metaimage
    name = reader.values_name(head)
    return (f"{entry.path.rpartition('/')[0]}/{name}".lstrip("/"),) if INSIDE.fullmatch(name) else ()


def _digests(entry: Entry, source: Source) -> set[str]:
    """Of the file as it is now: with any of the files beside it, or alone where there are none.

    Of a folder, or of a scan in several files: with all of these.
    """
    data = source.read(entry)
    own, digests = checksum.xxh3_128(data), set()
    names: Sequence[str] = entry.part_names
    if scan_path.is_folder(entry.path):
        names = image_series.series_of([image.name for image in folder_listing.read(data)]).names
    if names:
        files = Companions(entry, source)
        for name in names:
            files.read(name)
        return {files.joint_xxh3(own)}
    for other in dict.fromkeys((*companion_names.of(entry.path), *_named_in(entry, source))):
        companions = Companions(entry, source)
        with suppress(FileNotFoundError):
            companions.read(other.rpartition("/")[2])
            digests.add(companions.joint_xxh3(own))
    return digests or {Companions(entry, source).joint_xxh3(own)}


def changed(pairs: Iterable[Pair], versions: SourceVersions, source: Source) -> list[Pair]:
    """The pairs whose files, or the refusals of them, are not what they were."""
    suspects = [(member, row) for member, row in pairs if versions.may_differ(member, row)]
    with transport.thread_pool(READS) as threads:
        differ = list(threads.map(lambda pair: versions.differs(pair[0], pair[1], source), suspects))
    return [pair for pair, is_other in zip(suspects, differ, strict=True) if is_other]


def write(cfg: PrepConfig, device: str, versions: SourceVersions) -> None:
    """To be called before the files are read: a version may then be too old, but never too new."""
    text = {path: fingerprint.version for path, fingerprint in versions.now.items()}
    record = {**versions.place, "versions": text}
    store.write(record_url(cfg, device), json.dumps(record, sort_keys=True, indent=0).encode())


def read_origin(dst: str, device: str) -> Origin | None:
    """Where the last run read the files of DST/<device>; None where nothing readable says so."""
    record = _record(dst, device)
    src, manifest = record.get("src"), str(record.get("manifest") or "")
    return Origin(src, record.get("from_zip") is True, manifest) if isinstance(src, str) and src else None


def _read(cfg: PrepConfig, device: str, place: Mapping[str, Any]) -> dict[str, str]:
    """Source -> version; nothing if the last run read the files elsewhere, or left nothing readable."""
    record = _record(cfg.dst, device)
    if not isinstance(record.get("versions"), dict):
        return {}
    same = all(record.get(name) == place.get(name) for name in ("src", "src_hmac", "from_zip"))
    return {str(path): str(version) for path, version in record["versions"].items()} if same else {}


def record_url(cfg: PrepConfig, device: str) -> str:
    """The file of these versions, beside the device's folder."""
    return _url(cfg.dst, device)


def _record(dst: str, device: str) -> Mapping[str, Any]:
    try:
        return json_object.read(_url(dst, device))
    except (FileNotFoundError, store.NotAFile, json_object.DamagedJson):
        return {}


def _url(dst: str, device: str) -> str:
    return store.join(dst, f".{device}.sources.json")
