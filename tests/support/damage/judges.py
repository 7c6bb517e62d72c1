"""What becomes of one damaged ZIP, shard, dataset folder or table: the outcome, and what must not be.

A fault is another exception than the promised one, more lines than one, or content that a second reader does
not find there: zipfile, tarfile with zstandard, the undamaged folder, the untouched lines.
"""

import io
import json
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zstandard

from octshard.dataset import sample, shard, tables
from octshard.dataset.shard import BadSample
from octshard.errors import OctshardError
from octshard.prep import verify
from octshard.prep.release import zip_directory, zip_source
from octshard.prep.release.aireadi import read_release
from octshard.printable import printable
from octshard.rng import rng_for
from octshard.storage import store
from tests.support.damage import datasets, tar_members, tars, texts, zips
from tests.support.made_release import sound, write_tables

LONGEST = 3000  # characters of a message
PIECE = 2**20


class Verdict(NamedTuple):
    """The result for one input. faults: what must not be; a sound run has none."""

    kind: str
    recipe: str
    outcome: str
    faults: tuple[str, ...] = ()


class Notes:
    """Faults of one input."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    @contextmanager
    def only(self, *allowed: type[Exception]) -> Iterator[None]:
        """A block that may raise `allowed` with a message of one line, and nothing else."""
        try:
            yield
        except allowed as error:
            text = printable(str(error))  # as a command shows it
            if "\n" in text or len(text) > LONGEST:
                self.faults.append(f"a message of {len(text)} characters: {text[:200]}")
        except BaseException as error:  # whatever else comes is what is searched for
            self.faults.append(f"{type(error).__name__}: {str(error)[:200]}")

    def check(self, holds: bool, fault: str) -> None:
        if not holds:
            self.faults.append(fault)


def judge_zip(seed: int, i: int) -> Verdict:
    """Members that must be read or lost are; what is read is what zipfile reads."""
    kind, damage = zips.case(seed, i)
    notes, url = Notes(), "memory://fuzz/x.zip"
    store.write(url, damage.data)
    theirs = _by_zipfile(damage.data)
    came: dict[str, bytes] = {}
    refused = 0
    with notes.only():
        members, problems = zip_directory.read(url)
        refused = len(problems)
        for entry in members:
            try:
                data = b"".join(zip_source.chunks(entry, PIECE))
            except zip_directory.DamagedZip as error:
                refused += 1
                notes.check("\n" not in str(error), f"{str(error)!r}")
                continue
            came[entry.name] = data
            notes.check(
                data in theirs.get(entry.name, [data if data == zips.TRUTH.get(entry.name) else b""]),
                f"{entry.name[:20]!r} has other bytes than zipfile reads",
            )
        for problem in problems:
            notes.check("\n" not in problem.member + problem.reason, f"{problem.reason!r}")
    notes.check(damage.sound <= {*came}, f"{sorted(damage.sound - {*came})} should be read")
    notes.check(not damage.lost & {*came}, f"{sorted(damage.lost & {*came})} should be refused")
    outcome = "refused" if not came else "some refused" if refused else "read"
    return Verdict(kind, f"zips.case({seed}, {i}): {damage.text}", outcome, tuple(notes.faults))


def _by_zipfile(data: bytes) -> dict[str, list[bytes]]:
    """Member -> what zipfile reads of it, at most a bomb's 64 MB."""
    theirs: dict[str, list[bytes]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            archive = zipfile.ZipFile(io.BytesIO(data))
        except Exception:  # it knows many
            return {}
        for info in archive.infolist():
            try:
                theirs.setdefault(info.filename, []).append(archive.open(info).read(2**26))
            except Exception:  # likewise
                continue
    return theirs


def judge_tar(seed: int, i: int) -> Verdict:
    """Every sample is what tarfile, json and zstandard read, or a BadSample; as a whole tar and by slices."""
    kind, damage = tars.case(seed, i)
    notes, read = Notes(), 0
    theirs = _by_tarfile(damage.data)
    with notes.only(BadSample):
        for _, _, found in shard.scan(io.BytesIO(damage.data), "x.tar"):
            read += 1
            notes.check(_same(found, theirs), f"scan: {found.key} differs from what tarfile reads")
    for number, piece in enumerate(damage.slices):
        key = f"s-{number}"
        theirs = _by_tarfile(piece + bytes(1024))
        with notes.only(BadSample):
            found = shard.unpack(piece, key, shard.slice_digest(piece), "x.tar")
            notes.check(_same(found, theirs), f"unpack: {key} differs from what tarfile reads")
        with notes.only(BadSample):
            packed = shard.open_slice(piece, key, shard.slice_digest(piece), "x.tar")
            if packed.shape == tar_members.SHAPE and packed.dtype == np.uint8:
                voxels_DHW = np.zeros(tar_members.SHAPE, np.uint8)
                packed.unpack_into(voxels_DHW)
                same = _same(shard.Sample(key, {}, voxels_DHW), theirs)
                notes.check(same, f"unpack_into: {key} differs from what tarfile reads")
    outcome = "read" if read == len(damage.slices) else "some refused" if read else "refused"
    return Verdict(kind, f"tars.case({seed}, {i}): {damage.text}", outcome, tuple(notes.faults))


def _same(found: shard.Sample, theirs: Mapping[str, list[bytes]]) -> bool:
    """True if the sample is what two members say."""
    texts_, frames = (theirs.get(found.key + suffix, []) for suffix in (".json", ".vol.zst"))
    return any(_holds(found, text, frame) for text, frame in zip(texts_, frames, strict=False))


def _holds(found: shard.Sample, text: bytes, frame: bytes) -> bool:
    try:
        meta = json.loads(text)
        raw = zstandard.ZstdDecompressor().decompressobj().decompress(frame)
        expected = np.frombuffer(raw, meta["dtype"]).reshape(meta["shape"])
    except (KeyError, ValueError, TypeError, zstandard.ZstdError):
        return False
    return expected.dtype == found.voxels_DHW.dtype and np.array_equal(expected, found.voxels_DHW)


def _by_tarfile(data: bytes) -> dict[str, list[bytes]]:
    """Name -> bytes of its members in order, as far as tarfile comes."""
    theirs: dict[str, list[bytes]] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for info in archive:
                if info.isreg() and not info.sparse and (file := archive.extractfile(info)):
                    theirs.setdefault(info.name, []).append(file.read())
    except Exception:  # it knows many
        return theirs
    return theirs


class FolderJudge:
    """Damage to one file of a finished dataset folder, which is put right again after each."""

    def __init__(self, files: datasets.Files, case: Callable[..., datasets.FolderDamage]) -> None:
        self.files, self.case, self.url = files, case, "memory://fuzz/topcon_triton"
        self._put(files)
        self.content = self._read()

    def judge(self, seed: int, i: int) -> Verdict:
        """Opened, every sample read, and verified: what verify finds nothing in is what was there before."""
        damage, notes = self.case(self.files, seed, i), Notes()
        changed = [name for name in damage.files if damage.files[name] != self.files[name]]
        self._put({name: damage.files[name] for name in changed})
        content: dict[str, Any] | None = None
        findings: list[Any] | None = None
        with notes.only(OctshardError):
            content = self._read()
        with notes.only(OctshardError):
            findings = verify.verify(self.url, deep=True)
        notes.check(findings != [] or content == self.content, "verify finds nothing, but samples differ")
        self._put({name: self.files[name] for name in changed})
        outcome = "error" if findings is None else "findings" if findings else "sound"
        recipe = f"{self.case.__name__}(files, {seed}, {i}): {damage.text}"
        return Verdict(self.case.__name__.removesuffix("_case"), recipe, outcome, tuple(notes.faults))

    def _put(self, files: datasets.Files) -> None:
        for name, data in files.items():
            store.write(store.join(self.url, name), data)

    def _read(self) -> dict[str, Any]:
        dataset = tables.open_dataset(self.url)
        stored = [row for row in dataset.rows if row.status == "ok"]
        return {row.key: sample.read(self.url, row).voxels_DHW.tobytes() for row in stored}


class TableJudge:
    """Damage to manifest.tsv and participants.tsv in turn."""

    def __init__(self, root: Path) -> None:
        self.root = root
        people = {str(1000 + i): ("train", "val", "test")[i % 3] for i in range(1, 9)}
        write_tables(root, [sound(i, str(1000 + i)) for i in range(1, 9)], people)
        self.bytes = {name: (root / name).read_bytes() for name in ("manifest.tsv", "participants.tsv")}
        self.before = self._read()

    def judge(self, seed: int, i: int) -> Verdict:
        """Lines that the damage does not touch mean what they meant, or the table is an error of one line."""
        notes, name = Notes(), list(self.bytes)[i % 2]
        whole = self.bytes[name].removeprefix(b"\xef\xbb\xbf")
        damage = texts.damaged_table(whole, rng_for(seed, "structured table", i))
        (self.root / name).write_bytes(damage.data)
        after: tuple[dict[str, Any], ...] | None = None
        with notes.only(OctshardError):
            after = self._read()
        for old, new in zip(self.before, after or (), strict=False):
            for person in {*old} - damage.touched:
                notes.check(new.get(person) == old[person], f"{person} became {str(new.get(person))[:90]}")
        (self.root / name).write_bytes(self.bytes[name])
        recipe = f"{name}, structured table {seed}, {i}: {damage.text}"
        return Verdict(name, recipe, "error" if after is None else "read", tuple(notes.faults))

    def _read(self) -> tuple[dict[str, Any], ...]:
        release = read_release(str(self.root))
        return {entry.participant: entry for entry in release.entries}, dict(release.splits)
