"""Device ZIPs -> one DICOM object per manifest row, at the path the row names.

A ZIP is read by ranges and never held; members are written in parallel, whole or not at all, CRC checked.
Member names choose a manifest row and nothing else, so nothing can be written outside DST.
"""

import errno
import json
import shutil
import stat
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from octshard import lock, store
from octshard.errors import UsageError
from octshard.prep.aireadi import Entry, Release, read_release
from octshard.volume import DEVICES

JOURNAL, LOCK = ".unzip.journal.json", ".unzip.lock"
CHUNK = 2**20  # bytes held per thread while writing
RUN = 16  # members that one task extracts from one open ZIP
JOURNAL_EVERY_S = 10.0  # a killed run writes again what it wrote since
# Real OCT deflates 1.1 to 2 times and made-up black frames some hundred times; deflate's own limit is 1032.
MAX_RATIO = 200
SMALL = 2**20  # a member that unpacks to less cannot hurt, whatever its ratio
MAX_MEMBER = 2**33  # bytes; the greatest real scan is 0.3 GB
MAX_TOTAL = 2**44  # bytes out of one ZIP; a whole release is 5.4 TB
NOT_A_ZIP = (zipfile.BadZipFile, NotImplementedError, EOFError, OverflowError, ValueError, struct.error)
DAMAGED = (*NOT_A_ZIP, RuntimeError, zlib.error)  # what zipfile raises on bytes that are not what they claim


