"""One training step and the frozen encoder on the device that is there, beside the reference's design point.

    python benchmarks/train_step.py --quick --json step.json

Steps are `octshard.train.loop`'s own, on batches of the real stream: volumes made up at the sizes that the
presets of prep store. At the design point the same code encodes all N tokens of a whole image, and the heads
of the predictor are 32 wide. Both take turns. FLOPs are by formula (`octshard.train.flops`). On a CPU its
time is compared, with one thread; elsewhere that of the clock.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from command import benchmark
from padding import padding
from step_variants import (
    PRESETS,
    Turns,
    Variant,
    VariantRun,
    encoder_flops,
    product_tflops,
    reset_peak,
    step_flops,
)  # fmt: skip
from table import SectionResult, Table, Target, at_least, report

from octshard.config.run import RunConfig
from octshard.devices import select
from octshard.devices.backend import Backend
from octshard.train.objectives.build import CLASSES

DESIGN = "design point"
VARIANTS = ("ours", DESIGN)
GOAL_DEVICE = "H200"  # what the figures that are aimed at are for, with ViT-B


@dataclass(frozen=True)
class Size:
    """Of the model and its batch, and how often each variant takes its turn of so many steps."""

    batch: int
    width: int
    depth: int
    rounds: int
    turn: int
    variants: tuple[str, ...]


def step(preset: str, objective: str, size: Size, backend: Backend, work: Path) -> SectionResult:
    """Optimizer steps: views, forward, backward, AdamW, EMA."""
    runs = _runs(preset, objective, size, backend, work)
    peaks: dict[str, float] = {}
    turns = {}
    for name, run in runs.items():
        turns[name] = Turns(run.step, backend, size.batch, step_flops(run))
        reset_peak(backend)
        turns[name].take(1)  # compiles, and makes the moments
        turns[name].take(1)
        peaks[name] = run.peak_mb()
        turns[name].timings.clear()
    _alternate(turns, size)
    peak = product_tflops(backend)
    rows = []
    for name, run in runs.items():
        speed = _speed(turns[name], turns["ours"], peak)
        rows.append((name, run.encoded, *speed, f"{100 * run.sequences.padding:.1f} %", peaks[name]))
    head = ("variant", "tokens", *_speed_head(backend), "FLOPs on padding", "peak MB")
    table = Table(_title(f"step, {preset}, {objective}", size, backend), head, tuple(rows))
    return [table], _targets(preset, objective, turns["ours"], size)


def encoder(preset: str, size: Size, backend: Backend, work: Path) -> SectionResult:
    """Evaluation's encoder: a batch on the host in, features on the host out."""
    runs = _runs(preset, "vjepa2", size, backend, work)
    turns = {name: Turns(run.encode, backend, size.batch, encoder_flops(run)) for name, run in runs.items()}
    for each in turns.values():
        each.take(1)
        each.timings.clear()
    _alternate(turns, size)
    peak = product_tflops(backend)
    rows = [(name, run.encoded, *_speed(turns[name], turns["ours"], peak)) for name, run in runs.items()]
    head = ("variant", "tokens", *_speed_head(backend))
    return [Table(_title(f"evaluation's encoder, {preset}", size, backend), head, tuple(rows))], []


def _runs(preset: str, objective: str, size: Size, backend: Backend, work: Path) -> dict[str, VariantRun]:
    return {
        name: VariantRun(
            Variant(preset, objective, name == DESIGN, size.batch, size.width, size.depth), backend, work
        )
        for name in size.variants
    }


def _alternate(turns: dict[str, Turns], size: Size) -> None:
    for _ in range(size.rounds):
        for each in turns.values():
            each.take(size.turn)


def _speed_head(backend: Backend) -> tuple[str, ...]:
    clock = "CPU s" if backend.device.type == "cpu" else "s"
    return (
        f"{clock} a volume",
        f"volumes a {clock}",
        "TFLOP a volume",
        "TFLOP/s",
        "share of a product's",
        "times ours",
    )


