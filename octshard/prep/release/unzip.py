"""Device ZIPs -> one object per manifest row, at the path the row names, and what it needs beside it.

Members are written in parallel, also within one ZIP, whole or not at all, with size and CRC checked. Memory
is bounded, whatever the ZIPs declare. A killed run, run again, continues where its journal ends.
"""

import errno
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from octshard.errors import UsageError
from octshard.prep.release import zip_source
from octshard.prep.release.aireadi import Release, read_release
from octshard.prep.release.zip_directory import DamagedZip, RefusedMember, ZipEntry, shown
from octshard.progress import OnProgress, no_progress
from octshard.storage import client, json_object, lock, store, transport

logger = logging.getLogger(__name__)

JOURNAL, LOCK = ".unzip.journal.json", ".unzip.lock"
JOURNAL_EVERY_S = 10.0  # a killed run writes again what it wrote after the last save
LAST_SAVE_S = 10.0  # for the journal of a run that is being stopped
JOURNAL_SHARE = 20  # saving takes at most 1 / this of the time, however long the journal
SMALLEST, LARGEST = 2**18, 2**23  # bytes of one request
BLOCKS = 4  # held by a thread: two of `zip_source.chunks`, and copies of them in a client or codec
# errors of a name that is too long, or that another member has as its file or folder
BAD_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
PUT = 2 * client.PART  # bytes in memory for a large object put into a remote store: a part, and a copy of it


@dataclass(frozen=True)
class Limits:
    """What unzip may use: threads, and bytes of members that all of them together hold at once."""

    threads: int
    memory: int


@dataclass(frozen=True)
class UnzipReport:
    """What one run did: manifest paths, except `unlisted`, which names ZIP members without a manifest row."""

    written: tuple[str, ...]
    skipped: tuple[str, ...]  # already there, by journal and store
    refused: tuple[RefusedMember, ...]
    missing: tuple[str, ...]  # in the manifest but in no ZIP
    unlisted: tuple[str, ...]
    bytes_written: int


class _Budget:
    """Bytes that all threads together may hold; a thread that needs more waits for the others."""

    def __init__(self, free: int) -> None:
        self.free = free
        self._changed = threading.Condition()

    @contextmanager
    def held(self, need: int) -> Iterator[None]:
        """Takes `need` bytes of the budget for the block; at most the initial budget."""
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
    entries: dict[str, ZipEntry]
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
    save_lock: threading.Lock = field(default_factory=threading.Lock)
    save_at: float = field(default_factory=lambda: time.monotonic() + JOURNAL_EVERY_S)


def unzip(src: str, dst: str, limits: Limits, on_progress: OnProgress = no_progress) -> UnzipReport:
    """Unpacks every listed scan of the release at `src`, with its companions; skips what is at `dst` already.

    A release without ZIPs is a UsageError. on_progress counts members, on any thread, one at a time.
    """
    threads, block = _thread_plan(limits, remote=store.is_remote(dst))
    release = read_release(src)
    source, refused, unlisted = zip_source.open_release(release)
    members = {**source.companions, **source.entries}
    entries = dict(sorted(members.items(), key=lambda item: (item[1].zip, item[1].offset)))
    with lock.one_writer(store.join(dst, LOCK), dst):
        budget = _Budget(limits.memory)
        work = _Work(dst, entries, block, budget, on_progress, _read_journal(dst), refused=list(refused))
        work.bytes_total = sum(entry.size for entry in entries.values())
        _sweep(work)
        try:
            with transport.thread_pool(threads) as pool:
                for _ in pool.map(lambda path: _extract(path, work), entries):
                    pass
        except BaseException:
            # not longer than whoever stops the run will wait, and never in place of the error
            with suppress(store.StoreError), transport.until(transport.clock() + LAST_SAVE_S):
                _save_journal(work)
            raise
        _save_journal(work)
        _copy_tables(release, dst)
    listed = {path for entry in release.entries for path in entry.files}
    return UnzipReport(
        written=tuple(sorted(work.written)),
        skipped=tuple(sorted(work.skipped)),
        refused=tuple(sorted(work.refused, key=lambda r: (r.zip, r.member, r.reason))),
        missing=tuple(sorted(listed - {*entries, *source.refused, *source.folders})),
        unlisted=tuple(sorted(unlisted)),
        bytes_written=sum(entries[path].size for path in work.written),
    )