@dataclass(frozen=True)
class RefusedMember:
    """A ZIP, or a member of one, that was not unpacked, and why."""

    zip: str
    member: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What one run did: manifest paths, except `unlisted`, which names ZIP members that no row wants."""

    written: tuple[str, ...]
    skipped: tuple[str, ...]  # already there, by journal and store
    refused: tuple[RefusedMember, ...]
    missing: tuple[str, ...]  # in the manifest but in no ZIP
    unlisted: tuple[str, ...]
    bytes_written: int


@dataclass(frozen=True)
class _Item:
    """A member and the manifest path it goes to."""

    zip: str
    info: zipfile.ZipInfo  # of this very member: two of one ZIP may share a name
    path: str


@dataclass
class _Work:
    """What the threads share."""

    dst: str
    total: int
    told: Callable[[int, int, str], None]
    journal: dict[str, dict[str, object]]
    written: list[_Item] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    done: int = 0
    refused: list[RefusedMember] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    saved_at: float = field(default_factory=time.monotonic)


def unzip(src: str, dst: str, threads: int, told: Callable[[int, int, str], None]) -> Report:
    """Unpacks every listed scan of the release at `src` to `dst`; skips what an earlier run wrote there.

    A release without ZIPs is a UsageError. told(done, total, path): called after each member, on any thread.
    """
    if threads < 1:
        raise UsageError(f"threads={threads}: want 1 or more")
    release = read_release(src)
    zips = find_zips(release.root)
    if not zips:
        places = "itself, its structural_oct, its retinal_oct/structural_oct and their device folders"
        raise UsageError(f"{release.root}: no ZIP in {places}; name the release root, or skip unzip")
    with lock.one_writer(store.join(dst, LOCK)):
        items, refused, unlisted = _match(release, zips)
        work = _Work(dst, len(items), told, _read_journal(dst), refused=refused)
        store.sweep(dst)
        for folder in sorted({item.path.rsplit("/", 1)[0] for item in items}):
            store.sweep(store.join(dst, folder))
        runs = [group[i : i + RUN] for group in _by_zip(items) for i in range(0, len(group), RUN)]
        try:
            with ThreadPoolExecutor(threads) as pool:
                for _ in pool.map(lambda run: _extract(run, work), runs):
                    pass
        finally:
            _save_journal(work)
        for table in release.tables:
            if store.join(release.root, table) != store.join(dst, table):
                store.copy(store.join(release.root, table), store.join(dst, table))
    found = {item.path for item in items}
    missing = tuple(sorted({e.path for e in release.entries if e.path} - found))
    return Report(
        written=tuple(sorted(item.path for item in work.written)),
        skipped=tuple(sorted(work.skipped)),
        refused=tuple(sorted(work.refused, key=lambda r: (r.zip, r.member, r.reason))),
        missing=missing,
        unlisted=tuple(sorted(unlisted)),
        bytes_written=sum(item.info.file_size for item in work.written),
    )


def find_zips(root: str) -> list[str]:
    """ZIPs at the root, in device folders, and in either below retinal_oct/structural_oct; sorted."""
    homes = [root, store.join(root, "structural_oct"), store.join(root, "retinal_oct", "structural_oct")]
    folders = [*homes, *(store.join(home, device) for home in homes for device in DEVICES)]
    names = [store.join(folder, name) for folder in folders for name in store.list_names(folder)]
    return sorted(name for name in names if name.lower().endswith(".zip"))


def problem_of(info: zipfile.ZipInfo, zip_size: int) -> str:
    """Why a member of a ZIP of so many bytes must not be unpacked, or nothing."""
    name = info.orig_filename.replace("\\", "/")
    if name.startswith("/") or name[1:2] == ":":
        return "absolute name"
    if ".." in name.split("/") or "\0" in name:
        return "climbing name"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "symbolic link"
    if info.flag_bits & 0x1:
        return "encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"compression method {info.compress_type}, want stored or deflated"
    if not 0 <= info.header_offset < zip_size:
        return f"begins at byte {info.header_offset}, want one of the {zip_size} of its ZIP"
    if info.file_size > MAX_MEMBER:
        return f"{info.file_size} bytes, want at most {MAX_MEMBER}"
    if info.file_size > SMALL and info.file_size > MAX_RATIO * max(1, info.compress_size):
        return f"{info.compress_size} bytes would become {info.file_size}: more than {MAX_RATIO} times"
    return ""


def _match(release: Release, zips: Sequence[str]) -> tuple[list[_Item], list[RefusedMember], list[str]]:
    """(members to unpack, refused ones, members that no row wants)."""
    by_place = _places(release.entries)
    taken: dict[str, _Item] = {}
    refused, unlisted = [], []
    for url in zips:
        members, size, problem = _directory(url)
        if problem:
            refused.append(RefusedMember(url, "", problem))
        for info in members:
            if info.is_dir():
                continue
            if reason := problem_of(info, size):
                refused.append(RefusedMember(url, info.orig_filename, reason))
                continue
            path = _path_of(info.filename, url, by_place)
            item = _Item(url, info, path)
            if not path:
                unlisted.append(f"{url}:{info.filename}")
            elif path in taken:
                refused.append(RefusedMember(url, info.filename, _twin(item, taken[path])))
            else:
                taken[path] = item
    return list(taken.values()), refused, unlisted


def _directory(url: str) -> tuple[list[zipfile.ZipInfo], int, str]:
    """(members of a ZIP, its bytes, why none of the members can be had)."""
    size = store.size(url)
    try:
        with closing(store.open_read(url)) as file, zipfile.ZipFile(file) as opened:
            members = opened.infolist()
    except NOT_A_ZIP as error:
        return [], size, f"not a whole ZIP: {_one_line(error)}"
    except OSError as error:
        if error.errno != errno.EINVAL:  # what a file answers to a place before its beginning
            raise
        return [], size, f"not a whole ZIP: {_one_line(error)}"
    if sum(info.compress_size for info in members) > size:
        return [], size, "its members overlap: together they are larger than the ZIP"
    if (total := sum(info.file_size for info in members)) > MAX_TOTAL:
        return [], size, f"{total} bytes inside, want at most {MAX_TOTAL}"
    return members, size, ""


def _places(entries: Sequence[Entry]) -> dict[tuple[str, str, str], str]:
    """(device, person folder, file name) -> manifest path; device or folder empty: where that is enough."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for entry in entries:
        folder, name = _tail(entry.path)
        for device in (entry.device, ""):
            for above in (folder, ""):
                found.setdefault((device, above, name), set()).add(entry.path)
    return {place: next(iter(paths)) for place, paths in found.items() if len(paths) == 1 and place[2]}


