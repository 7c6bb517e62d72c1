"""Damaged files and ZIPs by the thousand, through the commands: each ends in a row or a refusal.

The seed makes the damage, so a failure can be repeated: `mutations.dicom_file(seed, i)` is the very file.
Damage by structure comes as 2,000 inputs; `OCTSHARD_FUZZ=20000` makes more of them, and
`OCTSHARD_FUZZ_REPORT=FILE` writes what became of each kind.
"""

import dataclasses
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from octshard.dataset import tables
from octshard.prep.refusals import REASONS
from tests.support import made_release, mutations
from tests.support.damage import dicom_judge, fuzz, sound_dicoms
from tests.support.damage.sound_dicoms import uid_of
from tests.support.made_release import File, scan, unpacked, write_tables
from tests.support.mutations import Mutation

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # it, too, notices the damage
SEED = 0
DEVICE = "topcon_triton"
LIMIT_S, LIMIT_BYTES = 5.0, 1_000_000_000  # of one file
IDLE_BYTES = 500_000_000  # what a process of ours holds before its first file, generously
WHOLE_S = 240  # of a whole run: that nothing hangs, not how fast it is
COUNT = int(os.environ.get("OCTSHARD_FUZZ", "2000"))  # inputs damaged by structure
SHARES = {"dicom": 0.5, "zip": 0.15, "tar": 0.15, "json": 0.05, "parquet": 0.05, "table": 0.1}
REPORT = os.environ.get("OCTSHARD_FUZZ_REPORT", "")
# what other seeds found: left to themselves, decoders hang on these or ask for gigabytes
EVIL = ((1, 2514), (1, 3135), (2, 944), (2, 5571), (2, 5792))


