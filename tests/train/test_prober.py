"""Probes while training: the run is the same with and without, whatever becomes of their process."""

import contextlib
import os
import queue
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from octshard.config.train import TrainConfig
from octshard.dataset import tables
from octshard.devices.select import open_backend
from octshard.errors import UsageError
from octshard.models import checkpoint, run_checkpoint
from octshard.probes import worker_process
from octshard.probes.task import ProbeScores
from octshard.probes.worker_process import ProbeFailed
from octshard.train import loop, metrics_log, prober
from octshard.train.inputs import load_inputs
from octshard.train.prober import Prober, Snapshot, SnapshotResult
from tests.support.log_lines import log_lines
from tests.support.tiny_run import config_for, write_dataset

LENGTH = ("run.samples_budget=32", "run.checkpoint_every_epochs=1")  # 8 steps, checkpoints at 5 and 8
CLOCKS = {"volumes_per_s_per_device", "data_wait", "data_wait_worst_s", "data_wait_worst_step"}
SCORES = ("probe_knn", "probe_linear", "probe_random_knn", "probe_random_linear")
INDEX = ("probe_robustness", "probe_random_robustness")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21, "val": 20})


@pytest.fixture(autouse=True)
def _priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of the probes has that of the tests: they wait for it."""
    monkeypatch.setattr(worker_process, "NICE", 0)


@pytest.fixture(scope="module")
def people(shards: str) -> str:
    """A participants.tsv beside the shards, with classes in turn, and two sites that do not go with them."""
    rows = [row for row in tables.open_dataset(shards).rows if row.status == "ok"]
    lines = [
        f"{row.participant}\t{'ab'[i % 2]}\t{1.5 * i}\tall\t{'ns'[i // 2 % 2]}" for i, row in enumerate(rows)
    ]
    path = Path(shards).parent / "participants.tsv"
    path.write_text("\n".join(["person_id\tstudy_group\tthickness\tcohort\tclinical_site", *lines]) + "\n")
    return str(path)


def probed(shards: str, people: str, out: Path, *more: str) -> TrainConfig:
    words = ("run.probe_every=8", f"run.probe_participants={people}", *LENGTH, *more)
    return config_for(shards, out, *words)


def train(cfg: TrainConfig) -> list[str]:
    with log_lines() as lines:
        loop.train(cfg)
    return lines


def probes_of(out: Path) -> list[dict[str, Any]]:
    return [line for line in metrics_log.read(str(out)) if "probe" in line]


def others_of(out: Path) -> list[dict[str, Any]]:
    """The lines of the run itself, without clocks."""
    lines = [line for line in metrics_log.read(str(out)) if "probe" not in line]
    return [{name: value for name, value in line.items() if name not in CLOCKS} for line in lines]


def final_of(out: Path) -> Mapping[str, Any]:
    latest = checkpoint.latest(str(out))
    assert latest is not None
    return latest.payload


def same_run(a: Path, b: Path) -> bool:
    """Weights, moments and metrics, bit for bit."""
    old, new = final_of(a), final_of(b)
    weights = all(torch.equal(old["model"][name], new["model"][name]) for name in old["model"])
    moments, others = old["optimizer"]["state"], new["optimizer"]["state"]
    return (
        weights
        and all(torch.equal(moments[i][name], others[i][name]) for i in moments for name in moments[i])
        and others_of(a) == others_of(b)
    )


@pytest.fixture(scope="module")
def plain(shards: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run without probes."""
    out = tmp_path_factory.mktemp("plain")
    loop.train(config_for(shards, out, *LENGTH))
    return out


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Lets the process of the probes have a fault at its first snapshots."""

    def plant(kind: str, faulty: int) -> None:
        monkeypatch.setattr(worker_process, "MODULE", "tests.support.probe_faults")
        monkeypatch.setenv("OCTSHARD_TEST_FAULT", kind)
        monkeypatch.setenv("OCTSHARD_TEST_FAULTY", str(faulty))
        monkeypatch.setenv("OCTSHARD_TEST_COUNT", str(tmp_path / "count"))

    return plant


def children() -> set[int]:
    """Processes that this one started, ended ones that nobody waited for included."""
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    threads = Path("/proc/self/task").iterdir()
    return {int(pid) for thread in threads for pid in (thread / "children").read_text().split()} | {
        int(pid) for pid in text.split()
    }


def test_the_page_of_the_log_names_all_that_a_line_holds(plain: Path) -> None:
    page = (Path(prober.__file__).parents[2] / "docs" / "design" / "train.md").read_text()
    table = page[page.index("## The log of a run") :]
    scores = ProbeScores(0.5, 0.5, 0.5)
    lines = [*others_of(plain), prober.SnapshotResult(1, 4, "label", scores, scores, 1.0, "site").line()]
    names = CLOCKS.union(*lines, ["val_loss_position_only", "skill", "compiles", "fallbacks"])
    assert [name for name in sorted(names) if f"`{name}`" not in table] == []


def test_a_run_with_probes_is_the_run_without(shards: str, people: str, plain: Path, tmp_path: Path) -> None:
    before = children()
    lines = train(probed(shards, people, tmp_path))
    assert same_run(plain, tmp_path)
    assert children() == before
    probes = probes_of(tmp_path)
    assert probes[-1]["step"] == 8  # the last one is waited for
    assert all(probe["samples_seen"] == 4 * probe["step"] for probe in probes)
    assert all(0 <= probe[name] <= 1 for probe in probes for name in SCORES)
    assert [
        line for line in lines if line.startswith("probes: study_group (2 classes, macro AUROC) from 21 ")
    ]
    info = checkpoint.list_checkpoints(str(tmp_path))[-1]
    assert (info.step, info.score, info.score_name) == (8, probes[-1]["probe_linear"], probes[-1]["probe"])
    assert any(
        line.endswith("; robustness index by site (n, s) over 20 of the val volumes") for line in lines
    )
    last = probes[-1]
    assert (info.robustness, info.robustness_name) == (last["probe_robustness"], last["probe_nuisance"])
    assert last["probe_nuisance"].startswith("site, study_group, ")
    assert all(0 <= probe[name] <= 1 for probe in probes for name in INDEX)
    path, _ = run_checkpoint.load(f"{tmp_path}/best-robustness")
    index_of = {info.step: info.robustness for info in checkpoint.list_checkpoints(str(tmp_path))}
    assert index_of[int(path[-11:-3])] == max(filter(None, index_of.values()))


@pytest.mark.parametrize("objective", ["vjepa2", "mae"])
def test_numbers_are_scored_by_r2(shards: str, people: str, tmp_path: Path, objective: str) -> None:
    words = (f"objective.name={objective}", "run.probe_target=thickness", "run.probe_every=1000")
    train(probed(shards, people, tmp_path, *words))
    (last, *_) = reversed(probes_of(tmp_path))
    assert last["probe"].startswith("thickness, R2, ")
    assert not [name for name in last if "robustness" in name or "nuisance" in name]
    assert all(last[name] <= 1 for name in SCORES)


def test_a_control_without_the_index_that_is_asked_for_is_judged_again(shards: str, people: str) -> None:
    """As in a log of a run whose probes were of octshard 0.1, or by another nuisance."""
    cfg = probed(shards, people, Path("nowhere"))
    task, scores = task_of(cfg), ProbeScores(0.5, 0.25, 0.75)
    line = SnapshotResult(1, 4, task.name, scores, scores, 1.0, task.robustness_name).line()
    assert prober._known_control([line], task) == scores
    older = {name: value for name, value in line.items() if name not in ("probe_nuisance", *INDEX)}
    assert prober._known_control([older], task) is None
    assert prober._known_control([{**line, "probe_nuisance": "device"}], task) is None


def test_patience_by_an_index_that_is_not_there_is_refused(shards: str, people: str, tmp_path: Path) -> None:
    words = ("run.patience=2", "run.patience_by=robustness", "run.probe_site=''")
    with pytest.raises(
        UsageError, match=r"run.patience_by=robustness: there is no robustness index \(all val"
    ):
        loop.train(probed(shards, people, tmp_path, *words))
    assert not list(tmp_path.glob("**/*.pt"))


def test_after_a_killed_process_the_next_snapshot_gets_a_new_one(
    shards: str, people: str, tmp_path: Path, fault: Any, plain: Path
) -> None:
    """The last snapshot waits while the first is lost."""
    fault("kill", 1)
    before = children()
    lines = train(probed(shards, people, tmp_path, "run.probe_every=32"))
    warnings = [line for line in lines if line.startswith("WARNING the probe of step 5 failed: ")]
    assert len(warnings) == 1
    assert warnings[0].endswith(
        "its process was killed by SIGKILL; training goes on, the next snapshot gets a new process"
    )
    assert [probe["step"] for probe in probes_of(tmp_path)] == [8]
    assert same_run(plain, tmp_path)
    assert children() == before


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("kill", "its process was killed by SIGKILL"),
        ("hang", "its process said nothing for 0.5 s"),
        ("break", "its process ended with exit code 1 (no probes today)"),
    ],
)
def test_every_fault_is_one_line_and_after_three_in_a_row_there_are_no_more_probes(
    shards: str, people: str, tmp_path: Path, fault: Any, kind: str, reason: str
) -> None:
    fault(kind, 99)
    before = children()
    cfg = probed(shards, people, tmp_path, "run.probe_timeout_s=0.5")
    probes = Prober(cfg, task_of(cfg), None)
    with log_lines() as lines:
        for step in (1, 2, 3, 4):
            probes.submit(snapshot_of(step))
            while probes._is_busy():  # a hang takes as long as the end of a run would wait
                probes.finish(lambda: False)
        probes.close()
    failed = [line for line in lines if "failed: " in line]
    head = "WARNING the probe of step {} failed: {}; "
    assert failed[:2] == [
        f"{head.format(step, reason)}training goes on, the next snapshot gets a new process"
        for step in (1, 2)
    ]
    assert failed[2:] == [
        f"{head.format(3, reason)}that makes 3 in a row, so this run goes on without probes"
    ]
    assert probes.results() == []
    assert children() == before


def snapshot_of(step: int) -> Snapshot:
    """Its weights are its step, and more than a socket holds."""
    return Snapshot(step, 4 * step, {"weight": torch.full((500_000,), float(step))})


def task_of(cfg: TrainConfig) -> Any:
    backend = open_backend(cfg.run)
    return prober.make_task(cfg, load_inputs(cfg, backend), backend)


class FakeWorker:
    """Stands in for the process: it answers when it is told to."""

    def __init__(self, answers: int = 0) -> None:
        self.control = ProbeScores(0.5, 0.5)
        self.answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        for _ in range(answers):
            self.answers.put(True)
        self.judged: list[float] = []

    def __call__(self, job: Any) -> "FakeWorker":
        return self

    def judge(self, weights: Any) -> ProbeScores:
        self.judged.append(float(next(iter(weights.values())).flatten()[0]))
        if not self.answers.get(timeout=60):
            raise ProbeFailed("killed")
        return ProbeScores(0.6, 0.7)

    def kill(self) -> None:
        self.answers.put(False)

    def end(self) -> None:
        pass


def test_of_waiting_snapshots_the_newest_wins(
    shards: str, people: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, fake = probed(shards, people, tmp_path), FakeWorker()
    monkeypatch.setattr(prober, "WorkerProcess", fake)
    probes = Prober(cfg, task_of(cfg), None)
    with log_lines() as lines:
        probes.submit(snapshot_of(1))
        while not fake.judged:
            assert probes.results() == []
        for step in (2, 3, 4):
            probes.submit(snapshot_of(step))
        fake.answers.put(True)
        fake.answers.put(True)
        probes.finish(lambda: False)
        results = probes.results()
        probes.close()
    assert fake.judged == [1.0, 4.0]
    assert [(result.step, result.samples_seen) for result in results] == [(1, 4), (4, 16)]
    assert results[0].line()["probe_linear"] == 0.7
    assert lines[-1].startswith("snapshots that a newer one replaced before a probe was free: 2;")


class ScoreOfStep2:
    """A Prober that has judged step 2 by the time that step 3 is made."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def submit(self, snapshot: Snapshot) -> None:
        self.steps.append(snapshot.step)

    def results(self) -> list[SnapshotResult]:
        scores = ProbeScores(0.5, 0.9)
        return [SnapshotResult(2, 8, "label", scores, scores, 1.0)] if self.steps[-1:] == [2] else []

    def finish(self, is_stopped: Callable[[], bool]) -> None:
        pass


