"""The calls of octshard's prep that are timed: a changed signature is adapted in this file alone."""

import hashlib
import shutil
import sys
from pathlib import Path

import numpy as np
from scans import ScanFile
from table import Timing, run_alone

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


def init_worker() -> None:
    """Prepares a process as prep prepares its workers."""
    pool.init_worker()


def convert(scan_file: ScanFile, cfg: PrepConfig) -> tuple[SampleRow, bytes]:
    """One file to its row and tar slice, in this process."""
    entry = scan_file.entry
    key = SampleKey.of(entry.participant, entry.device, entry.protocol, entry.eye, entry.sop_instance_uid)
    row, data = sample.convert(
        sample.ConvertTask(Member(key, entry), "train-000000.tar", "train"), cfg, source.FolderSource("/")
    )
    if row.status != "ok":
        raise SystemExit(f"{scan_file.path}: {row.reason}: {row.detail}")
    return row, data


def voxels(scan_file: ScanFile, cfg: PrepConfig) -> np.ndarray:
    """The stored voxels (D, H, W) of one file."""
    row, data = convert(scan_file, cfg)
    return shard.unpack(data, row.key, row.xxh3, row.key).voxels_DHW


def frames(data: bytes) -> None:
    """Decodes all frames of a file, one by one, without keeping them."""
    for _ in decode.frames(data, dicom.read_header(data, PrepConfig().max_voxels)):
        pass


def checksums(data: bytes, stored: bytes) -> None:
    """The checksums of one row: of the file's bytes, and of the stored voxels and their slice."""
    checksum.crc32(data)
    checksum.xxh3_128(data)
    hashlib.sha256(stored).hexdigest()
    checksum.xxh3(stored)


def plans(root: Path) -> int:
    """The plan of every device of a release, digested; the number of its members."""
    release = aireadi.read_release(str(root))
    count = 0
    for device in sorted({entry.device for entry in release.entries}):
        entries = [entry for entry in release.entries if entry.device == device]
        shards = plan.plan(entries, release.splits, PrepConfig())
        plan.digest(shards)
        count += sum(len(shard_plan.members) for shard_plan in shards)
    return count


def command(root: Path, dst: Path, workers: int) -> Timing:
    """The time of `octshard prep shard` for all devices, into an empty folder, in its own process."""
    shutil.rmtree(dst, ignore_errors=True)
    arguments = ["prep", "shard", str(root), str(dst), "--device", "all", "--workers", str(workers)]
    timing = run_alone([sys.executable, "-m", "octshard", *arguments])
    if not list(dst.glob("*/dataset.json")):
        raise SystemExit(f"{dst}: octshard prep shard wrote no dataset.json")
    return timing
