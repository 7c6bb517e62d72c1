"""Re-reads every shard of a dataset folder and compares it with the tables. Repairs nothing.

One sequential pass over each tar, several tars at once, with one sample of each in memory. A finding names
the shard, the key and what is wrong; a sound folder gives none.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from octshard import pool
from octshard.dataset import shard, tables
from octshard.dataset.preparation import voxel_limit
from octshard.dataset.splits import split_overlaps
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.prep import build_parts, crosscheck
from octshard.prep.crosscheck import Finding, Tables
from octshard.progress import OnProgress, no_progress
from octshard.storage import store, transport

CHUNK = 2**22
TARS_AT_ONCE = 4  # at most one per core: checksums release the interpreter lock
END = bytes(2 * shard.BLOCK)  # closes a tar


def verify(folder: str, deep: bool, on_progress: OnProgress = no_progress) -> list[Finding]:
    """Everything wrong with the dataset in `folder`. on_progress counts MiB read, on any thread.

    Always: every byte of every tar by its sha256 and by the xxh3 of its sample, the tables by their sha256,
    and whether the tables, the listing and the parts of the build agree. deep: every sample is decoded as
    well and compared with its row. A folder that is not a finished dataset is a UsageError, a table that is
    missing or damaged an OctshardError.
    """
    dataset = tables.read_tables(folder)
    infos = dataset.shards
    dataset_tables = Tables(folder, dataset.info, dataset.rows, infos, store.list_names(folder))
    findings = [
        *_unsealed(dataset.info),
        *crosscheck.compare_tables(dataset_tables),
        *build_parts.compare(dataset_tables),
    ]
    stored: dict[str, list[SampleRow]] = {info.name: [] for info in infos}
    for row in dataset.rows:
        if row.status == "ok" and row.shard in stored:
            stored[row.shard].append(row)
    reading = _Reading(
        deep, voxel_limit(dataset.info), _Progress(sum(info.bytes for info in infos), on_progress)
    )
    with transport.thread_pool(min(TARS_AT_ONCE, pool.worker_count(0))) as threads:
        checks = [
            _TarCheck(store.join(folder, info.name), info, stored[info.name], reading) for info in infos
        ]
        for tar_findings in threads.map(_settled_findings, checks):
            findings += tar_findings
    return findings


def _unsealed(info: Mapping[str, Any]) -> Iterator[Finding]:
    """The tables without a digest, as in older datasets: a changed byte in them would not show."""
    for name in (tables.SAMPLES, tables.SHARDS):
        if not tables.table_digests(info).get(name):
            text = f"{tables.INFO} has no sha256 of {name}; give the same octshard prep shard again to add it"
            yield Finding("", "", text)


def across(folders: Sequence[str]) -> list[Finding]:
    """The participants that are in different splits of different datasets."""
    rows_by_folder = [tables.read_rows(store.join(folder, tables.SAMPLES)) for folder in folders]
    alone = {person for rows in rows_by_folder for person in split_overlaps(rows)}
    return [
        Finding("", "", f"participant {person} stands in {' and '.join(splits)} of different folders")
        for person, splits in split_overlaps(row for rows in rows_by_folder for row in rows).items()
        if person not in alone  # `verify` of that folder reports it
    ]


class _Progress:
    """Bytes read, by all threads together."""

    def __init__(self, total: int, on_progress: OnProgress) -> None:
        self.total, self.on_progress, self.done, self.lock = total, on_progress, 0, threading.Lock()

    def add(self, count: int, name: str) -> None:
        with self.lock:
            self.done += count
            self.on_progress(self.done // 2**20, self.total // 2**20, f"MiB, {name}")


@dataclass(frozen=True)
class _Reading:
    """How tars are read. limit: voxels of one sample at most; progress: of all tars together."""

    deep: bool
    limit: int
    progress: _Progress

    @property
    def most_bytes(self) -> int:
        """Of one sample in a tar: compression may add a little to two bytes for each voxel."""
        return 2 * self.limit + CHUNK


class _TarReader:
    """Reads a tar once from front to back, with the sha256 of all bytes so far."""

    def __init__(self, file: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        self.file, self.on_bytes, self.at, self.sha256 = file, on_bytes, 0, hashlib.sha256()

    def read(self, count: int) -> bytes:
        """The next `count` bytes; fewer only at the end."""
        pieces = []
        while count and (piece := self.file.read(min(count, CHUNK))):
            self.sha256.update(piece)
            self.at += len(piece)
            self.on_bytes(len(piece))
            count -= len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip(self, count: int | None) -> None:
        """Reads over `count` bytes, or over the rest."""
        stop = None if count is None else self.at + count
        while (stop is None or self.at < stop) and self.read(
            CHUNK if stop is None else min(CHUNK, stop - self.at)
        ):
            pass


class _TarCheck:
    """One tar and the rows of its samples."""

    def __init__(self, url: str, info: ShardInfo, rows: Sequence[SampleRow], reading: _Reading) -> None:
        self.url, self.info, self.rows, self.reading = url, info, rows, reading

    def findings(self) -> Iterator[Finding]:
        """All that is wrong with the tar, in the order of its bytes."""
        info = self.info
        if len(self.rows) != info.samples:
            yield self._finding("", f"{len(self.rows)} rows store samples in it, want {info.samples}")
        try:
            file = store.open_read(self.url)
        except FileNotFoundError:
            yield self._finding("", f"the shard is missing; {info.samples} samples are in it")
            return
        except store.NotAFile as error:
            yield self._finding("", str(error))
            return
        with file:
            reader = _TarReader(file, lambda count: self.reading.progress.add(count, info.name))
            yield from self._samples(reader)
            yield from self._end(reader)
        if reader.at != info.bytes:
            yield self._finding("", f"{reader.at} bytes, want {info.bytes}")
        if (sha256 := reader.sha256.hexdigest()) != info.sha256:
            yield self._finding("", f"sha256 {sha256}, want {info.sha256}")

    def _samples(self, reader: _TarReader) -> Iterator[Finding]:
        """Rows must tile the tar: a gap is a sample without a row."""
        slices = []
        for row in self.rows:
            if row.offset is None or row.nbytes is None or row.offset < 0 or row.nbytes < 1:
                yield self._finding(row.key, f"the row has no place: offset {row.offset}, {row.nbytes} bytes")
            elif row.nbytes > (most := self.reading.most_bytes):  # it would be held in memory
                yield self._finding(row.key, f"the row has {row.nbytes} bytes, want at most {most}")
            else:
                slices.append((row.offset, row.nbytes, row))
        for offset, nbytes, row in sorted(slices, key=lambda item: (item[0], item[2].key)):
            if offset < reader.at:
                yield self._finding(
                    row.key, f"begins at {offset}, inside the sample that ends at {reader.at}"
                )
                continue
            if offset > reader.at:
                yield from self._gap(reader, offset)
            if len(data := reader.read(nbytes)) < nbytes:
                yield self._finding(row.key, f"the tar ends at {reader.at}, inside the sample at {offset}")
                continue
            yield from self._sample(row, data)

    def _gap(self, reader: _TarReader, offset: int) -> Iterator[Finding]:
        begin = reader.at
        reader.skip(offset - begin)
        if reader.at > begin:
            text = f"bytes {begin} to {reader.at} belong to no row: a sample without a row"
            yield self._finding("", text)

    def _end(self, reader: _TarReader) -> Iterator[Finding]:
        """After the last sample there must be the end mark, and nothing else."""
        begin = reader.at
        tail = reader.read(len(END))
        reader.skip(None)
        if reader.at > begin + len(END):
            end = reader.at - len(END)
            text = f"rows end at byte {begin}, the tar's samples at {end}: a sample without a row"
            yield self._finding("", text)
        elif tail != END:
            yield self._finding(
                "", f"bytes {begin} to {reader.at} are not the {len(END)} zeros that end a tar"
            )

    def _sample(self, row: SampleRow, data: bytes) -> Iterator[Finding]:
        location = f"{self.info.name} at {row.offset}"
        if not self.reading.deep:
            if (digest := shard.slice_digest(data)) != row.xxh3:
                yield self._finding(
                    row.key, f"{location}: xxh3 {digest}, want {row.xxh3}: the bytes have changed"
                )
            return
        try:
            packed = shard.open_slice(data, row.key, row.xxh3, location)
            if problem := crosscheck.claim_problem(packed.shape, self.reading.limit):
                yield self._finding(row.key, f"{location}: {problem}")
                return
            sample = packed.unpack()
        except shard.BadSample as error:
            yield self._finding(row.key, str(error))
            return
        for what in crosscheck.sample(row, sample):
            yield self._finding(row.key, f"{location}: {what}")

    def _finding(self, key: str, what: str) -> Finding:
        return Finding(self.info.name, key, what)


def _settled_findings(check: _TarCheck) -> list[Finding]:
    """What is wrong with a tar; a remote one is read once more, for its bytes may be altered on their way."""
    findings = list(check.findings())
    if findings and store.is_remote(check.url):
        check.reading.progress.add(-check.info.bytes, check.info.name)
        findings = list(check.findings())
    return findings
