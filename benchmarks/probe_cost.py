"""What probes in another process cost the loop: the same short run with and without them, in turns.

    python benchmarks/probe_cost.py --quick --json probe_cost.json

`own core`: the loop has one core and the probes another, where there are two; `shared`: both have the same
one. A snapshot is taken every few steps and the probes are never idle, which is far more than a real run asks
for. Compared are CPU seconds of the loop's own process, and the clock, which depends on other load too.
`snapshot`: what the process of the run itself spends on one snapshot of ViT-B.
"""

import contextlib
import dataclasses
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import click
import torch
from command import benchmark
from formats import Volumes, shards
from table import SectionResult, Table, Target, at_most, report

from octshard.config.load import load
from octshard.config.model import ModelConfig
from octshard.config.run import RunConfig
from octshard.config.train import TrainConfig
from octshard.dataset import tables
from octshard.devices import select
from octshard.imaging.volume import Shape
from octshard.models.vit import Encoder
from octshard.probes.protocol import send_weights
from octshard.train import loop, metrics_log

SHAPE: Shape = (16, 128, 192)
TRAIN, VAL = 24, 8  # volumes
SNAPSHOT_STEPS = 10
LIMIT_PERCENT = 2.0
READER = "import os, sys\nwhile os.read(int(sys.argv[1]), 2**20): pass"
LAST_CORE = max(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Size:
    """Of the model, of one run, and how many pairs of runs."""

    width: int
    depth: int
    warm_steps: int
    steps: int
    pairs: int


@dataclass(frozen=True)
class Speed:
    """Seconds of a step, a mean over those of a run; how many probes were judged meanwhile."""

    cpu_s: float
    wall_s: float
    judged: int


def cost(size: Size, work: Path, *, shared: bool) -> SectionResult:
    """Pairs of runs, after one that warms up."""
    folders, people = volumes(work)
    runs: dict[bool, list[Speed]] = {False: [], True: []}
    order = [
        False,
        *(probes for number in range(size.pairs) for probes in (number % 2 == 0, number % 2 == 1)),
    ]
    for number, probes in enumerate(order):
        cfg = config(size, folders, people, work / f"run-{shared}-{number}", probes=probes)
        runs[probes].append(speed(cfg, size, shared=shared))
    pairs = list(zip(runs[False][1:], runs[True], strict=True))
    rows = [
        (name, statistics.median(speeds.cpu_s for speeds in each), statistics.median(s.wall_s for s in each),
         statistics.median(s.judged for s in each))
        for name, each in (("without", [a for a, _ in pairs]), ("with probes", [b for _, b in pairs]))
    ]  # fmt: skip
    cpu, wall = (
        statistics.median(100 * (getattr(b, name) / getattr(a, name) - 1) for a, b in pairs)
        for name in ("cpu_s", "wall_s")
    )
    where = "both on one core" if shared else "the probes on a core of their own"
    title = f"{where}: width {size.width}, depth {size.depth}, {size.steps} steps, {len(pairs)} pairs"
    head = ("run", "CPU s a step", "s a step", "probes judged")
    what = f"more time a step, {where}"
    targets: list[Target] = [at_most(f"{what}, of the CPU", LIMIT_PERCENT, cpu, "%")]
    targets.append(at_most(f"{what}, by the clock", LIMIT_PERCENT, wall, "%"))
    return [Table(title, head, tuple(rows))], targets


def speed(cfg: TrainConfig, size: Size, *, shared: bool) -> Speed:
    """One run: from the last warm step to its last one."""
    marks: list[tuple[float, float]] = []

    def on_progress(step: int, steps: int, note: str) -> None:
        place_probes(shared=shared)
        if step in (size.warm_steps, steps - 1):
            marks.append((time.process_time(), time.perf_counter()))
        if step == steps - 1:
            os.kill(os.getpid(), signal.SIGTERM)  # a run that makes its last step waits for its probes

    with pinned():
        loop.train(cfg, on_progress)
    (cpu, wall), (cpu_end, wall_end) = marks
    judged = sum("probe" in line for line in metrics_log.read(cfg.run.out))
    return Speed((cpu_end - cpu) / size.steps, (wall_end - wall) / size.steps, judged)


def snapshot(repeats: int) -> SectionResult:
    """CPU time of the copy, for which the loop waits, and of the sending, which a thread does."""
    backend, model = select.open_backend(RunConfig(device="cpu")), ModelConfig()
    weights = Encoder(model).state_dict()
    megabytes = sum(tensor.nbytes for tensor in weights.values()) / 1e6
    ours, theirs = socket.socketpair()
    reader = subprocess.Popen(
        [sys.executable, "-S", "-c", READER, str(theirs.fileno())], pass_fds=[theirs.fileno()]
    )
    theirs.close()
    pipe = Connection(ours.detach())
    copies, sendings = [], []
    for _ in range(repeats + 1):
        marks = [time.thread_time()]
        on_host = backend.to_host(weights)
        marks.append(time.thread_time())
        send_weights(pipe, on_host)
        marks.append(time.thread_time())
        copies.append(marks[1] - marks[0])
        sendings.append(marks[2] - marks[1])
    pipe.close()
    reader.wait()
    copy_s, sending_s = statistics.median(copies[1:]), statistics.median(sendings[1:])
    step_s = 50 * (copy_s + sending_s)
    head = ("MB", "CPU s to copy", "CPU s to send", "seconds between snapshots that make it 2 %")
    row = (megabytes, copy_s, sending_s, step_s)
    return [Table(f"a snapshot of ViT-B, median of {repeats}", head, (row,))], []


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """The loop, and all threads that it starts, on the first core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def place_probes(*, shared: bool) -> None:
    """Moves the process of the probes, which has the loop's core, to the last one."""
    if shared:
        return
    for thread in Path("/proc/self/task").iterdir():
        for child in (thread / "children").read_text().split():
            for task in Path(f"/proc/{child}/task").iterdir():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(task.name), {LAST_CORE})


