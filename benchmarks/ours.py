"""The calls to octshard that are timed, all of them: where a signature changes, it changes here."""

import hashlib
import shutil
import sys
from pathlib import Path

import numpy as np
from scans import Input
from table import Spent, run_alone

from octshard import pool
from octshard.config.prep import PrepConfig
from octshard.dataset import shard
from octshard.dataset.tables import SampleRow
from octshard.imaging.volume import SampleKey
from octshard.prep import plan
from octshard.prep.convert import sample
from octshard.prep.dicom import decode
from octshard.prep.dicom import header as dicom
from octshard.prep.plan import Member
from octshard.prep.release import aireadi, source
from octshard.storage import checksum


def begin() -> None:
    """What a worker's process does before its first file."""
    pool.init_worker()


def make(one: Input, cfg: PrepConfig) -> tuple[SampleRow, bytes]:
    """One file to its row and tar slice, in this process."""
    entry = one.entry
    key = SampleKey.of(entry.participant, entry.device, entry.protocol, entry.eye, entry.sop_instance_uid)
    row, data = sample.convert(
        sample.ConvertTask(Member(key, entry), "train-000000.tar", "train"), cfg, source.FolderSource("/")
    )
    if row.status != "ok":
        raise SystemExit(f"{one.path}: {row.reason}: {row.detail}")
    return row, data


def voxels(one: Input, cfg: PrepConfig) -> np.ndarray:
    """The stored voxels (D, H, W) of one file."""
    row, data = make(one, cfg)
    return shard.unpack(data, row.key, row.xxh3, row.key).voxels_DHW


def frames(data: bytes) -> None:
    """All frames of a file, one by one, kept nowhere."""
    for _ in decode.frames(data, dicom.read_header(data, PrepConfig().max_voxels)):
        pass


def checksums(data: bytes, stored: bytes) -> None:
    """Those that go into a row: of the file's bytes, and of the stored voxels and their slice."""
    checksum.crc32(data)
    checksum.xxh3_128(data)
    hashlib.sha256(stored).hexdigest()
    checksum.xxh3(stored)


def plans(root: Path) -> int:
    """The plan of every device of a release, digested; the number of its members."""
    found = aireadi.read_release(str(root))
    count = 0
    for device in sorted({entry.device for entry in found.entries}):
        mine = [entry for entry in found.entries if entry.device == device]
        shards = plan.plan(mine, found.splits, PrepConfig())
        plan.digest(shards)
        count += sum(len(one.members) for one in shards)
    return count


def command(root: Path, dst: Path, workers: int) -> Spent:
    """What `octshard prep shard` of all devices takes, from nothing, as a process of its own."""
    shutil.rmtree(dst, ignore_errors=True)
    words = ["prep", "shard", str(root), str(dst), "--device", "all", "--workers", str(workers)]
    return run_alone([sys.executable, "-m", "octshard.cli.main", *words])
