"""Re-reads every shard of a dataset folder against its tables. Finds, never mends.

One sequential pass over each tar; several tars at once, of each no more than one sample is held. A finding
names the shard, the key and what is wrong; a sound folder gives none.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from octshard import pool
from octshard.dataset import shard, tables
from octshard.dataset.splits import split_overlaps
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.prep import crosscheck
from octshard.prep.crosscheck import Finding, Tables
from octshard.progress import OnProgress, no_progress
from octshard.storage import store

CHUNK = 2**22
AT_ONCE = 4  # tars that are read at the same time, at most one per core: checksums let go of the lock
END = bytes(2 * shard.BLOCK)  # closes a tar


def verify(folder: str, deep: bool, on_progress: OnProgress = no_progress) -> list[Finding]:
    """Everything wrong with the dataset in `folder`. on_progress counts MiB read, on any thread.

    Always: every byte of every tar by its sha256 and by the xxh3 of the sample it belongs to, of the tables
    by theirs, and what the tables, the listing and the parts of the build say of each other. deep: every
    sample is decoded as well, and held against its row. A folder that is no finished dataset is a UsageError,
    a table that is missing or damaged an OctshardError.
    """
    found = tables.read_tables(folder)
    infos = found.shards
    read = Tables(folder, found.info, found.rows, infos, store.list_names(folder))
    findings = [*_unsealed(found.info), *crosscheck.compare_tables(read), *crosscheck.compare_parts(read)]
    stored: dict[str, list[SampleRow]] = {one.name: [] for one in infos}
    for row in found.rows:
        if row.status == "ok" and row.shard in stored:
            stored[row.shard].append(row)
    progress = _Progress(sum(one.bytes for one in infos), on_progress)
    threads = ThreadPoolExecutor(min(AT_ONCE, pool.worker_count(0)))
    try:
        walks = [_Walk(store.join(folder, one.name), one, stored[one.name], deep, progress) for one in infos]
        for wrong in threads.map(lambda walk: list(walk.findings()), walks):
            findings += wrong
    finally:
        threads.shutdown(cancel_futures=True)
    return findings


def _unsealed(info: Mapping[str, Any]) -> Iterator[Finding]:
    """The tables in which a changed byte could hide: datasets of earlier versions have no digests of them."""
    for name in (tables.SAMPLES, tables.SHARDS):
        if not tables.table_digests(info).get(name):
            text = f"{tables.INFO} has no sha256 of {name}; give the same octshard prep shard again to add it"
            yield Finding("", "", text)


def across(folders: Sequence[str]) -> list[Finding]:
    """The participants that stand in one split in one of these datasets and in another in another."""
    rows_by_folder = [tables.read_rows(store.join(folder, tables.SAMPLES)) for folder in folders]
    alone = {person for rows in rows_by_folder for person in split_overlaps(rows)}
    return [
        Finding("", "", f"participant {person} stands in {' and '.join(splits)} of different folders")
        for person, splits in split_overlaps(row for rows in rows_by_folder for row in rows).items()
        if person not in alone  # `verify` of the one folder says so
    ]


class _Progress:
    """Bytes read, by all threads together."""

    def __init__(self, total: int, on_progress: OnProgress) -> None:
        self.total, self.on_progress, self.done, self.lock = total, on_progress, 0, threading.Lock()

    def add(self, count: int, name: str) -> None:
        with self.lock:
            self.done += count
            self.on_progress(self.done // 2**20, self.total // 2**20, f"MiB, {name}")


class _Tape:
    """A tar, read front to back once: every byte that passes goes into its sha256."""

    def __init__(self, file: BinaryIO, passed: Callable[[int], None]) -> None:
        self.file, self.passed, self.at, self.sha256 = file, passed, 0, hashlib.sha256()

    def take(self, count: int) -> bytes:
        """The next `count` bytes; fewer only at the end."""
        pieces = []
        while count and (piece := self.file.read(min(count, CHUNK))):
            self.sha256.update(piece)
            self.at += len(piece)
            self.passed(len(piece))
            count -= len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip(self, count: int | None) -> None:
        """Passes over `count` bytes, or over all that are left."""
        stop = None if count is None else self.at + count
        while (stop is None or self.at < stop) and self.take(
            CHUNK if stop is None else min(CHUNK, stop - self.at)
        ):
            pass


class _Walk:
    """One tar and the rows that say what is in it."""

    def __init__(
        self, url: str, info: ShardInfo, rows: Sequence[SampleRow], deep: bool, progress: _Progress
    ) -> None:
        self.url, self.info, self.rows, self.deep, self.progress = url, info, rows, deep, progress

    def findings(self) -> Iterator[Finding]:
        """All that is wrong with the tar, in the order in which it lies there."""
        info = self.info
        if len(self.rows) != info.samples:
            yield self._finding("", f"{len(self.rows)} rows store samples in it, want {info.samples}")
        try:
            file = store.open_read(self.url)
        except FileNotFoundError:
            yield self._finding("", f"the shard is missing; {info.samples} samples are in it")
            return
        with file:
            tape = _Tape(file, lambda count: self.progress.add(count, info.name))
            yield from self._samples(tape)
            yield from self._end(tape)
        if tape.at != info.bytes:
            yield self._finding("", f"{tape.at} bytes, want {info.bytes}")
        if (found := tape.sha256.hexdigest()) != info.sha256:
            yield self._finding("", f"sha256 {found}, want {info.sha256}")

    def _samples(self, tape: _Tape) -> Iterator[Finding]:
        """Rows must tile the tar: a gap is a sample without a row."""
        placed = []
        for row in self.rows:
            if row.offset is None or row.nbytes is None or row.offset < 0 or row.nbytes < 1:
                yield self._finding(row.key, f"the row has no place: offset {row.offset}, {row.nbytes} bytes")
            else:
                placed.append((row.offset, row.nbytes, row))
        for offset, nbytes, row in sorted(placed, key=lambda place: (place[0], place[2].key)):
            if offset < tape.at:
                yield self._finding(row.key, f"begins at {offset}, inside the sample that ends at {tape.at}")
                continue
            if offset > tape.at:
                yield from self._gap(tape, offset)
            if len(data := tape.take(nbytes)) < nbytes:
                yield self._finding(row.key, f"the tar ends at {tape.at}, inside the sample at {offset}")
                continue
            yield from self._sample(row, data)

    def _gap(self, tape: _Tape, offset: int) -> Iterator[Finding]:
        begin = tape.at
        tape.skip(offset - begin)
        if tape.at > begin:
            text = f"bytes {begin} to {tape.at} belong to no row: a sample without a row"
            yield self._finding("", text)

    def _end(self, tape: _Tape) -> Iterator[Finding]:
        """After the last row the end mark must come, and nothing else."""
        begin = tape.at
        tail = tape.take(len(END))
        tape.skip(None)
        if tape.at > begin + len(END):
            text = (
                f"rows end at byte {begin}, the tar's samples at {tape.at - len(END)}: a sample without a row"
            )
            yield self._finding("", text)
        elif tail != END:
            yield self._finding("", f"bytes {begin} to {tape.at} are not the {len(END)} zeros that end a tar")

    def _sample(self, row: SampleRow, data: bytes) -> Iterator[Finding]:
        where = f"{self.info.name} at {row.offset}"
        if not self.deep:
            if (found := shard.slice_digest(data)) != row.xxh3:
                yield self._finding(
                    row.key, f"{where}: xxh3 {found}, want {row.xxh3}: the bytes have changed"
                )
            return
        try:
            sample = shard.unpack(data, row.key, row.xxh3, where)
        except shard.BadSample as error:
            yield self._finding(row.key, str(error))
            return
        for what in crosscheck.sample(row, sample):
            yield self._finding(row.key, f"{where}: {what}")

    def _finding(self, key: str, what: str) -> Finding:
        return Finding(self.info.name, key, what)
