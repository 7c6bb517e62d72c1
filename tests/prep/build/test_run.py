"""The run around the plan: resume, kill -9, one writer, any number of workers, one line for each mistake."""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest

from octshard.config.prep import PrepConfig
from octshard.dataset import tables
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.prep import verify
from octshard.prep.build import inputs, ray_cluster, run, shard_writer
from octshard.prep.build.progress import ProgressCounter
from octshard.prep.build.work import Work
from octshard.prep.convert.worker import WorkerJob
from octshard.prep.dicom import writer
from octshard.prep.release import source
from octshard.prep.release.aireadi import read_release
from octshard.rng import rng_for
from octshard.storage import lock, store
from tests.support.log_lines import log_lines
from tests.support.made_release import File, changed, sound, unpacked, zipped
from tests.support.planted import Planted

SPLITS = {"1001": "train", "4001": "val"}
DEVICE = "topcon_triton"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine sound scans and two defects of two people."""
    files = [sound(i, "1001" if i % 3 else "4001") for i in range(9)]
    files += [changed(20, lambda data: None), changed(21, lambda data: data[:-100])]
    return unpacked(tmp_path_factory.mktemp("release"), files, SPLITS)


def config(release: Path, dst: Path, **values: object) -> PrepConfig:
    """About two samples a shard."""
    made = PrepConfig(src=str(release), dst=str(dst), target_spacing=[0.08, 0.04, 0.04], workers=1)
    return dataclasses.replace(made, **{"shard_bytes": 300, **values})  # type: ignore[arg-type]


def build(cfg: PrepConfig) -> run.DeviceSummary:
    (summary,) = run.shard(cfg, [DEVICE])
    return summary


def tree(dst: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (dst / DEVICE).iterdir() if p.name != tables.RUN_INFO}


@pytest.fixture(scope="module")
def undisturbed(release: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    dst = tmp_path_factory.mktemp("undisturbed")
    build(config(release, dst))
    return tree(dst)


def test_the_tables_are_whole_and_agree(release: Path, tmp_path: Path) -> None:
    summary = build(config(release, tmp_path))
    assert (summary.stored, summary.refused) == (9, {"missing_file": 1, "truncated": 1})
    dataset = tables.open_dataset(str(tmp_path / DEVICE))
    assert len(dataset.rows) == 11
    assert len(dataset.samples("train")) == 6
    assert {row.participant for row in dataset.samples("val")} == {"4001"}
    assert dataset.info["counts"]["stored"] == 9
    assert summary.shards == len(dataset.shards) > 3
    assert sum(info.bytes for info in dataset.shards) == summary.bytes


def test_one_and_two_workers_give_the_same_bytes(
    release: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    reports: list[tuple[int, int, str]] = []
    run.shard(config(release, tmp_path, workers=2), ["all"], lambda *report: reports.append(report))
    assert tree(tmp_path) == undisturbed
    done, total, note = reports[-1]
    assert (done, total) == (11, 11)
    assert note.startswith(f"{DEVICE}, 2 refused, ")
    facts = json.loads((tmp_path / DEVICE / tables.RUN_INFO).read_text())
    assert (facts["files"], facts["workers"], facts["engine"]) == (11, 2, "local")
    megabytes = sum(path.stat().st_size for path in release.rglob("*.dcm")) / 1e6
    assert facts["mb_read_per_s"] == pytest.approx(megabytes / facts["seconds"], rel=0.5, abs=0.2)


def test_kept_bits_are_stored_beside_eight_and_nothing_else_changes(
    release: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """One file of the release in 12 bits: its row and bytes change, those of all others are the same."""
    path = next(path for path in sorted(release.rglob("*.dcm")) if "70001" in path.name)
    wide = shutil.copytree(release, tmp_path / "wide") / path.relative_to(release)
    file = pydicom.dcmread(path)
    levels = file.pixel_array.astype("<u2") * 16
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelData = 16, 12, 11, levels.tobytes()
    file.save_as(wide)
    cfg = config(tmp_path / "wide", tmp_path / "shards", bits="keep")
    build(cfg)
    folder = str(tmp_path / "shards" / DEVICE)
    assert verify.verify(folder, True, lambda *report: None) == []
    dataset = tables.open_dataset(folder)
    assert dataset.info["config"]["bits"] == "keep"
    assert b"bits" not in undisturbed[tables.INFO] + undisturbed[tables.PLAN]
    (row,) = (row for row in dataset.rows if row.dtype == "uint16")
    assert row.source == str(path.relative_to(release))
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / tables.SAMPLES).write_bytes(undisturbed[tables.SAMPLES])
    others = {row.key: row.sha256 for row in tables.read_rows(str(tmp_path / "before" / tables.SAMPLES))}
    assert {row.key: row.sha256 for row in dataset.rows if row.dtype != "uint16"}.items() < others.items()
    with pytest.raises(OctshardError, match="bits: 'keep' -> None"):
        build(dataclasses.replace(cfg, bits="8"))


def test_a_second_run_keeps_every_shard_and_a_damaged_one_is_made_again(
    release: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    cfg = config(release, tmp_path)
    shards = build(cfg).shards
    assert build(cfg).kept >= shards
    for name in ("train-000000.tar", "val-000000.done.json", "train-000001.rows.parquet", "dataset.json"):
        (tmp_path / DEVICE / name).unlink()
    (tmp_path / DEVICE / ".train-000000.tar.1.0123abcd.partial").write_bytes(b"half")
    assert build(cfg).kept == shards - 3
    assert tree(tmp_path) == undisturbed


def test_a_finished_build_asks_for_no_cluster(
    release: Path, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(config(release, tmp_path))
    facts = (tmp_path / DEVICE / tables.RUN_INFO).read_bytes()
    monkeypatch.setitem(sys.modules, "ray", None)  # importing it fails
    assert build(config(release, tmp_path, engine="ray")).kept > 3
    assert tree(tmp_path) == undisturbed
    assert (tmp_path / DEVICE / tables.RUN_INFO).read_bytes() == facts


KILLED = """
import multiprocessing, os, signal, sys
from octshard.config.prep import PrepConfig
from octshard.prep.build import run as engine

