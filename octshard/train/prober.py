"""Probes of a run: snapshots of the target encoder, judged in another process while the loop goes on.

One snapshot waits at most, and the newest wins. Whatever becomes of the process, the run only hears of it.
"""

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend
from octshard.errors import UsageError
from octshard.models.checkpoint_info import CheckpointScore
from octshard.probes import embedding
from octshard.probes import task as probe_task
from octshard.probes.protocol import ProbeJob, Weights
from octshard.probes.task import ProbeScores, ProbeTask
from octshard.probes.worker_process import ProbeFailed, WorkerProcess
from octshard.train import metrics_log, plan
from octshard.train.checkpointer import TrainState
from octshard.train.inputs import RunInputs
from octshard.train.setup import Run

logger = logging.getLogger(__name__)

MAX_FAILURES = 3  # in a row; then the run goes on without probes
LOOK_S = 0.2  # between two looks for a signal, once the loop is through
SCORE_NAMES = ("probe_knn", "probe_linear", "probe_robustness")
CONTROL_NAMES = ("probe_random_knn", "probe_random_linear", "probe_random_robustness")


class Snapshot(NamedTuple):
    """Weights of the target encoder, on the host, which nothing else changes."""

    step: int
    samples_seen: int
    weights: Weights


class SnapshotResult(NamedTuple):
    """Scores of a snapshot, beside those of the same encoder at random. Names are those of the task."""

    step: int
    samples_seen: int
    name: str
    scores: ProbeScores
    control: ProbeScores
    seconds: float
    robustness_name: str = ""

    def line(self) -> dict[str, Any]:
        """Of metrics.jsonl, at the step of the snapshot."""
        names = (*SCORE_NAMES, *CONTROL_NAMES)
        values = dict(zip(names, (*self.scores, *self.control), strict=True))
        head = {"step": self.step, "samples_seen": self.samples_seen, "probe": self.name}
        if self.robustness_name:
            head["probe_nuisance"] = self.robustness_name
        else:
            values = {name: value for name, value in values.items() if value is not None}
        return {**head, **values, "probe_seconds": self.seconds}

    def text(self) -> str:
        """For the log."""
        pairs = zip(("k-NN", "linear", "robustness index"), self.scores, self.control, strict=True)
        scores = ", ".join(
            f"{name} {score:.3f} (at random {control:.3f})"
            for name, score, control in pairs
            if score is not None and control is not None
        )
        return f"probe of step {self.step}: {scores}"

    @property
    def score(self) -> CheckpointScore:
        """By which the best checkpoint is chosen."""
        return CheckpointScore(self.name, self.scores.linear)

    @property
    def robustness(self) -> CheckpointScore | None:
        """By which the most robust checkpoint is chosen; None without an index."""
        value = self.scores.robustness
        return None if value is None else CheckpointScore(self.robustness_name, value)


def make_task(cfg: TrainConfig, inputs: RunInputs, backend: Backend) -> ProbeTask | None:
    """What the probes of a run read; None without any. UsageError if labels or device cannot be used."""
    if not cfg.run.probe_every:
        return None
    _check_device(cfg, backend)
    return probe_task.make_task(cfg.run, inputs.index, inputs.val_index)


