"""What a step costs the host on XLA before any device works: tracing, the size of the graph, compiling.

    python benchmarks/xla_host.py --quick --json xla.json

Steps are `octshard.train.step`'s own, on batches of the real stream, with the volumes that the seed preset
stores: as octshard runs them, and traced anew every time, in processes of their own. Once it has begun a run
executes nothing, its graphs are dropped; so CPU time is the host's. Without PJRT_DEVICE it is XLA's CPU.
"""

import dataclasses
import itertools
import math
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from command import benchmark
from step_variants import Variant
from table import SectionResult, Table, at_most, in_fresh_process, report
from torch import Tensor, nn

from octshard.devices import select
from octshard.devices.backend import map_tensors
from octshard.devices.prefetch import prefetch_to_device
from octshard.devices.xla import Xla
from octshard.stream.sampler import StreamPosition
from octshard.train import setup, step_stats
from octshard.train.inputs import load_inputs, train_batches
from octshard.train.step import make_step

OURS, ANEW = "traced once", "traced anew"
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
WIDTH, DEPTH = 768, 12  # ViT-B, and its predictor


class Size(NamedTuple):
    """Of the encoder; the predictor is half as wide and as deep. How many steps are timed."""

    width: int
    depth: int
    steps: int


class HostWork(NamedTuple):
    """CPU seconds of the host in a step of two micro-steps, and what its graph holds. compile_s: None, not
    compiled.
    """

    first_s: float  # of the first step, whole
    micro_s: float  # medians of the later ones: the first micro-step
    last_s: float  # and the last, with the update
    nodes: int  # that a step of one micro-step adds to the graph
    instructions: int  # of its computation, with those that it calls
    constant_mb: float  # the largest
    compile_s: float | None


class Tracing(Xla):
    """XLA that never executes; `marks` holds the CPU time at the end of each micro-step."""

    marks: list[float]

    def mark_step(self) -> None:
        self.marks.append(time.process_time())


class TracingAnew(Tracing):
    """The same, and every call is traced."""

    def compile(self, function: Any) -> Any:
        return function

    def wrap(self, model: nn.Module) -> nn.Module:
        return model


class TracedRun:
    """A run on XLA, and the batches of one step of two micro-steps."""

    def __init__(self, name: str, size: Size, work: Path) -> None:
        torch.set_num_threads(1)
        cfg = Variant("seed", "vjepa2", False, 2, size.width, size.depth).config(work)
        cfg.run.device, cfg.run.precision, cfg.run.global_batch = "xla", "bf16", 4
        opened = select.open_backend(cfg.run)
        kind = Tracing if name == OURS else TracingAnew
        self.backend = kind(**{f.name: getattr(opened, f.name) for f in dataclasses.fields(opened)})  # type: ignore[arg-type]
        object.__setattr__(self.backend, "marks", [])
        inputs = load_inputs(cfg, self.backend)
        self.run, self.state = setup.start(cfg, self.backend, inputs, None)
        with prefetch_to_device(train_batches(inputs, self.backend, StreamPosition(0, 0)), opened) as batches:
            self.micro_batches = [next(batches), next(batches)]

    def step(self, micro_steps: int) -> tuple[list[float], list[Tensor]]:
        """One step on a state of zeros: the CPU seconds of its micro-steps, and the tensors it leaves."""
        self._reset()
        sums = step_stats.zero_sums(self.backend, self.run.cfg.model.width)
        self.backend.marks[:] = [time.process_time()]
        out = make_step(self.run, self.state, self.micro_batches[:micro_steps], sums)
        marks = self.backend.marks
        left = [p.data for p in self.run.model.parameters()]
        map_tensors((dict(self.state.optimizer.state), out), lambda t: left.append(t) or t)
        return [after - before for before, after in itertools.pairwise(marks)], _on_xla(left)

    def _reset(self) -> None:
        """Tensors that hold no graph, in the place of those of the step before."""

        def zeros(tensor: Tensor) -> Tensor:
            return torch.zeros(tensor.shape).to(tensor.device)

        for parameter in self.run.model.parameters():
            parameter.data = zeros(parameter)
        for moments in self.state.optimizer.state.values():
            moments.update(map_tensors(dict(moments), zeros))