def on_progress(done, total, note):
    if done == {after}:
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    engine.shard(PrepConfig(**{values!r}), ["topcon_triton"], on_progress)
"""


def kill_build(cfg: PrepConfig, after: int, script: Path) -> list[int]:
    """Runs the build in a process that kills itself after so many rows; the pids of its workers."""
    script.write_text(KILLED.format(after=after, values=dataclasses.asdict(cfg)))
    root = str(Path(run.__file__).parents[3])
    result = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == -9, result.stderr
    return [int(pid) for pid in result.stdout.split()]


def wait_until_dead(pids: list[int]) -> None:
    """Workers end by themselves once their parent is gone; they are init's now, so only signals can ask."""
    deadline = time.monotonic() + 20
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline and not _is_zombie(pid):
                os.kill(pid, 0)
            assert _is_zombie(pid), f"worker {pid} outlived its parent"


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None


@pytest.mark.parametrize("after", [1, 6, 11])
def test_kill_9_then_the_same_command_gives_the_undisturbed_bytes(
    release: Path, undisturbed: dict[str, bytes], tmp_path: Path, after: int
) -> None:
    cfg = config(release, tmp_path / "dst")
    kill_build(cfg, after, tmp_path / "run.py")
    assert not (tmp_path / "dst" / DEVICE / "dataset.json").exists()
    build(cfg)  # the dead run's lock does not block
    assert tree(tmp_path / "dst") == undisturbed