def _path_of(member: str, zip_url: str, by_place: dict[tuple[str, str, str], str]) -> str:
    """The manifest path that a member belongs to, whatever prefix its copy has; empty if none."""
    folder, name = _tail(member)
    above, file = _tail(zip_url)
    hints = (f"/{member}", f"/{above}/", file)
    device = next((d for hint in hints for d in DEVICES if d in hint), "")
    for place in ((device, folder, name), (device, "", name)):
        if place in by_place:
            return by_place[place]
    return ""


def _tail(path: str) -> tuple[str, str]:
    parts = ["", *path.split("/")]
    return parts[-2], parts[-1]


def _twin(item: _Item, first: _Item) -> str:
    same = _sums(item) == _sums(first)
    return f"duplicate of {first.info.filename} in {first.zip}, {'same' if same else 'other'} bytes"


def _sums(item: _Item) -> dict[str, object]:
    return {"size": item.info.file_size, "crc32": item.info.CRC}


def _by_zip(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    groups: dict[str, list[_Item]] = {}
    for item in items:
        groups.setdefault(item.zip, []).append(item)
    yield from groups.values()


def _extract(run: Sequence[_Item], work: _Work) -> None:
    """Unpacks members of one ZIP through a handle of its own, so that threads do not wait for each other."""
    todo = []
    for item in run:
        if _stands(item, work):
            _note(work, item, "skipped")
        else:
            todo.append(item)
    if not todo:
        return
    with closing(store.open_read(todo[0].zip)) as file, zipfile.ZipFile(file) as opened:
        for item in todo:
            _note(work, item, _unpack(opened, item, store.join(work.dst, item.path)))


def _unpack(opened: zipfile.ZipFile, item: _Item, target: str) -> str:
    """Writes one object; `written`, or why its bytes are not what the ZIP promises."""
    try:
        with opened.open(item.info) as reading, store.create(target) as writing:
            shutil.copyfileobj(reading, writing, CHUNK)
            if writing.tell() != (size := item.info.file_size):
                raise zipfile.BadZipFile(f"{writing.tell()} bytes came, the directory says {size}")
    except DAMAGED as error:
        store.remove(target)  # what an earlier run put there is not what this ZIP holds
        return f"damaged: {_one_line(error)}"
    return "written"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _stands(item: _Item, work: _Work) -> bool:
    """True if the journal and the store agree that an earlier run wrote this very member there."""
    known = work.journal.get(item.path)
    if known is None or any(known.get(name) != value for name, value in _sums(item).items()):
        return False
    try:
        return store.etag(store.join(work.dst, item.path)) == known.get("etag")
    except FileNotFoundError:
        return False


def _note(work: _Work, item: _Item, outcome: str) -> None:
    etag = store.etag(store.join(work.dst, item.path)) if outcome == "written" else ""
    with work.lock:
        if outcome == "written":
            work.written.append(item)
            work.journal[item.path] = {**_sums(item), "etag": etag}
        elif outcome == "skipped":
            work.skipped.append(item.path)
        else:
            work.journal.pop(item.path, None)
            work.refused.append(RefusedMember(item.zip, item.info.filename, outcome))
        work.done = done = work.done + 1
        if time.monotonic() - work.saved_at > JOURNAL_EVERY_S:
            _save_journal(work)
    work.told(done, work.total, item.path)


def _read_journal(dst: str) -> dict[str, dict[str, object]]:
    try:
        found = json.loads(store.read(store.join(dst, JOURNAL)))
    except (FileNotFoundError, ValueError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {path: known for path, known in entries if isinstance(known, dict)}


def _save_journal(work: _Work) -> None:
    text = json.dumps(work.journal, sort_keys=True, indent=0)
    store.write(store.join(work.dst, JOURNAL), text.encode())
    work.saved_at = time.monotonic()