def _thread_plan(limits: Limits, *, remote: bool) -> tuple[int, int]:
    """(threads, bytes of one request), so that all threads together hold at most `limits.memory` bytes."""
    if limits.threads < 1:
        raise UsageError(f"threads={limits.threads}: want 1 or more")
    min_bytes = max(BLOCKS * SMALLEST, PUT if remote else 0)
    if limits.memory < min_bytes:
        raise UsageError(
            f"unzip_memory={limits.memory}: want at least {min_bytes} bytes for this kind of DST"
        )
    threads = min(limits.threads, limits.memory // (BLOCKS * SMALLEST))
    return threads, min(LARGEST, limits.memory // (BLOCKS * threads))


def _sweep(work: _Work) -> None:
    """Removes what a killed run left half-written."""
    store.remove_partials(work.dst)
    for folder in sorted({path.rsplit("/", 1)[0] for path in work.entries if "/" in path}):
        store.remove_partials(store.join(work.dst, folder))


def _copy_tables(release: Release, dst: str) -> None:
    for table in release.tables:
        source, target = store.join(release.root, table), store.join(dst, table)
        if source != target:
            store.copy(source, target)


def _extract(path: str, work: _Work) -> None:
    entry, target = work.entries[path], store.join(work.dst, path)
    if _already_written(path, work):
        _note(path, work, "skipped", "")
        return
    try:
        outcome = _written(entry, target, work)
    except store.StoreError as error:
        if getattr(error.__cause__, "errno", None) not in BAD_NAME:
            raise
        outcome = f"cannot be written under its manifest path: {error}"
    _note(path, work, outcome, store.etag(target) if outcome == "written" else "")
    if time.monotonic() > work.save_at and work.save_lock.acquire(blocking=False):
        try:
            _save_journal(work)
        finally:
            work.save_lock.release()


def _written(entry: ZipEntry, target: str, work: _Work) -> str:
    """Writes a member; `written`, or how it is damaged."""
    try:
        with work.budget.held(_need(entry, work)):
            try:
                _write(entry, target, work.block)
            except DamagedZip:
                if not store.is_remote(entry.zip):
                    raise
                _write(entry, target, work.block)  # its bytes may have been altered on their way
    except DamagedZip as damage:
        store.remove(target)  # a file of an earlier run is not what this ZIP holds
        return f"damaged: {damage.args[2]}"
    return "written"


def _need(entry: ZipEntry, work: _Work) -> int:
    """Most bytes in memory while a member is read and its object is put."""
    put = min(PUT, 2 * entry.size) if store.is_remote(work.dst) else 0
    return max(BLOCKS * work.block, put)


def _write(entry: ZipEntry, target: str, block: int) -> None:
    with store.open_write(target) as file:
        for piece in zip_source.chunks(entry, block):
            file.write(piece)
            del piece  # before the next is read


def _already_written(path: str, work: _Work) -> bool:
    """True if the journal and the store agree that an earlier run wrote this member there."""
    record = work.journal.get(path)
    if record is None or any(
        record.get(name) != value for name, value in _size_and_crc(work.entries[path]).items()
    ):
        return False
    try:
        return store.etag(store.join(work.dst, path)) == record.get("etag")
    except FileNotFoundError:
        return False


def _note(path: str, work: _Work, outcome: str, etag: str) -> None:
    """Counts a member. outcome: skipped, written, or why it is refused."""
    entry = work.entries[path]
    with work.lock:
        if outcome == "skipped":
            work.skipped.append(path)
        elif outcome == "written":
            work.written.append(path)
            work.journal[path] = {**_size_and_crc(entry), "etag": etag}
        else:
            work.journal.pop(path, None)
            work.refused.append(RefusedMember(entry.zip, shown(entry.name), outcome))
        work.done += 1
        work.bytes_done += entry.size
        note = f"{work.bytes_done / 1e6:,.0f} of {work.bytes_total / 1e6:,.0f} MB"
        work.on_progress(work.done, len(work.entries), note)


def _size_and_crc(entry: ZipEntry) -> dict[str, object]:
    return {"size": entry.size, "crc32": entry.crc32}


def _read_journal(dst: str) -> dict[str, dict[str, object]]:
    try:
        journal = json_object.read(store.join(dst, JOURNAL))
    except FileNotFoundError:
        return {}
    except json_object.DamagedJson as error:
        logger.warning("%s; without it every file is written again", error)
        return {}
    return {path: record for path, record in journal.items() if isinstance(record, dict)}


def _save_journal(work: _Work) -> None:
    start = time.monotonic()
    with work.lock:
        journal = dict(work.journal)
    store.write(store.join(work.dst, JOURNAL), json.dumps(journal, sort_keys=True, indent=0).encode())
    seconds = time.monotonic() - start
    work.save_at = start + max(JOURNAL_EVERY_S, JOURNAL_SHARE * seconds)
