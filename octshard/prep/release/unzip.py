"""Device ZIPs -> one DICOM object per manifest row, at the path the row names.

Members are written in parallel, within one ZIP too, whole or not at all, size and CRC checked. The bytes held
at once are bounded, whatever the ZIPs say. A killed run, run again, goes on where its journal ends.
"""

import errno
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from octshard.errors import UsageError
from octshard.prep.release import zip_source
from octshard.prep.release.aireadi import Release, read_release
from octshard.prep.release.zip_directory import DamagedZip, RefusedMember, ZipEntry, shown
from octshard.progress import OnProgress, no_progress
from octshard.storage import client, lock, store

JOURNAL, LOCK = ".unzip.journal.json", ".unzip.lock"
JOURNAL_EVERY_S = 10.0  # a killed run writes again what it wrote since
JOURNAL_SHARE = 20  # and saving takes at most this part of the time, however long the journal
SMALLEST, LARGEST = 2**18, 2**23  # bytes of one request
BLOCKS = 4  # that a thread holds: two of `zips.chunks`, and the copies that a client or codec makes of them
# what a disk says of a name that is too long, or where another member stands or must have a folder
BAD_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
PUT = 2 * client.PART  # bytes that putting a large object into a remote store takes: a part, and a copy of it


@dataclass(frozen=True)
class Limits:
    """What unzip may use: threads at once, and bytes of members held at once by all of them together."""

    threads: int
    memory: int


@dataclass(frozen=True)
class UnzipReport:
    """What one run did: manifest paths, except `unlisted`, which names ZIP members that no row wants."""

    written: tuple[str, ...]
    skipped: tuple[str, ...]  # already there, by journal and store
    refused: tuple[RefusedMember, ...]
    missing: tuple[str, ...]  # in the manifest but in no ZIP
    unlisted: tuple[str, ...]
    bytes_written: int


class _Budget:
    """Bytes that threads may hold, all together; who would hold more waits for the others."""

    def __init__(self, free: int) -> None:
        self.free = free
        self._changed = threading.Condition()

    @contextmanager
    def held(self, need: int) -> Iterator[None]:
        """Takes `need` bytes of the budget for the block; they must not be more than there ever were."""
        with self._changed:
            self._changed.wait_for(lambda: self.free >= need)
            self.free -= need
        try:
            yield
        finally:
            with self._changed:
                self.free += need
                self._changed.notify_all()


@dataclass
class _Work:
    """What the threads share."""

    dst: str
    places: dict[str, ZipEntry]
    block: int  # bytes of one request
    budget: _Budget
    on_progress: OnProgress
    journal: dict[str, dict[str, object]]
    written: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    refused: list[RefusedMember] = field(default_factory=list)
    done: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    saving: threading.Lock = field(default_factory=threading.Lock)
    save_at: float = field(default_factory=lambda: time.monotonic() + JOURNAL_EVERY_S)


def unzip(src: str, dst: str, limits: Limits, on_progress: OnProgress = no_progress) -> UnzipReport:
    """Unpacks every listed scan of the release at `src` to `dst`; skips what an earlier run wrote there.

    A release without ZIPs is a UsageError. on_progress counts members, on any thread, one at a time.
    """
    threads, block = _share(limits, remote=store.is_remote(dst))
    release = read_release(src)
    zipped, refused, unlisted = zip_source.open_release(release)
    places = dict(sorted(zipped.places.items(), key=lambda item: (item[1].zip, item[1].offset)))
    with lock.one_writer(store.join(dst, LOCK)):
        budget = _Budget(limits.memory)
        work = _Work(dst, places, block, budget, on_progress, _read_journal(dst), refused=list(refused))
        work.bytes_total = sum(place.size for place in places.values())
        _sweep(work)
        try:
            with ThreadPoolExecutor(threads) as pool:
                for _ in pool.map(lambda path: _extract(path, work), places):
                    pass
        finally:
            _save_journal(work)
        _copy_tables(release, dst)
    return UnzipReport(
        written=tuple(sorted(work.written)),
        skipped=tuple(sorted(work.skipped)),
        refused=tuple(sorted(work.refused, key=lambda r: (r.zip, r.member, r.reason))),
        missing=tuple(sorted({e.path for e in release.entries if e.path} - {*places, *zipped.refused})),
        unlisted=tuple(sorted(unlisted)),
        bytes_written=sum(places[path].size for path in work.written),
    )


