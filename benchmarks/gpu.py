"""What a machine with a GPU should show, in under 8 minutes; `benchmarks/gpu.sh` calls it.

    python benchmarks/gpu.py --quick --json gpu.json

Every part runs the command or the benchmark that a user would, in a process of its own; one that fails, or
finds no time left, is a row that says so. Without a GPU all of it runs on the CPU with a model that is small:
this shows that it works and nothing else, so that no figure stands beside what is aimed at.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from command import benchmark
from formats import Volumes, shards
from step_variants import PRESETS
from table import SectionResult, Table, Target, at_least, at_most, report

from octshard.models import checkpoint
from octshard.train import metrics_log
from octshard.train.objectives import vjepa2_1

BUDGET_S = 470.0  # of all parts together
HEAD = ("part", "what", "found")
SHALLOW = (f"model.depth={vjepa2_1.LEVELS}", "predictor.depth=2")  # no fewer blocks: the configs' objective
SMALL = (*SHALLOW, "model.width=64", "model.heads=1", "predictor.width=64", "predictor.heads=1",
         "run.precision=fp32", "run.cpu_threads=1")  # fmt: skip
BATCHES = {"seed": 32, "retina": 16}  # of a step with ViT-B; 46 GB at most
STOP, END = 2, 4  # steps of the run that is resumed
PartResult = tuple[list[tuple[str, str, str]], list[Target]]  # rows of the table, and what is aimed at


class PartFailed(Exception):
    """A command that failed or was cut off; the text is what the table says."""


@dataclass(frozen=True)
class Machine:
    """Where the parts run, and until when."""

    cuda: bool
    quick: bool
    work: Path
    end: float = field(default_factory=lambda: time.monotonic() + BUDGET_S)

    def run(self, *words: str) -> float:
        """Runs `python WORDS`; the seconds that it took."""
        left, started = self.end - time.monotonic(), time.monotonic()
        if left < 1:
            raise PartFailed("not run: no time left")
        try:
            process = subprocess.run(
                [sys.executable, *words], capture_output=True, text=True, check=False, timeout=left
            )
        except subprocess.TimeoutExpired:
            raise PartFailed(f"cut off after {left:.0f} s") from None
        if process.returncode:
            lines = process.stderr.strip().splitlines()
            raise PartFailed(f"exit code {process.returncode}: {lines[-1] if lines else 'no word'}")
        return time.monotonic() - started

    def train(self, config: str, out: Path, *words: str) -> float:
        """`octshard train`, with the model's size of this machine; the seconds that it took."""
        words = (f"run.out={out}", *self.model_size(), *words)
        return self.run("-m", "octshard", "train", "--config", config, *words)

    def model_size(self) -> tuple[str, ...]:
        """Settings of the model: none on a GPU, with --quick fewer blocks; on the CPU a small one."""
        if not self.cuda:
            return SMALL
        return SHALLOW if self.quick else ()

    def volumes(self) -> str:
        """Volumes as a Triton 6x6 cube is stored at the seed preset, as the word that names their shards."""
        return f"data.shards={shards(Volumes('gpu', 16, PRESETS['seed'].shapes[0], 8), self.work)}"


def smoke(machine: Machine) -> PartResult:
    """Made-up eyes, their shards, and ten steps of smoke_test.yaml."""
    release, out = machine.work / "release", machine.work / "smoke"
    people = ("--participants", "4", "--scale", "0.2", "--no-defects")
    prepared_s = machine.run("-m", "octshard", "phantom", str(release), *people)
    prepared_s += machine.run(
        "-m", "octshard", "prep", "shard", str(release), str(machine.work / "eyes"),
        "--device", "topcon_triton", "--from-zip",
    )  # fmt: skip
    words = [f"data.shards={machine.work / 'eyes' / 'topcon_triton'}", "run.val_samples=0"]
    seconds = machine.train("smoke_test", out, *words)
    losses = [line["loss"] for line in metrics_log.read(str(out)) if "loss" in line]
    losses_text = f"{len(losses)} finite losses, {losses[0]:.3g} to {losses[-1]:.3g}, in {seconds:.0f} s"
    rows = [("smoke_test.yaml", losses_text), ("made-up eyes and their shards", f"{prepared_s:.0f} s")]
    return _rows("smoke", rows), [at_least("steps of smoke_test.yaml", 10, len(losses), "steps")]


def steps(preset: str, machine: Machine) -> PartResult:
    """`train_step.py` with ViT-B: on a GPU at the seed preset beside the design point, else alone."""
    file = machine.work / f"step-{preset}.json"
    small = ("--batch", str(BATCHES[preset])) if machine.cuda else ("--width", "128", "--depth", "1")
    quick = ("--quick",) if machine.quick or not machine.cuda else ()
    alone = () if preset == "seed" and machine.cuda else ("--ours-alone",)
    words = ("--only", "step", "--preset", preset, "--json", str(file), *small, *quick, *alone)
    machine.run(str(Path(__file__).with_name("train_step.py")), *words)
    figures = json.loads(file.read_text())
    rows = []
    for title, variant_rows in figures["tables"].items():
        for row in variant_rows:
            values = ", ".join(f"{_short(value)} {name}" for name, value in row.items() if name != "variant")
            rows.append((f"{title}: {row['variant']}", values))
    targets = [Target(t["what"], t["wanted"], t["found"], t["unit"], t["met"]) for t in figures["wanted"]]
    return _rows(preset, rows), targets