class Prober:
    """Judges snapshots in a thread, which starts the process, feeds it and waits for it."""

    def __init__(self, cfg: TrainConfig, task: ProbeTask, control: ProbeScores | None) -> None:
        self._cfg, self._task, self._control = cfg, task, control
        self._changed = threading.Condition()  # guards what follows
        self._waiting: Snapshot | None = None
        self._busy = self._closed = False
        self._results: list[SnapshotResult] = []
        self._replaced = self._failures = 0
        self._worker: WorkerProcess | None = None
        self._thread = threading.Thread(target=self._serve, name="probes", daemon=True)
        self._thread.start()

    def submit(self, snapshot: Snapshot) -> None:
        """Lets a snapshot be judged, in place of one that still waits."""
        with self._changed:
            if self._failures < MAX_FAILURES:
                self._replaced += self._waiting is not None
                self._waiting = snapshot
                self._changed.notify_all()

    def results(self) -> list[SnapshotResult]:
        """Those that have come since the last call; waits for nothing."""
        with self._changed:
            results, self._results = self._results, []
        return results

    def finish(self, is_stopped: Callable[[], bool]) -> None:
        """Waits for the snapshots that were submitted: until a stop is asked for, or run.probe_timeout_s."""
        run, end = self._cfg.run, time.monotonic() + self._cfg.run.probe_timeout_s
        with self._changed:
            if self._is_busy():
                logger.info("%s: waits for the last probe; Ctrl-C leaves without it", run.out)
            while self._is_busy() and not is_stopped() and time.monotonic() < end:
                self._changed.wait(min(LOOK_S, run.probe_timeout_s))
            if self._is_busy() and not is_stopped():
                logger.warning(
                    "the last probe is not done after %g s; the run ends without it", run.probe_timeout_s
                )

    def close(self) -> None:
        """Ends thread and process; what was not judged is dropped."""
        with self._changed:
            self._closed, self._waiting = True, None
            if self._worker is not None:
                self._worker.kill()  # the thread that waits for it wakes up
            self._changed.notify_all()
        self._thread.join()
        if self._replaced:
            logger.info(
                "snapshots that a newer one replaced before a probe was free: %d; a greater run.probe_every "
                "or a smaller run.probe_samples judges all",
                self._replaced,
            )

    def _is_busy(self) -> bool:
        return self._thread.is_alive() and (self._busy or self._waiting is not None)

    def _serve(self) -> None:
        while (snapshot := self._next()) is not None:
            started = time.monotonic()
            try:
                scores = self._judge(snapshot)
            except (ProbeFailed, OSError) as error:  # OSError: no process can be started
                self._fail(snapshot, str(error))
            else:
                self._succeed(snapshot, scores, time.monotonic() - started)
        with self._changed:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    def _next(self) -> Snapshot | None:
        """The next snapshot; None at the end."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._waiting is not None)
            snapshot, self._waiting = self._waiting, None
            self._busy = snapshot is not None
            return snapshot

    def _judge(self, snapshot: Snapshot) -> ProbeScores:
        with self._changed:
            if self._closed:
                raise ProbeFailed("the run ends")
            if self._worker is None:
                self._worker = WorkerProcess(ProbeJob(self._cfg, self._task, self._control))
            worker = self._worker
        try:
            return worker.judge(snapshot.weights)
        finally:
            self._control = worker.control

    def _succeed(self, snapshot: Snapshot, scores: ProbeScores, seconds: float) -> None:
        assert self._control is not None  # it comes first
        result = SnapshotResult(
            snapshot.step, snapshot.samples_seen, self._task.name, scores, self._control, seconds,
            self._task.robustness_name,
        )  # fmt: skip
        with self._changed:
            self._failures = 0
            self._results.append(result)

    def _fail(self, snapshot: Snapshot, reason: str) -> None:
        with self._changed:
            self._worker = None
            if self._closed:
                return
            self._failures += 1
            off = self._failures == MAX_FAILURES
            if off:
                self._waiting = None
        consequence = (
            f"that makes {MAX_FAILURES} in a row, so this run goes on without probes"
            if off
            else "training goes on, the next snapshot gets a new process"
        )
        logger.warning("the probe of step %d failed: %s; %s", snapshot.step, reason, consequence)


@contextlib.contextmanager
def open_prober(run: Run, state: TrainState, task: ProbeTask | None) -> Iterator[Prober | None]:
    """A Prober in the first process of a run that has a task. metrics.jsonl says what was judged before:
    the control, which is not judged again, and the step that the run goes on from, which is if it was not.
    """
    if task is None or not run.is_first:
        yield None
        return
    logger.info("%s", _start_line(run.cfg, task))
    lines = [line for line in metrics_log.read(run.cfg.run.out) if line.get("probe") == task.name]
    prober = Prober(run.cfg, task, _known_control(lines, task))
    try:
        before = state.samples_seen - run.cfg.run.global_batch
        was_due = state.step > 0 and plan.probe_due(run.plan, before, state.samples_seen)
        if was_due and state.step not in {line["step"] for line in lines}:
            submit(run, state, prober)
        yield prober
    finally:
        prober.close()


def _known_control(lines: Sequence[Mapping[str, Any]], task: ProbeTask) -> ProbeScores | None:
    """Of the line that has all that this task asks for."""
    name = task.robustness_name
    for line in lines:
        knn, linear, robustness = (line.get(name) for name in CONTROL_NAMES)
        if isinstance(knn, float) and isinstance(linear, float) and line.get("probe_nuisance", "") == name:
            nan = float("nan")  # null in the file
            return ProbeScores(knn, linear, (nan if robustness is None else robustness) if name else None)
    return None


def submit(run: Run, state: TrainState, prober: Prober | None) -> None:
    """Copies the target encoder to the host (waits), to be judged."""
    if prober is not None:
        weights = run.backend.to_host(run.model.judged.state_dict())  # waits
        prober.submit(Snapshot(state.step, state.samples_seen, weights))


def _start_line(cfg: TrainConfig, task: ProbeTask) -> str:
    label = f"{len(task.classes)} classes" if task.classes else "numbers"
    sides = " and ".join(
        f"{len(part.participants)} {part.index.split} volumes of {len(set(part.participants))} people"
        for part in (task.train, task.val)
    )
    if isinstance(task.nuisance, str):
        robustness = f"no robustness index: {task.nuisance}"
    else:
        scans = task.nuisance.scans
        robustness = (
            f"robustness index by {task.nuisance.name} ({', '.join(scans.groups)}) over "
            f"{len(scans.participants)} of the val volumes"
        )
    return (
        f"probes: {task.column} ({label}, {task.metric}) from {sides}, at each checkpoint and every "
        f"{cfg.run.probe_every} samples, on {cfg.run.probe_device}; {_view_text(cfg, task)}; {robustness}"
    )


def _view_text(cfg: TrainConfig, task: ProbeTask) -> str:
    """What is read of a volume, and what that costs: forward passes of one crop each."""
    shapes = [sample.shape for part in (task.train, task.val) for sample in part.index.samples]
    crops = sum(len(embedding.view_of(cfg).windows(shape)) for shape in shapes)
    return f"view {task.view}, {crops} crops of {len(shapes)} volumes"


def _check_device(cfg: TrainConfig, backend: Backend) -> None:
    device = cfg.run.probe_device
    if device == "cpu":
        return
    match = re.fullmatch(r"cuda:(\d+)", device)
    if not match:
        raise UsageError(f"run.probe_device={device}: want cpu, or a GPU by its number, such as cuda:1")
    number, gpus = int(match[1]), torch.cuda.device_count()
    if number >= gpus:
        want = "want one of them, or cpu" if gpus else "want cpu"
        raise UsageError(f"run.probe_device={device}: torch sees {gpus or 'no'} GPUs here, {want}")
    used = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if backend.device.type == "cuda" else 0
    if number < used:
        raise UsageError(
            f"run.probe_device={device}: the run itself computes on it, want a GPU that is free, or cpu"
        )