def _share(effort: Limits, *, remote: bool) -> tuple[int, int]:
    """(threads, bytes of one request), so that all threads together read by no more than `effort.memory`."""
    if effort.threads < 1:
        raise UsageError(f"threads={effort.threads}: want 1 or more")
    least = max(BLOCKS * SMALLEST, PUT if remote else 0)
    if effort.memory < least:
        raise UsageError(f"unzip_memory={effort.memory}: want at least {least} bytes for this kind of DST")
    threads = min(effort.threads, effort.memory // (BLOCKS * SMALLEST))
    return threads, min(LARGEST, effort.memory // (BLOCKS * threads))


def _sweep(work: _Work) -> None:
    """Removes what a killed run left half-written."""
    store.remove_partials(work.dst)
    for folder in sorted({path.rsplit("/", 1)[0] for path in work.places if "/" in path}):
        store.remove_partials(store.join(work.dst, folder))


def _copy_tables(release: Release, dst: str) -> None:
    for table in release.tables:
        source, target = store.join(release.root, table), store.join(dst, table)
        if source != target:
            store.copy(source, target)


def _extract(path: str, work: _Work) -> None:
    place, target = work.places[path], store.join(work.dst, path)
    if _already_written(path, work):
        _note(path, work, "skipped", "")
        return
    try:
        outcome = _written(place, target, work)
    except store.StoreError as error:
        if getattr(error.__cause__, "errno", None) not in BAD_NAME:
            raise
        outcome = f"cannot be written under its manifest path: {error}"
    _note(path, work, outcome, store.etag(target) if outcome == "written" else "")
    if time.monotonic() > work.save_at and work.saving.acquire(blocking=False):
        try:
            _save_journal(work)
        finally:
            work.saving.release()


def _written(place: ZipEntry, target: str, work: _Work) -> str:
    """Writes a member; `written`, or in what way it is damaged."""
    try:
        with work.budget.held(_need(place, work)):
            _write(place, target, work.block)
    except DamagedZip as damage:
        store.remove(target)  # what an earlier run put there is not what this ZIP holds
        return f"damaged: {damage.args[2]}"
    return "written"


def _need(place: ZipEntry, work: _Work) -> int:
    """Bytes that are held, at most, while a member is read and its object is put."""
    put = min(PUT, 2 * place.size) if store.is_remote(work.dst) else 0
    return max(BLOCKS * work.block, put)


def _write(place: ZipEntry, target: str, block: int) -> None:
    with store.open_write(target) as file:
        for piece in zip_source.chunks(place, block):
            file.write(piece)
            del piece  # before the next is read


def _already_written(path: str, work: _Work) -> bool:
    """True if the journal and the store agree that an earlier run wrote this very member there."""
    known = work.journal.get(path)
    if known is None or any(known.get(name) != value for name, value in _sums(work.places[path]).items()):
        return False
    try:
        return store.etag(store.join(work.dst, path)) == known.get("etag")
    except FileNotFoundError:
        return False


def _note(path: str, work: _Work, outcome: str, etag: str) -> None:
    """Counts a member. outcome: skipped, written, or why it is refused."""
    place = work.places[path]
    with work.lock:
        if outcome == "skipped":
            work.skipped.append(path)
        elif outcome == "written":
            work.written.append(path)
            work.journal[path] = {**_sums(place), "etag": etag}
        else:
            work.journal.pop(path, None)
            work.refused.append(RefusedMember(place.zip, shown(place.name), outcome))
        work.done += 1
        work.bytes_done += place.size
        note = f"{work.bytes_done / 1e6:,.0f} of {work.bytes_total / 1e6:,.0f} MB"
        work.on_progress(work.done, len(work.places), note)


def _sums(place: ZipEntry) -> dict[str, object]:
    return {"size": place.size, "crc32": place.crc32}


def _read_journal(dst: str) -> dict[str, dict[str, object]]:
    try:
        found = json.loads(store.read(store.join(dst, JOURNAL)))
    except (FileNotFoundError, ValueError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {path: known for path, known in entries if isinstance(known, dict)}


def _save_journal(work: _Work) -> None:
    began = time.monotonic()
    with work.lock:
        known = dict(work.journal)
    store.write(store.join(work.dst, JOURNAL), json.dumps(known, sort_keys=True, indent=0).encode())
    took = time.monotonic() - began
    work.save_at = began + max(JOURNAL_EVERY_S, JOURNAL_SHARE * took)