def test_workers_die_with_a_killed_parent(
    release: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    cfg = config(release, tmp_path / "dst", workers=2)
    pids = kill_build(cfg, 3, tmp_path / "run.py")
    assert pids
    wait_until_dead(pids)
    build(cfg)
    assert tree(tmp_path / "dst") == undisturbed


def test_workers_killed_from_outside_all_the_time_change_no_byte(
    release: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_all(done: int, total: int, note: str) -> None:
        for child in multiprocessing.active_children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid or 0, signal.SIGKILL)
                killed.append(child.pid or 0)

    run.shard(config(release, tmp_path, workers=2), [DEVICE], kill_all)
    assert len(set(killed)) > 5
    assert tree(tmp_path) == undisturbed


def test_a_second_run_while_one_is_writing_is_one_clear_line(release: Path, tmp_path: Path) -> None:
    with (
        lock.one_writer(f"{tmp_path}/.{DEVICE}.lock", str(tmp_path)),
        pytest.raises(OctshardError, match="is writing here") as caught,
    ):
        build(config(release, tmp_path))
    assert "\n" not in str(caught.value)
    build(config(release, tmp_path))


def test_a_release_that_is_not_unzipped_stops_and_a_rerun_after_unzip_is_whole(
    release: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("manifest.tsv", "participants.tsv"):
        (bare / name).write_bytes((release / name).read_bytes())
    cfg = config(bare, tmp_path / "dst")
    for _ in range(2):
        with pytest.raises(OctshardError, match=r"not one of the 11 listed files .* octshard prep unzip"):
            build(cfg)
        assert not {"samples.parquet", "shards.parquet", "dataset.json"} & set(tree(tmp_path / "dst"))
    shutil.copytree(release / "retinal_oct", bare / "retinal_oct")
    build(cfg)
    assert tree(tmp_path / "dst") == undisturbed


@pytest.mark.parametrize("after", [2, 3, 4, 5])
def test_files_that_come_late_change_their_shards_and_their_twins_alone(tmp_path: Path, after: int) -> None:
    """The first of two twins comes after the second was stored: the second becomes the duplicate."""
    files = [sound(i) for i in range(4)]
    second = File(dataclasses.replace(files[0].scan, participant="4001"), files[0].data)
    root = unpacked(tmp_path / "release", [*files, second], SPLITS)
    for late in files[:3]:
        (root / late.path).unlink()
    cfg = config(root, tmp_path / "dst", shard_bytes=1)
    assert build(cfg).refused == {"missing_file": 3}
    assert build(cfg).kept == 2  # the others hold nothing
    for late in files[:3]:
        (root / late.path).write_bytes(late.data or b"")
    kill_build(cfg, after, tmp_path / "run.py")  # one kept, the others made again
    again = build(cfg)
    assert (again.stored, again.refused) == (4, {"duplicate": 1})
    assert again.kept >= 1
    build(dataclasses.replace(cfg, dst=str(tmp_path / "anew")))
    assert tree(tmp_path / "dst") == tree(tmp_path / "anew")


DAMAGED_JSON = ("", "[]", "null", "7", "{", "\0" * 90, "\xff\xfe", "[" * 100_000, '{"a":' * 100_000)


@pytest.mark.parametrize("text", [None, *DAMAGED_JSON], ids=repr)
def test_a_finished_build_gets_back_its_plan(
    release: Path, tmp_path: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    cfg, plan = config(release, tmp_path), tmp_path / DEVICE / "plan.json"
    shards = build(cfg).shards
    before = tree(tmp_path)
    plan.unlink()
    if text is not None:
        plan.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match="zstd_level: 3 -> 9"):  # dataset.json knows the config
        build(dataclasses.replace(cfg, zstd_level=9))
    with pytest.raises(UsageError, match="begun from another manifest"):  # and the manifest
        build(dataclasses.replace(cfg, src=str(unpacked(tmp_path / "other", [sound(1)], SPLITS))))
    shutil.rmtree(tmp_path / "other")
    assert build(cfg).kept == shards
    assert tree(tmp_path) == before
    assert str(plan) in caplog.text


@pytest.mark.parametrize("text", DAMAGED_JSON, ids=repr)
def test_a_plan_that_nothing_repeats_is_one_line(release: Path, tmp_path: Path, text: str) -> None:
    cfg = config(release, tmp_path)
    build(cfg)
    (tmp_path / DEVICE / "plan.json").write_text(text, encoding="latin-1")
    (tmp_path / DEVICE / "dataset.json").unlink()  # as in a build that was killed
    with pytest.raises(UsageError, match=r"plan\.json: .* build it again") as caught:
        build(cfg)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{}", '{"config": []}'])
def test_a_plan_without_a_config_is_one_line(release: Path, tmp_path: Path, text: str) -> None:
    build(config(release, tmp_path))
    (tmp_path / DEVICE / "plan.json").write_text(text)
    with pytest.raises(UsageError, match=r"plan\.json has no config; .* build it again"):
        build(config(release, tmp_path))


@pytest.mark.parametrize("text", [*DAMAGED_JSON, "{}", '{"samples": "many"}'], ids=repr)
def test_a_shard_with_a_damaged_done_file_is_made_again(release: Path, tmp_path: Path, text: str) -> None:
    shards = build(config(release, tmp_path)).shards
    before, done = tree(tmp_path), tmp_path / DEVICE / "train-000000.done.json"
    done.write_text(text, encoding="latin-1")
    assert build(config(release, tmp_path)).kept == shards - 1
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("part", "same_time"), [("all", False), ("one byte", False), ("the end", False), ("all", True)]
)
def test_a_tar_that_was_changed_at_its_size_is_made_again(
    release: Path, tmp_path: Path, part: str, same_time: bool
) -> None:
    shards = build(config(release, tmp_path)).shards
    before, tar = tree(tmp_path), tmp_path / DEVICE / "train-000000.tar"
    stat, size = tar.stat(), tar.stat().st_size
    data = bytearray(before[tar.name])
    if part == "one byte":
        data[size // 2] ^= 1
    else:
        start = 0 if part == "all" else size - 2048
        data[start:] = bytes(size - start)
    tar.write_bytes(bytes(data))
    # explicit times, as a clock of the disk may not tick between two writes
    newer = (tmp_path / DEVICE / "train-000000.done.json").stat().st_mtime_ns + 1
    os.utime(tar, ns=(newer, stat.st_mtime_ns if same_time else newer))
    assert build(config(release, tmp_path)).kept == shards - 1
    assert tree(tmp_path) == before


def test_a_copied_tar_is_read_once_and_kept(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = build(config(release, tmp_path)).shards
    before, tar = tree(tmp_path), tmp_path / DEVICE / "train-000000.tar"
    newer = (tmp_path / DEVICE / "train-000000.done.json").stat().st_mtime_ns + 1
    os.utime(tar, ns=(newer, newer))
    opened: list[str] = []
    open_read = store.open_read
    monkeypatch.setattr(store, "open_read", lambda url: opened.append(url) or open_read(url))
    for _ in range(2):
        assert build(config(release, tmp_path)).kept == shards
        assert opened == [str(tar)]
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["plan.json", "train-000000.done.json", "train-000000.rows.parquet"])
def test_a_pipe_in_a_build_is_no_file_and_no_hang(release: Path, tmp_path: Path, name: str) -> None:
    build(config(release, tmp_path))
    before = tree(tmp_path)
    (tmp_path / DEVICE / name).unlink()
    os.mkfifo(tmp_path / DEVICE / name)
    build(config(release, tmp_path))
    assert tree(tmp_path) == before


def test_shards_without_their_plan_are_of_a_config_that_nobody_knows(release: Path, tmp_path: Path) -> None:
    build(config(release, tmp_path))
    for name in ("plan.json", "dataset.json"):
        (tmp_path / DEVICE / name).unlink()
    with pytest.raises(UsageError, match=r"without plan\.json"):
        build(config(release, tmp_path, zstd_level=9))


def test_all_among_the_devices_means_all(release: Path) -> None:
    entries = read_release(str(release)).entries
    for wanted in (["all"], ["all", DEVICE], [DEVICE, "all"]):
        assert inputs.select_devices(entries, wanted, "src") == [DEVICE]


def test_a_changed_config_names_what_changed(release: Path, tmp_path: Path) -> None:
    build(config(release, tmp_path))
    with pytest.raises(UsageError, match=r"zstd_level: 3 -> 9") as caught:
        build(config(release, tmp_path, zstd_level=9))
    assert "\n" not in str(caught.value)
    build(config(release, tmp_path, workers=2))  # speed may change


def test_a_changed_manifest_and_another_format_stop_too(release: Path, tmp_path: Path) -> None:
    cfg = config(release, tmp_path / "dst")
    build(cfg)
    other = unpacked(tmp_path / "other", [sound(1)], SPLITS)
    with pytest.raises(UsageError, match="another manifest"):
        build(dataclasses.replace(cfg, src=str(other)))
    plan = tmp_path / "dst" / DEVICE / "plan.json"
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "format": 0}))
    with pytest.raises(UsageError, match="format 0, want 2"):
        build(cfg)