def test_a_score_that_has_come_counts_before_checkpoints_are_pruned(
    shards: str, people: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the next line of the log is far away."""
    monkeypatch.setattr(prober, "open_prober", lambda *_: contextlib.nullcontext(ScoreOfStep2()))
    every_step = ("run.checkpoint_every_epochs=0.1", "run.keep_last=0", "run.log_every_steps=1000")
    cfg = probed(shards, people, tmp_path, *every_step, "run.val_samples=0", "run.samples_budget=48")
    loop.train(cfg)
    infos = checkpoint.list_checkpoints(cfg.run.out)
    assert [(info.step, info.score) for info in infos if not info.milestone] == [(2, 0.9)]


def test_a_stop_ends_the_wait_for_the_last_probe(
    shards: str, people: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, fake = probed(shards, people, tmp_path), FakeWorker()
    monkeypatch.setattr(prober, "WorkerProcess", fake)
    probes = Prober(cfg, task_of(cfg), None)
    probes.submit(snapshot_of(1))
    probes.finish(lambda: True)
    probes.close()


def test_the_end_waits_no_longer_than_the_setting_says(
    shards: str, people: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = probed(shards, people, tmp_path, "run.probe_timeout_s=0.01")
    monkeypatch.setattr(prober, "WorkerProcess", FakeWorker())
    probes = Prober(cfg, task_of(cfg), None)
    with log_lines() as lines:
        probes.submit(snapshot_of(1))
        probes.finish(lambda: False)
        probes.close()
    assert lines[-1] == "WARNING the last probe is not done after 0.01 s; the run ends without it"
    assert probes.results() == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run.probe_participants=''"], "run.probe_participants: not set"),
        (["run.probe_target=study_grp"], "no label column 'study_grp'; did you mean study_group?"),
        (["run.probe_target=cohort"], "label cohort has one value, 'all', want at least 2 classes"),
        (["run.probe_samples=3"], "labelled participants drawn: train 3, val 3"),
        (["run.probe_device=gpu"], "run.probe_device=gpu: want cpu, or a GPU by its number"),
        (["run.probe_device=cuda:7"], r"run.probe_device=cuda:7: torch sees (\d+|no) GPUs here, want "),
        (["run.probe_every=-1"], "run.probe_every=-1: want at least 0"),
    ],
)
def test_what_cannot_be_probed_is_said_before_anything_is_made(
    shards: str, people: str, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        loop.train(probed(shards, people, tmp_path / "run", *words))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_resumed_run_judges_what_was_not_and_nothing_twice(
    shards: str, people: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at step 5, where a checkpoint is due; its snapshot was not judged yet."""
    cfg = probed(shards, people, tmp_path, "run.probe_every=1000")
    monkeypatch.setattr(prober, "WorkerProcess", FakeWorker())
    loop.train(cfg, lambda step, *_: os.kill(os.getpid(), signal.SIGTERM) if step == 5 else None)
    assert probes_of(tmp_path) == []
    monkeypatch.setattr(prober, "WorkerProcess", FakeWorker(answers=2))
    train(cfg)
    assert [probe["step"] for probe in probes_of(tmp_path)] == [5, 8]
    for path in (tmp_path / "checkpoints").glob("step-00000008.*"):
        path.unlink()
    third = FakeWorker(answers=2)
    monkeypatch.setattr(prober, "WorkerProcess", third)
    train(cfg)
    assert len(third.judged) == 1
    assert [probe["step"] for probe in probes_of(tmp_path)] == [5, 8]


SCRIPT = """
import os, signal, sys
from octshard.train import loop
from tests.support.tiny_run import config_for

def on_progress(step, steps, note):
    if step == 4:
        children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
        tasks = os.listdir("/proc/self/task")
        pids = {p for t in tasks for p in open(f"/proc/self/task/{t}/children").read().split()}
        print(*pids, flush=True)
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))

loop.train(config_for(*sys.argv[2:]), on_progress)
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_the_process_of_the_probes_ends_with_the_run(
    shards: str, people: str, tmp_path: Path, name: str
) -> None:
    cfg_words = [
        "run.probe_every=4", f"run.probe_participants={people}", *LENGTH, "run.log_every_steps=1",
    ]  # fmt: skip
    words = [sys.executable, "-c", SCRIPT, name, shards, str(tmp_path / "run"), *cfg_words]
    # the pipe's end is the end of all who hold it: the run and its worker write to one stderr
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=400)
    pids = done.stdout.split()
    assert pids, done.stderr
    for pid in pids:
        wait_for_end(int(pid))


def wait_for_end(pid: int) -> None:
    """Returns once the process is gone: at the lowest priority it may long import before it looks."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], 100)[0], f"{pid} outlives its run"
    finally:
        os.close(handle)