class Watched:
    """Runs one command to its end; `peak` is the most memory that any of its processes held, in bytes."""

    def __init__(self, words: Sequence[str]) -> None:
        self.peak, self._done = 0, threading.Event()
        process = subprocess.Popen(
            [sys.executable, "-m", "octshard", *words],
            env={**os.environ, "PYTHONPATH": str(Path(tables.__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        watcher = threading.Thread(target=self._watch, args=(process.pid,))
        watcher.start()
        try:
            self.output = process.communicate(timeout=WHOLE_S)[0]
        finally:
            self._done.set()
            watcher.join()
            process.kill()
        self.code = process.returncode

    def _watch(self, pid: int) -> None:
        while not self._done.wait(0.1):
            self.peak = max(self.peak, *(_peak(one) for one in [pid, *_below(pid)]))


def _below(pid: int) -> list[int]:
    """The processes that descend from one."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    found = [int(word) for word in text.split()]
    return [*found, *(inner for one in found for inner in _below(one))]


def _peak(pid: int) -> int:
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def _file(uid: str, data: bytes | None) -> File:
    made = dataclasses.replace(
        scan(),
        voxels_DHW=scan().voxels_DHW[:4, :1].repeat(32, 1),
        sop_instance_uid=uid,
        locations=scan().locations[:4],
    )
    return File(made, data)


def _shard(src: Path, dst: Path, decode: str) -> Watched:
    words = ["prep", "shard", str(src), str(dst), "--device", DEVICE, "--workers", "2"]
    values = {
        "decode": decode,
        "decode_timeout_s": LIMIT_S,
        "worker_memory": LIMIT_BYTES,
        "target_spacing": "[0.08,0.04,0.04]",
        "shard_bytes": 60_000,
    }
    return Watched(
        [*words, *(word for name, value in values.items() for word in ("--set", f"{name}={value}"))]
    )


def _judge_shards(made: Sequence[Mutation], src: Path, dst: Path, decode: str) -> list[tables.SampleRow]:
    """What every run of `prep shard` must show, whatever the files are like; its rows."""
    unpacked(src, [_file(one.name, one.data) for one in made], {"1001": "train"})
    run = _shard(src, dst, decode)
    assert run.code == 0, run.output[-3000:]
    rows = tables.open_dataset(str(dst / DEVICE)).rows
    assert sorted(row.source for row in rows) == sorted(_file(one.name, None).path for one in made)
    assert {row.reason for row in rows if row.status == "refused"} <= set(REASONS)
    assert not [row for row in rows if (row.status == "ok") != (row.reason == "")]
    assert 10**7 < run.peak < IDLE_BYTES + LIMIT_BYTES
    again = _shard(src, dst, decode)
    assert again.code == 0, again.output[-3000:]
    verified = Watched(["prep", "verify", "--deep", str(dst / DEVICE)])
    assert verified.code == 0, verified.output[-3000:]
    return list(rows)


@pytest.mark.parametrize(
    ("count", "decode"), [(150, "exact"), pytest.param(1500, "fast", marks=pytest.mark.slow)]
)
def test_every_damaged_dicom_ends_in_a_row(count: int, decode: str, tmp_path: Path) -> None:
    made = mutations.dicoms(count, SEED)
    rows = _judge_shards(made, tmp_path / "src", tmp_path / "dst", decode)
    assert any(row.decoded_level for row in rows) == (decode == "fast")
    stored = sum(row.status == "ok" or row.reason == "duplicate" for row in rows)  # all had the same voxels
    assert 0.2 * count < stored < 0.8 * count  # or the damage is idle
    assert len({row.reason for row in rows}) > 5


@pytest.mark.slow
def test_what_made_decoders_hang_or_swell_costs_its_own_file_only(tmp_path: Path) -> None:
    evil = [mutations.dicom_file(seed, i) for seed, i in EVIL]
    good = [
        Mutation("sound", uid_of(9, i), sound_dicoms.sound(name, uid_of(9, i)))
        for i, name in enumerate(sound_dicoms.ENCODINGS)
    ]
    rows = _judge_shards([*evil, *good], tmp_path / "src", tmp_path / "dst", "exact")
    lost = {row.sop_instance_uid for row in rows if row.status != "ok" and row.reason != "duplicate"}
    assert lost == {one.name for one in evil}


@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_every_damaged_zip_gives_whole_files_or_none(count: int, tmp_path: Path) -> None:
    src, dst = tmp_path / "src", tmp_path / "inner" / "dst"
    members = {name: data for i in range(count) for name, data in mutations.members_of(SEED, i).items()}
    files = [_file(name.rsplit("_", 1)[1].removesuffix(".dcm"), None) for name in members]
    write_tables(src, files, {"1001": "train"})
    (src / DEVICE).mkdir()
    made = mutations.zips(count, SEED)
    for i, one in enumerate(made):
        (src / DEVICE / f"{i:04d}.zip").write_bytes(one.data)
    run = Watched(["prep", "unzip", str(src), str(dst), "--workers", "2"])
    assert run.code == 0, run.output[-3000:]
    assert 10**7 < run.peak < IDLE_BYTES
    found = {str(path.relative_to(dst.parent)): path for path in dst.parent.rglob("*") if path.is_file()}
    written = {name: path for name, path in found.items() if name.endswith(".dcm")}
    assert set(written) <= {f"dst/{file.path}" for file in files}
    beside = {name.removeprefix("dst/") for name in set(found) - set(written)}
    assert beside - {".unzip.lock"} == {"manifest.tsv", "participants.tsv", ".unzip.journal.json"}
    honest = set(members.values())
    other = {name for name, path in written.items() if path.read_bytes() not in honest}
    replaced = {
        f"dst/{_file(uid_of(SEED, 2 * i + k), None).path}"
        for i, one in enumerate(made)
        for k in (0, 1)
        if one.name in ("bomb", "twice")  # which hold other bytes under the name, and say so
    }
    assert other <= replaced
    assert 0.3 * len(files) < len(written) < len(files)
    counted = {
        what: int(re.findall(rf"^{what} +([\d,]+)$", run.output, re.MULTILINE)[0].replace(",", ""))
        for what in ("written", "in the manifest, in no ZIP")
    }
    assert counted["written"] == len(written)
    assert counted["written"] + counted["in the manifest, in no ZIP"] <= len(files)


# damage by structure


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a finished dataset folder: four volumes in three splits, and a refusal."""
    root = tmp_path_factory.mktemp("finished")
    files = [*(made_release.sound(i, str(1000 + i)) for i in range(1, 5)), _file("2.25.9", b"no DICOM")]
    splits = {"1001": "train", "1002": "train", "1003": "val", "1004": "test"}
    unpacked(root / "src", files, splits)
    run = Watched(["prep", "shard", str(root / "src"), str(root / "dst"), "--device", DEVICE])
    assert run.code == 0, run.output[-3000:]
    return {path.name: path.read_bytes() for path in (root / "dst" / DEVICE).iterdir() if path.is_file()}


@pytest.mark.timeout(max(600, COUNT))
def test_every_dicom_of_another_structure_means_what_pydicom_means_or_is_refused(tmp_path: Path) -> None:
    count = round(COUNT * SHARES["dicom"])
    tally = dicom_judge.run(range(count), SEED, tmp_path)
    _report("dicom", tally)
    outcomes = Counter(word for counts in tally.outcomes.values() for word in counts.elements())
    assert len(outcomes) > 10
    assert 0.2 * count < outcomes["ok"] < 0.7 * count
    assert 10**7 < tally.peak < IDLE_BYTES + LIMIT_BYTES


@pytest.mark.timeout(max(600, COUNT))
@pytest.mark.parametrize("form", sorted(SHARES.keys() - {"dicom"}))
def test_every_structure_that_lies_is_one_line(form: str, finished: dict[str, bytes], tmp_path: Path) -> None:
    """ZIPs, and files of ours: shards, JSON, Parquet and the tables of a release."""
    tally = fuzz.run(form, range(round(COUNT * SHARES[form])), SEED, tmp_path, finished)
    _report(form, tally)
    assert len(set().union(*tally.outcomes.values())) > 1
    assert 10**7 < tally.peak < IDLE_BYTES + 2**28


def _report(form: str, tally: fuzz.Tally) -> None:
    print(text := tally.text(form))  # noqa: T201
    if REPORT:
        with Path(REPORT).open("a") as file:
            file.write(text + "\n")
    assert not tally.faults, "\n".join(tally.faults[:20])