def test_a_device_that_the_manifest_does_not_list(release: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its manifest lists topcon_triton"):
        run.shard(config(release, tmp_path), ["zeiss_cirrus"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fit", "squeeze"),
        ("target_spacing", [0.1, 0.1]),
        ("image_size", [0, 8, 8]),
        ("include_geometry", ["spiral"]),
        ("target_spacing", [0.1, 0.1, float("nan")]),
        ("target_spacing", [0.1, 0.1, float("inf")]),
        ("image_size", [8, 8, -1]),
        ("zstd_level", 0),
        ("zstd_level", 23),
        ("workers", -1),
        ("shard_bytes", 0),
        ("max_voxels", 0),
        ("max_output_voxels", 0),
        ("decode_timeout_s", float("nan")),
        ("decode_timeout_s", float("inf")),
        ("decode_timeout_s", 1e10),
        ("worker_memory", 2**64),
    ],
)
def test_a_wrong_value_is_named(release: Path, tmp_path: Path, key: str, value: object) -> None:
    cfg = dataclasses.replace(config(release, tmp_path), **{key: value})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=key) as caught:
        build(cfg)
    assert "want" in str(caught.value)
    assert key == "include_geometry" or str(value)[:4] in str(caught.value)


def test_a_missing_place_is_named(release: Path) -> None:
    with pytest.raises(UsageError, match="want both"):
        build(PrepConfig(src=str(release)))