def host_work(name: str, size: Size, work: Path, *, compiles: bool) -> HostWork:
    """In a process that does nothing else."""
    import torch_xla

    traced = TracedRun(name, size, work)
    (first, *later) = [traced.step(2)[0] for _ in range(1 + size.steps)]
    _, left = traced.step(1)
    text = torch_xla._XLAC._get_xla_tensors_hlo(left)
    compile_s = None
    if compiles:
        start = time.process_time()
        torch_xla._XLAC._xla_warm_up_cache(left, [])
        compile_s = time.process_time() - start
    micro_s, last_s = (statistics.median(column) for column in zip(*later, strict=True))
    nodes = _nodes(text.split("\nENTRY ")[1])
    return HostWork(sum(first), micro_s, last_s, nodes, _nodes(text), _largest_constant_mb(text), compile_s)


def tracing(size: Size, names: tuple[str, ...], work: Path) -> SectionResult:
    """The host in every step."""
    results = {name: _measured(name, size, work, compiles=False) for name in names}
    head = (
        "step",
        "micro-step ms",
        "last, with update ms",
        "first step s",
        "nodes",
        "instructions",
        "constant MB",
    )
    rows = tuple(
        (name, 1e3 * w.micro_s, 1e3 * w.last_s, w.first_s, w.nodes, w.instructions, w.constant_mb)
        for name, w in results.items()
    )
    ours = results[OURS]
    targets = [
        at_most("tracing of a micro-step", 0.2, ours.micro_s, "CPU s"),
        at_most("tracing of the last one, with the update", 0.2, ours.last_s, "CPU s"),
        at_most("largest constant of a step", 1, ours.constant_mb, "MB"),
    ]
    return [Table(f"tracing, {_label(size)}: CPU time of the host", head, rows)], targets


def compiling(size: Size, names: tuple[str, ...], work: Path) -> SectionResult:
    """XLA, once in a run."""
    results = {name: _measured(name, size._replace(steps=1), work, compiles=True) for name in names}
    rows = tuple((name, w.instructions, w.compile_s) for name, w in results.items())
    table = Table(f"compiling, {_label(size)}", ("step", "instructions", "CPU s"), rows)
    if size[:2] != (WIDTH, DEPTH):
        return [table], []
    return [table], [at_most("compiling a step of ViT-B", 120, results[OURS].compile_s, "CPU s")]


def _measured(name: str, size: Size, work: Path, *, compiles: bool) -> HostWork:
    measured, _ = in_fresh_process(partial(host_work, compiles=compiles), name, size, work)
    return HostWork(*measured)


def _on_xla(tensors: list[Tensor]) -> list[Tensor]:
    return [t for t in tensors if t.device.type == "xla"]


def _nodes(text: str) -> int:
    """Instructions, without parameters and constants."""
    kinds = re.findall(r"^  (?:ROOT )?\S+ = .*? ([\w-]+)\(", text, re.MULTILINE)
    return sum(kind not in ("parameter", "constant") for kind in kinds)


def _largest_constant_mb(text: str) -> float:
    constants = re.findall(r" = (\w+)\[([\d,]*)\]\S* constant\(", text)
    return (
        max(BYTES[kind] * math.prod(int(n) for n in shape.split(",") if n) for kind, shape in constants) / 1e6
    )


def _label(size: Size) -> str:
    return f"width {size.width}, depth {size.depth} + {size.depth}"


SECTIONS: dict[str, Callable[[Size, tuple[str, ...], Path], SectionResult]] = {
    "tracing": tracing,
    "compiling": compiling,
}


@benchmark(SECTIONS, "A narrow model; one block is compiled.")
@click.option("--width", type=click.IntRange(128), help="Of the encoder; a multiple of 128. [768; quick 128]")
@click.option(
    "--depth", type=click.IntRange(1), help="Blocks of encoder and predictor. [12; compiled quick 1]"
)
@click.option("--ours-alone", is_flag=True, help="Without the steps that are traced anew.")
def main(
    quick: bool,
    json_file: str | None,
    only: tuple[str, ...],
    width: int | None,
    depth: int | None,
    ours_alone: bool,
) -> None:
    """The host's work for a step on XLA: tracing, graph and compiling, beside a step that is traced anew.

    \b
    Example:
      python benchmarks/xla_host.py --quick --json xla.json
    """
    os.environ.setdefault("PJRT_DEVICE", "CPU")
    names = (OURS,) if ours_alone else (OURS, ANEW)
    size = Size(width or (128 if quick else WIDTH), depth or DEPTH, 3 if quick else 9)
    sizes = {"tracing": size, "compiling": size._replace(depth=depth or (1 if quick else DEPTH))}
    with tempfile.TemporaryDirectory() as folder:
        sections = {name: partial(SECTIONS[name], sizes[name], names, Path(folder)) for name in only}
        report(sections, json_file, quick=quick)


if __name__ == "__main__":
    main()