def data(machine: Machine) -> PartResult:
    """How long the loop waits for data from local shards: the last of three windows, long after compiling."""
    window = 20 if machine.cuda and not machine.quick else 2 if machine.cuda else 1
    batch, out = 16 if machine.cuda else 1, machine.work / "data"
    words = [machine.volumes(), f"run.global_batch={batch}", f"run.per_device_batch={batch}"]
    words += ["run.epochs=null", f"run.samples_budget={3 * window * batch}", f"run.log_every_steps={window}"]
    words += ["run.val_samples=0", f"run.compile={str(machine.cuda).lower()}", "data.threads=4"]
    seconds = machine.train("pretrain_vjepa_single_domain", out, *words)
    last = [line for line in metrics_log.read(str(out)) if "loss" in line][-1]
    wait, rate = 100 * last["data_wait"], last["volumes_per_s_per_device"]
    wait_text = f"{wait:.2f} % of the time, at {rate:.3g} volumes/s, in {seconds:.0f} s"
    target = at_most("wait for data from local shards", 1, wait if machine.cuda else None, "%")
    return _rows("data", [("wait for data from local shards", wait_text)]), [target]


def resume(machine: Machine) -> PartResult:
    """A run of four steps, and one that goes on from its second: weights, moments and losses bit for bit."""
    whole, resumed = machine.work / "whole", machine.work / "resumed"
    words = [machine.volumes(), "run.epochs=null", f"run.samples_budget={2 * END}", "run.global_batch=2"]
    words += ["run.checkpoint_every_epochs=0.25", "run.log_every_steps=1", "run.val_samples=0"]
    words += [f"run.deterministic={str(machine.cuda).lower()}", f"run.compile={str(machine.cuda).lower()}"]
    words += ["data.lanes=2", *(SHALLOW if machine.cuda else ())]
    machine.train("pretrain_vjepa_single_domain", whole, *words)
    shutil.copytree(whole, resumed)
    for path in (resumed / checkpoint.FOLDER).glob(f"step-{END:08d}.*"):
        path.unlink()
    machine.train("pretrain_vjepa_single_domain", resumed, *words)
    equal = _same_run(whole, resumed)
    outcome = "equal" if equal else "another result"
    rows = [(f"{END} steps, and {STOP} with {END - STOP} resumed", outcome)]
    return _rows("resume", rows), [at_least("resumed run equal bit for bit", 1, float(equal), "")]


def _same_run(one: Path, other: Path) -> bool:
    """Model, optimizer and losses, bit for bit."""
    a, b = (checkpoint.load(str(run / checkpoint.FOLDER / f"step-{END:08d}.pt")) for run in (one, other))
    losses = [[line["loss"] for line in metrics_log.read(str(run)) if "loss" in line] for run in (one, other)]
    model = all(torch.equal(a["model"][name], b["model"][name]) for name in a["model"])
    old, new = a["optimizer"]["state"], b["optimizer"]["state"]
    moments = all(torch.equal(old[i][name], new[i][name]) for i in old for name in old[i])
    return model and moments and losses[0] == losses[1]


def _rows(part: str, rows: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    return [(part, *row) for row in rows]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _all(parts: Sequence[str], machine: Machine) -> SectionResult:
    """The parts one after another, in one table."""
    rows: list[tuple[str, str, str]] = []
    targets: list[Target] = []
    for part in parts:
        if part == "retina" and machine.quick and not machine.cuda:  # 9,216 tokens take a CPU half a minute
            rows += _rows(part, [("left out", "--quick without a GPU")])
            continue
        try:
            part_rows, part_targets = PARTS[part](machine)
        except PartFailed as failed:
            part_rows = _rows(part, [("failed", str(failed))])
            part_targets = [at_least(f"{part} runs", 1, 0, "")]
        rows, targets = rows + part_rows, targets + part_targets
    device = torch.cuda.get_device_name() if machine.cuda else "the CPU, at a small size"
    return [Table(f"on {device}", HEAD, tuple(rows))], targets


PARTS: dict[str, Callable[[Machine], PartResult]] = {
    "smoke": smoke,
    "seed": partial(steps, "seed"),
    "retina": partial(steps, "retina"),
    "data": data,
    "resume": resume,
}


@benchmark(PARTS, "Fewer steps of fewer blocks.")
def main(quick: bool, json_file: str | None, only: tuple[str, ...]) -> None:
    """What a machine with a GPU should show, in under 8 minutes; on the CPU at a small size without one.

    \b
    Example:
      python benchmarks/gpu.py --quick --json gpu.json
    """
    cuda = torch.cuda.is_available()
    if not cuda:
        click.echo("no GPU here: the CPU runs all parts at a small size; no figure is a GPU's", err=True)
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(cuda, quick, Path(folder))
        report({"all parts": partial(_all, only, machine)}, json_file, quick=quick)


if __name__ == "__main__":
    main()