def test_a_failing_store_is_one_line_naming_the_shard(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = store.open_write

    def full(url: str) -> object:
        if url.endswith(shard_writer.TAR):
            raise store.StoreError(f"{url}: the disk is full")
        return create(url)

    monkeypatch.setattr(store, "open_write", full)
    with pytest.raises(OctshardError, match="the disk is full") as caught:
        build(config(release, tmp_path, workers=2))
    assert re.search(r": (train|val)-00000\d: ", str(caught.value))
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    build(config(release, tmp_path))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_decoder_that_crashes_every_time_costs_one_row(
    release: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    bad = sound(4, "1001").scan.sop_instance_uid
    planted = Planted(str(release), {bad: "crash"})
    monkeypatch.setattr(inputs, "open_source", lambda *_: planted)
    assert build(config(release, tmp_path, workers=workers)).refused == {
        "decoder_crash": 1,
        "missing_file": 1,
        "truncated": 1,
    }
    dataset = tables.open_dataset(str(tmp_path / DEVICE))
    (row,) = (row for row in dataset.refused if row.reason == "decoder_crash")
    assert row.sop_instance_uid == bad
    assert "SIGSEGV" in row.detail
    monkeypatch.undo()  # it was the machine's doing: the same command tries that file again
    build(config(release, tmp_path, workers=workers))
    assert tree(tmp_path) == undisturbed


def copied(file: File, uid: str, participant: str) -> File:
    """The same bytes under another path and another UID of the manifest."""
    return File(dataclasses.replace(file.scan, sop_instance_uid=uid, participant=participant), file.data)


@pytest.mark.parametrize("shard_bytes", [1, 10**9])
def test_the_same_bytes_under_another_uid_are_a_duplicate(tmp_path: Path, shard_bytes: int) -> None:
    """Kept is the first in path order, whatever the shards, and whenever it came."""
    files = [sound(1), copied(sound(1), "2.25.9", "4001"), copied(sound(1), "2.25.8", "7001"), sound(2)]
    people = {"1001": "train", "4001": "train", "7001": "val"}
    root = unpacked(tmp_path / "release", files, people)
    first = root / files[0].path

    def reasons(dst: Path) -> list[str]:
        rows = tables.open_dataset(str(dst / DEVICE)).rows
        details = {row.source: (row.reason, row.detail) for row in rows}
        found = [details[file.path] for file in files]
        kept = next(i for i, (reason, _) in enumerate(found) if not reason)
        assert all(files[kept].path in detail for reason, detail in found if reason == "duplicate")
        return [reason for reason, _ in found]

    cfg = config(root, tmp_path / "at once", shard_bytes=shard_bytes)
    build(cfg)
    assert reasons(tmp_path / "at once") == ["", "duplicate", "duplicate", ""]

    data = first.read_bytes()
    first.unlink()
    late = config(root, tmp_path / "late", shard_bytes=shard_bytes)
    build(late)
    assert reasons(tmp_path / "late") == ["missing_file", "", "duplicate", ""]
    first.write_bytes(data)
    build(late)
    assert tree(tmp_path / "late") == tree(tmp_path / "at once")
    reports: list[tuple[int, int, str]] = []
    cfg = config(root, tmp_path / "told", shard_bytes=shard_bytes)
    run.shard(cfg, ["all"], lambda *report: reports.append(report))
    assert reports[-1][:2] == (4, 4)
    assert ", 2 refused, " in reports[-1][2]


STATES = [  # of the first of two twins, for two runs; in flight: its shard was not done when the first ended
    ("cut", "whole", True),
    ("cut", "whole", False),
    ("absent", "whole", True),
    ("absent", "whole", False),
    ("whole", "absent", True),
    ("whole", "cut", True),
]


@pytest.mark.parametrize(("first", "then", "in_flight"), STATES)
def test_twins_are_settled_anew_when_a_run_goes_on(
    tmp_path: Path, first: str, then: str, in_flight: bool
) -> None:
    """Whatever an earlier run found, the folder becomes what a new one would be."""
    files = [sound(1, "1001"), sound(1, "4001"), sound(2, "1001"), sound(3, "7001")]
    root = unpacked(tmp_path / "release", files, {"1001": "train", "4001": "val", "7001": "test"})

    def put(state: str) -> None:
        (root / files[0].path).unlink(missing_ok=True)
        if state != "absent":
            data = files[0].data or b""
            (root / files[0].path).write_bytes(data if state == "whole" else data[:-100])

    put(first)
    cfg = config(root, tmp_path / "dst")
    build(cfg)
    if in_flight:
        rows = tables.open_dataset(str(tmp_path / "dst" / DEVICE)).rows
        assert {row.split for row in rows if row.source == files[0].path} == {"train"}
        (tmp_path / "dst" / DEVICE / "train-000000.done.json").unlink()
        (tmp_path / "dst" / DEVICE / "dataset.json").unlink()
    put(then)
    again = build(cfg)
    stored = {"whole": files[0], "cut": files[1], "absent": files[1]}[then]
    rows = [row for row in tables.open_dataset(str(tmp_path / "dst" / DEVICE)).rows if row.status == "ok"]
    assert {row.source for row in rows} == {stored.path, files[2].path, files[3].path}
    assert again.kept == 1  # only the test split had nothing to do with it
    build(dataclasses.replace(cfg, dst=str(tmp_path / "anew")))
    assert tree(tmp_path / "dst") == tree(tmp_path / "anew")


class Nameless(File):
    """A file of which neither the manifest nor its name tells the UID."""

    @property
    def path(self) -> str:
        return super().path.replace(f"_{self.scan.sop_instance_uid}", "")

    def row(self) -> list[str]:
        return ["" if word == self.scan.sop_instance_uid else word for word in super().row()]


def test_a_uid_that_only_the_headers_tell_makes_a_duplicate_too(tmp_path: Path) -> None:
    made = [sound(1, "1001"), sound(1, "4001"), sound(2, "7001")]
    files = [Nameless(file.scan, file.data) for file in made]
    root = unpacked(tmp_path / "release", files, {"1001": "train", "4001": "val", "7001": "test"})
    build(config(root, tmp_path / "dst"))
    rows = {row.source: row for row in tables.open_dataset(str(tmp_path / "dst" / DEVICE)).rows}
    assert [rows[file.path].reason for file in files] == ["", "duplicate", ""]
    assert files[0].path in rows[files[1].path].detail
    assert rows[files[1].path].sop_instance_uid == made[0].scan.sop_instance_uid


@pytest.mark.parametrize("from_zip", [False, True])
def test_a_path_at_which_no_file_can_be_is_a_missing_file(tmp_path: Path, from_zip: bool) -> None:
    files = [sound(i) for i in range(6)]
    root = (zipped if from_zip else unpacked)(tmp_path / "release", files, {"1001": "train"})
    if not from_zip:
        folder, pipe, loop = (root / file.path for file in files[:3])
        for path in (folder, pipe, loop):
            path.unlink()
        folder.mkdir()
        os.mkfifo(pipe)
        loop.symlink_to(loop.name)
    table = (root / "manifest.tsv").read_text()
    for i, name in ((3, "below.dcm/x.dcm"), (4, "1001_" + "x" * 300 + ".dcm")):
        table = table.replace(Path(files[i].path).name, name)
    (root / "manifest.tsv").write_text(table)
    (root / files[3].path).parent.mkdir(parents=True, exist_ok=True)
    (root / files[3].path).with_name("below.dcm").write_bytes(b"a file, where a folder is wanted")
    cfg = config(root, tmp_path / "dst", from_zip=from_zip)
    wanted = {"missing_file": 2 if from_zip else 5}
    assert build(cfg).refused == wanted
    again = build(cfg)
    assert (again.refused, again.kept) == (wanted, again.shards)


def test_all_devices_are_done_though_one_is_absent(tmp_path: Path) -> None:
    absent = [
        dataclasses.replace(sound(1), device=device, data=None)
        for device in ("heidelberg_spectralis", "topcon_maestro2")
    ]
    root = unpacked(tmp_path / "release", [*absent, sound(2)], {"1001": "train"})
    one, other = (rf"the 1 listed files of {file.device}" for file in absent)
    text = rf"not one of {one} and of {other} is there; .*; done: topcon_triton$"
    with pytest.raises(OctshardError, match=text) as caught:
        run.shard(config(root, tmp_path / "dst"), ["all"])
    assert "\n" not in str(caught.value)
    assert tables.open_dataset(str(tmp_path / "dst" / DEVICE)).info["counts"]["stored"] == 1


def test_kept_are_shards_that_hold_something_and_were_not_made_again(tmp_path: Path) -> None:
    files = [sound(1), changed(2, lambda data: data[:-100], "4001")]
    root = unpacked(tmp_path / "release", files, SPLITS)
    cfg = config(root, tmp_path / "dst")
    assert [build(cfg).kept for _ in range(2)] == [0, 1]  # of two, one holds nothing
    assert build(cfg).shards == 1


def test_equal_pixels_of_other_people_are_flagged(tmp_path: Path) -> None:
    other = dataclasses.replace(sound(1, "4001").scan, sop_instance_uid="2.25.9")
    files = [sound(1), File(other, writer.write(other)), sound(2)]
    root = unpacked(tmp_path / "release", files, SPLITS)
    build(config(root, tmp_path))
    rows = {row.source: row for row in tables.open_dataset(str(tmp_path / DEVICE)).rows}
    assert [rows[file.path].flags for file in files] == [("equal_pixels",), ("equal_pixels",), ()]
    assert {row.status for row in rows.values()} == {"ok"}


@pytest.mark.parametrize(
    ("limit", "stops"), [("1", True), ("2", False), ("10%", True), ("20%", False), ("", False)]
)
def test_too_many_refusals_fail_the_run_and_lose_nothing(
    release: Path, undisturbed: dict[str, bytes], tmp_path: Path, limit: str, stops: bool
) -> None:
    """Two of eleven files are refused."""
    cfg = config(release, tmp_path, max_refused=limit, workers=2)
    if stops:
        with pytest.raises(OctshardError, match=r"2 of .* files are refused so far, want at most 1"):
            build(cfg)
        assert not (tmp_path / DEVICE / "dataset.json").exists()
        build(dataclasses.replace(cfg, max_refused="2"))
    else:
        build(cfg)
    assert tree(tmp_path) == undisturbed


@pytest.mark.parametrize("text", ["-1", "few", "5 %%", "nan", "inf", "1e400", "inf%"])
def test_a_limit_of_refusals_that_is_no_number_is_named(release: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="max_refused"):
        build(config(release, tmp_path, max_refused=text))


def test_a_limit_draws_files_by_the_seed(release: Path, tmp_path: Path) -> None:
    drawn = {}
    for seed in (0, 1):
        for name in ("a", "b"):
            build(config(release, tmp_path / f"{name}{seed}", limit=4, seed=seed))
            rows = tables.open_dataset(str(tmp_path / f"{name}{seed}" / DEVICE)).rows
            drawn[name, seed] = {row.source for row in rows}
    assert len(drawn["a", 0]) == 4
    assert drawn["a", 0] == drawn["b", 0] != drawn["a", 1]
    with pytest.raises(UsageError, match="limit"):
        build(config(release, tmp_path / "a0", limit=5))


def test_shards_from_zips_are_those_from_unpacked_files(
    release: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    files = [sound(i, "1001" if i % 3 else "4001") for i in range(9)]
    files += [changed(20, lambda data: None), changed(21, lambda data: data[:-100])]
    root = zipped(tmp_path / "zips", files, SPLITS)
    cfg = config(root, tmp_path, from_zip=True, workers=2)
    with log_lines() as lines:
        run.shard(cfg, [DEVICE])
    assert tree(tmp_path) == undisturbed
    assert lines == []
    # and a run that was begun from one may be finished from the other
    (tmp_path / DEVICE / "train-000001.done.json").unlink()
    build(config(release, tmp_path))
    assert tree(tmp_path) == undisturbed


@pytest.mark.ray
def test_a_ray_cluster_gives_the_same_bytes(
    release: Path, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    try:
        build(config(release, tmp_path, engine="ray"))  # which starts a small cluster, as there is none
        assert tree(tmp_path) == undisturbed
        assert signal.getsignal(signal.SIGTERM) == before  # Ray takes it over
        assert build(config(release, tmp_path, engine="ray")).kept > 3
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_a_run_killed_20_times_at_random_moments_ends_with_the_undisturbed_bytes(
    release: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Killed by the clock, at moments drawn over the whole length of a run, with one worker or two."""
    rng = rng_for("kill")
    script = tmp_path / "run.py"
    cfg = config(release, tmp_path / "dst")
    killed, length = 0, 2.0
    while killed < 20:
        cfg.workers = int(rng.integers(1, 3))
        script.write_text(KILLED.format(after=-1, values=dataclasses.asdict(cfg)))
        env = {**os.environ, "PYTHONPATH": str(Path(run.__file__).parents[3])}
        begun = time.monotonic()
        process = subprocess.Popen([sys.executable, script], env=env)
        try:
            process.wait(timeout=float(rng.uniform(0.2, 1.0)) * length)
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        else:  # it came through: begin anew, and be quicker next time
            length = time.monotonic() - begun
            assert tree(tmp_path / "dst") == undisturbed
            shutil.rmtree(tmp_path / "dst" / DEVICE)
        process.wait()
    build(config(release, tmp_path / "dst"))
    assert tree(tmp_path / "dst") == undisturbed


class Held:
    """Stands for Ray with two cores; of the tasks only the first ends, with `rows` or a failure."""

    exceptions = SimpleNamespace(RayError=KeyError)

    def __init__(self, rows: list[SampleRow] | None) -> None:
        self.rows, self.tasks, self.cancelled = rows, list[int](), list[int]()
        self.waited_for: list[list[int]] = []

    def put(self, value: object) -> object:
        return value

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def remote(self, **_: object) -> object:
        def give(*_: object) -> int:
            self.tasks.append(len(self.tasks))
            return self.tasks[-1]

        return lambda _: SimpleNamespace(remote=give)

    def wait(self, running: list[int], **_: object) -> tuple[list[int], list[int]]:
        self.waited_for.append(running)
        return running[:1], running[1:]

    def get(self, task: int) -> list[SampleRow]:
        if self.rows is None:
            raise KeyError("its worker died")
        return self.rows

    def cancel(self, task: int, *, force: bool) -> None:
        assert force
        self.cancelled.append(task)


@pytest.mark.parametrize("why", ["failed", "interrupted"])
def test_tasks_of_a_cluster_do_not_outlive_the_build(release: Path, tmp_path: Path, why: str) -> None:
    cfg = config(release, tmp_path)
    whole = read_release(str(release))
    entries = [entry for entry in whole.entries if entry.device == DEVICE]
    shards = inputs.device_plan(cfg, whole, entries)
    build(cfg)
    rows = tables.open_dataset(str(tmp_path / DEVICE)).rows

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    ray = Held(None if why == "failed" else rows[:1])
    count = ProgressCounter(DEVICE, 11, interrupt, None)
    work = Work(WorkerJob(cfg, source.FolderSource(str(release))), str(tmp_path / DEVICE), count)
    with pytest.raises(OctshardError if why == "failed" else KeyboardInterrupt):
        ray_cluster._submit_all(shards, work, ray)
    assert ray.tasks == [0, 1, 2, 3]  # two for each core
    assert ray.cancelled == ray.waited_for[-1] == [1, 2, 3]


def test_the_device_folder_may_lie_in_memory(release: Path) -> None:
    cfg = dataclasses.replace(config(release, Path()), dst="memory://engine-test")
    build(cfg)
    assert tables.open_dataset(f"memory://engine-test/{DEVICE}").info["counts"]["stored"] == 9
    assert shard_writer.DONE in "".join(store.list_names(f"memory://engine-test/{DEVICE}"))


def test_the_device_folder_may_lie_in_cloud_storage(
    release: Path, undisturbed: dict[str, bytes], cloud: str
) -> None:
    cfg = dataclasses.replace(config(release, Path()), dst=f"{cloud}/shards")
    build(cfg)
    for name, data in undisturbed.items():
        assert store.read(f"{cloud}/shards/{DEVICE}/{name}") == data
    assert build(cfg).kept >= 4


def test_zips_that_hold_nothing_whole_are_not_advised(tmp_path: Path) -> None:
    """To read the ZIPs would be no help to who has just done so."""
    root = zipped(tmp_path / "zips", [sound(1)], SPLITS)
    (path,) = root.rglob("*.zip")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1  # the CRC no longer holds
    path.write_bytes(data)
    with pytest.raises(
        OctshardError, match=r"not one of the 1 listed files .* can be read; .*; fetch them again"
    ) as raised:
        build(config(root, tmp_path / "dst", from_zip=True))
    assert "--from-zip" not in str(raised.value)


@dataclasses.dataclass(frozen=True)
class Listed(File):
    """A file with a name that says nothing, under any UID of the manifest; empty: it gives none."""

    name: str = ""
    uid: str = ""

    @property
    def path(self) -> str:
        return f"retinal_oct/structural_oct/{self.device}/{self.scan.participant}/{self.name}.dcm"

    def row(self) -> list[str]:
        return [*super().row()[:-2], self.uid, self.path]


@pytest.mark.parametrize("listed_uid", ["", "2.25.7"])
def test_one_uid_for_all_files_loses_none_of_them(tmp_path: Path, listed_uid: str) -> None:
    """As an anonymiser may leave it, in the manifest or not: people, eyes and pixels differ."""
    files = []
    for i, (person, eye) in enumerate([("1001", "L"), ("1001", "R"), ("4001", "L"), ("1001", "L")]):
        scan = dataclasses.replace(sound(i, person).scan, eye=eye, sop_instance_uid="2.25.7")
        files.append(Listed(scan, writer.write(scan), name=str(i), uid=listed_uid))
    root = unpacked(tmp_path / "release", files, SPLITS)
    assert build(config(root, tmp_path / "dst")).stored == 4
    dataset = tables.open_dataset(str(tmp_path / "dst" / DEVICE))
    assert {"shared_uid" in row.flags for row in dataset.rows} == {True}
    assert len({row.key for row in dataset.rows}) == 4
    assert verify.verify(dataset.url, True) == []


@pytest.mark.parametrize(("workers", "from_zip"), [(1, False), (3, True)])
def test_one_scan_under_other_uids_is_stored_once_whatever_the_run(
    tmp_path: Path, workers: int, from_zip: bool
) -> None:
    """b: encoded anew; c: under another UID in its header too; d: the bytes of a under another UID."""
    scan = sound(1).scan
    files = [Listed(scan, writer.write(scan), name="a", uid=scan.sop_instance_uid)]
    for name, changes in (("b", {"encoding": "j2k"}), ("c", {"sop_instance_uid": "2.25.99"}), ("d", {})):
        made = dataclasses.replace(scan, **changes)  # type: ignore[arg-type]
        files.append(Listed(made, writer.write(made), name=name, uid=f"2.25.{ord(name)}"))
    root = (zipped if from_zip else unpacked)(tmp_path / "release", [*files, sound(2)], SPLITS)
    cfg = config(root, tmp_path / "dst", workers=workers, from_zip=from_zip)
    assert (build(cfg).stored, build(cfg).refused) == (2, {"duplicate": 3})
    details = {row.source[-5]: row.detail for row in tables.open_dataset(str(tmp_path / "dst" / DEVICE)).rows}
    kinds = ("voxels", "voxels", "bytes")
    assert [details[name] for name in "bcd"] == [f"same {kind} as {files[0].path}" for kind in kinds]
    before = tree(tmp_path / "dst")
    for path in (tmp_path / "dst" / DEVICE).glob("*.done.json"):
        path.unlink()  # as if the run had been killed
        build(cfg)
    assert tree(tmp_path / "dst") == before
