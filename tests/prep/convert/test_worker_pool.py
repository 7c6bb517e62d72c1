"""Children: a decoder that crashes, hangs or leaks costs one file; order, errors and bytes are kept."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing import forkserver
from pathlib import Path

import pytest

from octshard.config.prep import PrepConfig
from octshard.errors import OctshardError
from octshard.prep.build import shard_writer
from octshard.prep.convert import sample, worker, worker_exit, worker_pool
from octshard.prep.convert.sample import ConvertTask
from octshard.prep.convert.worker import WorkerJob
from octshard.prep.convert.worker_pool import ReadWriteLock, WorkerPool
from octshard.prep.plan import plan
from octshard.prep.readers import tiff
from octshard.prep.release.aireadi import read_release
from octshard.prep.release.entry import Entry
from octshard.prep.release.source import FolderSource
from octshard.storage.checksum import Buffer
from tests.support.image_files import b_scans, below
from tests.support.log_lines import log_lines
from tests.support.made_release import scan, sound, unpacked
from tests.support.planted import Planted
from tests.support.scan_folder import write

CFG = PrepConfig(
    target_spacing=[0.08, 0.04, 0.04],
    image_size=[4, 8, 8],
    decode_timeout_s=120.0,  # a busy machine is no hanging decoder
    worker_memory=500_000_000,
)
SHORT = replace(CFG, decode_timeout_s=2.0)
COUNT = 6


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    files = [sound(i) for i in range(COUNT)]
    return str(unpacked(tmp_path_factory.mktemp("release"), files, {"1001": "train"}))


@dataclass(frozen=True)
class FatalImages(FolderSource):
    """The process ends when the pixels of a TIFF are asked for."""

    def read(self, entry: Entry) -> Buffer:
        tiff.Pages.__getitem__ = lambda *_: os._exit(7)  # type: ignore[assignment, method-assign]
        return super().read(entry)


def tasks(root: str) -> list[ConvertTask]:
    release = read_release(root)
    (shard_plan,) = plan(release.entries, release.splits, CFG)
    return shard_writer.tasks(shard_plan, {})


def uid(number: int) -> str:
    return sound(number).scan.sop_instance_uid


def reasons(root: str, source: Planted, workers: int, cfg: PrepConfig = CFG) -> dict[str, tuple[str, str]]:
    with WorkerPool(WorkerJob(cfg, source), workers) as children:
        results = list(children.in_order(tasks(root)))
    assert [result.row.source for result in results] == [task.member.entry.path for task in tasks(root)]
    assert all(bool(result.data) == (result.row.status == "ok") for result in results)
    return {result.row.sop_instance_uid: (result.row.reason, result.row.detail) for result in results}


def test_children_make_what_this_process_makes(root: str) -> None:
    source = Planted(root)
    with WorkerPool(WorkerJob(CFG, source), 2) as children:
        results = list(children.in_order(tasks(root)))
    assert results == [sample.convert(task, CFG, source) for task in tasks(root)]


@pytest.mark.parametrize(
    ("kind", "reason", "text"),
    [
        ("crash", "decoder_crash", "SIGSEGV"),
        ("exit", "decoder_crash", "exit code 7"),
        ("hang", "decoder_timeout", "not done 2 s after"),
        ("swell", "decoder_crash", "more than 0.5 GB"),
    ],
)
def test_a_bad_decoder_costs_one_file(root: str, kind: str, reason: str, text: str) -> None:
    cfg = SHORT if kind == "hang" else CFG
    outcomes = reasons(root, Planted(root, {uid(2): kind}), workers=2, cfg=cfg)
    assert outcomes.pop(uid(2))[0] == reason
    assert set(outcomes.values()) == {("", "")}
    detail = reasons(root, Planted(root, {uid(2): kind}), workers=1, cfg=cfg)[uid(2)][1]
    assert text in detail
    assert detail.startswith("twice")


def test_a_file_that_only_once_killed_its_child_is_stored(root: str, tmp_path: Path) -> None:
    kinds = {uid(1): "crash", uid(4): "exit"}
    outcomes = reasons(root, Planted(root, kinds, str(tmp_path)), workers=2)
    assert set(outcomes.values()) == {("", "")}
    assert {path.name for path in tmp_path.iterdir()} == {uid(1), uid(4)}  # the decoder was planted


def test_an_error_of_ours_comes_out_and_ends_the_children(root: str) -> None:
    before = threading.active_count()
    with (
        pytest.raises(ZeroDivisionError, match="a bug of ours"),
        WorkerPool(WorkerJob(CFG, Planted(root, {uid(3): "wrong"})), 2) as children,
    ):
        list(children.in_order(tasks(root)))
    assert all(child.ended for child in children._children)
    assert threading.active_count() <= before + 1  # multiprocessing may keep one


def test_leaving_early_does_not_wait_for_a_hanging_decoder(root: str) -> None:
    cfg = replace(CFG, decode_timeout_s=3600.0)
    begun = time.monotonic()
    kinds = {uid(number): "hang" for number in range(COUNT)}
    with WorkerPool(WorkerJob(cfg, Planted(root, kinds)), 2) as children:
        futures = [children.submit(task) for task in tasks(root)]
        while not any(future.running() for future in futures):
            time.sleep(0.01)
    assert time.monotonic() - begun < 600  # and not an hour
    for future in futures:
        assert future.cancelled() or isinstance(future.exception(), OctshardError)


def test_a_killed_child_is_replaced(root: str) -> None:
    with WorkerPool(WorkerJob(CFG, Planted(root)), 1) as children:
        first = children.submit(tasks(root)[0]).result()
        (child,) = children._children
        os.kill(child._process.pid or 0, signal.SIGKILL)
        child._process.join()
        assert children.submit(tasks(root)[0]).result() == first


def test_a_child_killed_in_the_middle_of_a_message_is_replaced(root: str, tmp_path: Path) -> None:
    outcomes = reasons(root, Planted(root, {uid(1): "cut"}, str(tmp_path)), workers=1)
    assert set(outcomes.values()) == {("", "")}


def test_a_file_whose_child_is_killed_again_and_again_stops_the_run_and_is_no_row(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "LONGEST_PAUSE_S", 0.0)
    text = rf"{uid(1)}.*: its worker process was ended from outside by SIGKILL, 20 times; .* run the same"
    with pytest.raises(OctshardError, match=text) as caught, log_lines() as lines:
        reasons(root, Planted(root, {uid(1): "cut"}), workers=1)
    assert "\n" not in str(caught.value)
    assert len(lines) == 20


def test_a_child_that_the_kernel_killed_for_want_of_memory_costs_its_file(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = itertools.count()
    monkeypatch.setattr(worker_exit, "oom_kills", lambda: next(kills))
    reason, detail = reasons(root, Planted(root, {uid(1): "cut"}), workers=1)[uid(1)]
    assert reason == "decoder_crash"
    assert detail == "twice: its process ended by SIGKILL, because the machine ran out of memory"


@pytest.mark.parametrize(("workers", "name"), [(1, "SIGKILL"), (2, "SIGTERM")])
def test_children_and_their_server_killed_again_and_again_make_the_same(
    root: str, workers: int, name: str
) -> None:
    """After every file that comes out, whoever is there gets a signal; the rows and bytes stay the same."""
    source = Planted(root)
    with WorkerPool(WorkerJob(CFG, source), workers) as children:
        results = []
        for i, result in enumerate(children.in_order(tasks(root) * 2)):
            results.append(result)
            victims = [child._process.pid for child in list(children._children) if not child.ended]
            if i % 3 == 2:
                victims.append(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid or 0, getattr(signal, name))
    assert results == [sample.convert(task, CFG, source) for task in tasks(root)] * 2


@pytest.mark.parametrize("kind", ["crash", "swell"])
def test_a_bad_twin_does_not_take_the_sound_one_with_it(tmp_path: Path, kind: str) -> None:
    """Of three files with one UID the first kills every child that looks at it; the second is stored."""
    people = ("1001", "4001", "7001")
    files = [sound(1, person) for person in people]
    files[2] = replace(files[2], data=files[1].data)
    root = str(unpacked(tmp_path, files, dict.fromkeys(people, "train")))
    with WorkerPool(WorkerJob(CFG, Planted(root, {files[0].path: kind})), 1) as children:
        rows = [result.row for result in children.in_order(tasks(root))]
    outcomes = {row.source: (row.reason, row.detail) for row in rows}
    assert outcomes[files[0].path][0] == "decoder_crash"
    assert outcomes[files[1].path] == ("", "")
    assert outcomes[files[2].path] == ("duplicate", f"same SOPInstanceUID or path as {files[1].path}")


@pytest.mark.timeout(120)
def test_a_decoder_that_crashes_after_a_companion_was_read_costs_one_file(tmp_path: Path) -> None:
    """A crash is that of the file in hand, though another path was read last, and it is tried twice."""
    root = tmp_path / "release"
    write(root, below("1/", b_scans(scan().voxels_DHW, "TIFF")))
    write(root, {"manifest.tsv": b"person_id\tfilepath\n1\t1/\n"})
    with WorkerPool(WorkerJob(CFG, FatalImages(str(root))), 1) as children:
        (row,) = [result.row for result in children.in_order(tasks(str(root)))]
    assert row.reason == "decoder_crash"
    assert "twice" in row.detail


def test_a_fork_server_that_is_gone_is_asked_again(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "PAUSE_S", 0.0)
    connect, failures = (
        forkserver.connect_to_new_process,
        [EOFError(), ConnectionRefusedError(111, "refused")],
    )

    def failing(fds: list[int]) -> object:
        if failures:
            raise failures.pop()
        return connect(fds)

    monkeypatch.setattr(forkserver, "connect_to_new_process", failing)
    assert set(reasons(root, Planted(root), workers=1).values()) == {("", "")}
    assert not failures
    failures += [EOFError()] * 100
    with pytest.raises(OctshardError, match=r"a worker could not be started \(EOFError\)"):
        reasons(root, Planted(root), workers=1)


def test_children_that_ended_leave_nothing_open(root: str) -> None:
    source = Planted(root, {uid(1): "exit", uid(3): "crash"})
    with WorkerPool(WorkerJob(CFG, source), 1) as children:
        list(children.in_order(tasks(root)))
        before = len(os.listdir("/proc/self/fd"))
        list(children.in_order(tasks(root) * 3))  # twelve of them end
        assert len(children._children) <= 1
        assert len(os.listdir("/proc/self/fd")) <= before
    assert not multiprocessing.active_children()


def test_children_and_their_server_are_deaf_to_ctrl_c_from_the_first_moment(root: str) -> None:
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    with WorkerPool(WorkerJob(CFG, Planted(root)), 1) as children:
        children.submit(tasks(root)[0]).result()
        server = Path(f"/proc/{forkserver._forkserver._forkserver_pid}/status").read_text()  # type: ignore[attr-defined]
        blocked = next(line.split()[1] for line in server.splitlines() if line.startswith("SigBlk"))
    assert int(blocked, 16) >> (signal.SIGINT - 1) & 1


def test_a_child_whose_parent_is_gone_ends_in_silence(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.pool, "init_worker", lambda: None)
    monkeypatch.setattr(worker, "_limit_memory", lambda most: None)
    ours, theirs = multiprocessing.Pipe()
    ours.send(tasks(root)[0])
    ours.close()
    worker.serve(theirs, WorkerJob(CFG, Planted(root)), {})  # raises nothing


def test_only_a_bounded_number_is_ahead(root: str) -> None:
    asked = []

    def counted() -> Iterator[ConvertTask]:
        for task in tasks(root) * 5:
            asked.append(task)
            yield task

    with WorkerPool(WorkerJob(CFG, Planted(root)), 1) as children:
        results = children.in_order(counted())
        next(results)
        assert len(asked) == 5  # four per child, and the one that came out


def test_alone_means_that_no_one_else_is_inside() -> None:
    gate, inside, worst = ReadWriteLock(), [0], [0]
    lonely: list[int] = []

    def beside() -> None:
        for _ in range(200):
            with gate.shared():
                inside[0] += 1
                worst[0] = max(worst[0], inside[0])
                inside[0] -= 1

    def alone() -> None:
        for _ in range(50):
            with gate.exclusive():
                lonely.append(inside[0])

    threads = [threading.Thread(target=act) for act in (beside, beside, alone, alone)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert lonely == [0] * 100