def _speed(turns: Turns, ours: Turns, peak: float) -> tuple[Any, ...]:
    share = f"{100 * turns.tflops / peak:.0f} %"
    times = turns.volume_s / ours.volume_s
    return (turns.volume_s, 1 / turns.volume_s, turns.flops / 1e12, turns.tflops, share, times)


def _title(what: str, size: Size, backend: Backend) -> str:
    return f"{what}: width {size.width}, depth {size.depth}, batch {size.batch}, {device_name(backend)}"


def _targets(preset: str, objective: str, turns: Turns, size: Size) -> list[Target]:
    if objective != "vjepa2":
        return []
    goal = PRESETS[preset]
    there = GOAL_DEVICE in device_name(turns.backend) and (size.width, size.depth) == (768, 12)
    what = f"{preset}, ViT-B on one {GOAL_DEVICE}"
    targets = [at_least(what, goal.volumes_per_s, 1 / turns.volume_s if there else None, "volumes/s")]
    if goal.tflops:
        targets.append(at_least(what, goal.tflops, turns.tflops if there else None, "TFLOP/s"))
    return targets


def device_name(backend: Backend) -> str:
    """The GPU's name, or CPU."""
    return torch.cuda.get_device_name(backend.device) if backend.device.type == "cuda" else "CPU, one thread"


def sections(
    presets: tuple[str, ...], objectives: tuple[str, ...], size: Size, backend: Backend, work: Path
) -> dict[str, dict[str, Callable[[], SectionResult]]]:
    """{section: {name: what to run}}"""
    steps = {
        f"step {preset} {objective}": partial(step, preset, objective, size, backend, work)
        for preset in presets
        for objective in objectives
    }
    encoders = {f"encoder {preset}": partial(encoder, preset, size, backend, work) for preset in presets}
    return {"step": steps, "encoder": encoders, "padding": {"padding": padding}}


@benchmark(("step", "encoder", "padding"), "A narrow model of one block, one pair.")
@click.option("--preset", multiple=True, type=click.Choice(list(PRESETS)), help="Of prep; may repeat. [seed]")
@click.option("--objective", multiple=True, type=click.Choice(list(CLASSES)), help="May repeat. [vjepa2]")
@click.option("--width", type=click.IntRange(128), help="Of the encoder; a multiple of 128. [768; quick 384]")
@click.option(
    "--depth", type=click.IntRange(1), help="Blocks of encoder and predictor. [cuda 12; cpu 2, quick 1]"
)
@click.option("--batch", type=click.IntRange(1), help="Volumes of a step. [cuda 8; cpu 1]")
@click.option("--ours-alone", is_flag=True, help="Without the design point.")
@click.option("--rounds", type=click.IntRange(1), help="Pairs. [3, quick 1]")
def main(
    quick: bool,
    json_file: str | None,
    only: tuple[str, ...],
    preset: tuple[str, ...],
    objective: tuple[str, ...],
    width: int | None,
    depth: int | None,
    batch: int | None,
    rounds: int | None,
    ours_alone: bool,
) -> None:
    """A training step and the frozen encoder, beside the reference's design point: speed, memory, padding.

    \b
    Example:
      python benchmarks/train_step.py --quick --json step.json
    """
    torch.set_num_threads(1)
    cuda = torch.cuda.is_available()
    run = RunConfig(device="cuda", precision="bf16") if cuda else RunConfig(device="cpu", precision="fp32")
    backend = select.open_backend(replace(run, compile=cuda))
    size = Size(
        batch or (8 if cuda else 1),
        width or (384 if quick else 768),
        depth or (1 if quick else 12 if cuda else 2),
        rounds or (1 if quick else 3),
        (2 if quick else 10) if cuda else 1,
        VARIANTS[:1] if ours_alone else VARIANTS,
    )
    if size.width % 128:
        raise click.UsageError(
            f"--width {size.width}: want a multiple of 128: heads of 64 in the predictor too"
        )
    with tempfile.TemporaryDirectory() as folder:
        parts = sections(preset or ("seed",), objective or ("vjepa2",), size, backend, Path(folder))
        chosen = {name: part for section in only for name, part in parts[section].items()}
        report(chosen, json_file, quick=quick)


if __name__ == "__main__":
    main()