def config(size: Size, folders: list[Path], people: Path, out: Path, *, probes: bool) -> TrainConfig:
    """A short run; with probes all of its snapshots are taken, whether they are judged or not."""
    steps = size.warm_steps + size.steps + 1
    words = (
        f"data.shards=[{','.join(map(str, folders))}]", f"run.out={out}", "data.lanes=1", "data.threads=1",
        f"model.image_size={list(SHAPE)}", f"model.width={size.width}", f"model.depth={size.depth}",
        f"model.heads={size.width // 64}", "predictor.width=192", "predictor.heads=3", "predictor.depth=2",
        "objective.masks=[{kind: cubes, context: 0.2, target: 0.4}]", "run.global_batch=2",
        "run.per_device_batch=2", "run.precision=fp32", "run.device=cpu", "run.cpu_threads=1",
        f"run.samples_budget={2 * steps}", "run.checkpoint_every_epochs=1e6", "run.val_samples=0",
        "run.log_every_steps=10", "optim.warmup_epochs=1",
    )  # fmt: skip
    probe_words = (f"run.probe_every={2 * SNAPSHOT_STEPS}", f"run.probe_participants={people}")
    return load(TrainConfig, [], [*words, *(probe_words if probes else ())])


def volumes(work: Path) -> tuple[list[Path], Path]:
    """Folders of train and val volumes, each of a person of its own, and their participants.tsv."""
    train = shards(Volumes("probe", TRAIN, SHAPE, TRAIN), work)
    val = shards(Volumes("probe", VAL, SHAPE, VAL, TRAIN), work)
    lines = ["person_id\tstudy_group"]
    for folder, split in ((train, "train"), (val, "val")):
        rows = [
            dataclasses.replace(row, split=split, participant=f"{split}{number}")
            for number, row in enumerate(tables.open_dataset(str(folder)).rows)
        ]
        tables.write_rows(str(folder / tables.SAMPLES), rows)
        tables.write_info(str(folder / tables.INFO), {"device": "phantom"})  # the digests of the tables
        lines += [f"{row.participant}\t{'ab'[number % 2]}" for number, row in enumerate(rows)]
    people = work / "participants.tsv"
    people.write_text("\n".join(lines) + "\n")
    return [train, val], people


@benchmark(("own core", "shared", "snapshot"), "A narrow model of one block, one pair.")
@click.option("--pairs", type=click.IntRange(1), help="[5, quick 1]")
def main(quick: bool, json_file: str | None, only: tuple[str, ...], pairs: int | None) -> None:
    """What probes in another process cost the training loop.

    \b
    Example:
      python benchmarks/probe_cost.py --quick --json probe_cost.json
    """
    torch.set_num_threads(1)
    size = Size(192, 1, 5, 20, pairs or 1) if quick else Size(384, 4, 5, 40, pairs or 5)
    with tempfile.TemporaryDirectory() as folder:
        sections: dict[str, Callable[[], SectionResult]] = {
            "own core": partial(cost, size, Path(folder), shared=False),
            "shared": partial(cost, size, Path(folder), shared=True),
            "snapshot": partial(snapshot, 3 if quick else 9),
        }
        report({name: sections[name] for name in only}, json_file, quick=quick)


if __name__ == "__main__":
    main()
