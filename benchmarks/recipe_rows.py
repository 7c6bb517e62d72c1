"""The rows of recipes.py: which there are, what they will cost, and how one is made and kept."""

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from recipe_data import CONFIG, EyeFiles, scored_splits
from recipe_scores import VERSION, Outcome, encoder_values, intensity_values, judge
from table import clock

from octshard import pool
from octshard.config import fields
from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.devices import select
from octshard.errors import OctshardError, UsageError
from octshard.models.encoder import random_encoder, read_encoder
from octshard.rng import seed_for
from octshard.train import flops, loop, metrics_log
from octshard.train.inputs import load_inputs
from octshard.train.objectives import build

RANDOM, RAW = "random encoder", "raw intensities"
SAMPLES, FLOPS, NONE = "samples", "FLOPs", "none"  # what a row has in common with the others
BATCH = 16
UNEQUAL = 0.05  # of the default's FLOPs a sample: a recipe that differs by more has rows at equal FLOPs
WARM_STEPS, STEPS = 2, 6  # of a measurement
PROBE_SHARE = 1.15  # of the time of training: probes and validation too


@dataclass(frozen=True)
class Recipe:
    """words: settings beside those of the demo."""

    name: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What all rows have in common; samples: of a run of the default; bootstrap: resamples of people."""

    work: Path
    eyes: EyeFiles
    samples: int
    seeds: int
    workers: int
    bootstrap: int

    def with_samples(self, samples: int) -> "Plan":
        """The same for runs of another length."""
        return dataclasses.replace(self, samples=samples)


@dataclass(frozen=True)
class RowSpec:
    """One row: a recipe, or a control, with its seed."""

    recipe: Recipe
    budget: str
    seed: int
    samples: int
    work: Path
    eyes: EyeFiles

    @property
    def config(self) -> TrainConfig:
        """Of its run; of a control that of its encoder and data."""
        words = [
            *self.recipe.words, f"data.shards=[{self.eyes.shards}]", "data.threads=1",
            f"run.seed={self.seed}", f"run.samples_budget={self.samples}", "run.device=cpu",
            "run.cpu_threads=1", "run.precision=fp32", "run.keep_last=1", "run.val_samples=64",
        ]  # fmt: skip
        return load(TrainConfig, [CONFIG], words)

    @property
    def digest(self) -> str:
        """Of all that decides its result."""
        settings = [VERSION, self.recipe.name, self.budget, fields.result_values(self.config), self.eyes.name]
        return hashlib.sha256(json.dumps(settings, default=str).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Row:
    """What was found. losses: of the last validation, the best skill of all, and the highest `loss` since the
    warm-up.
    """

    recipe: str
    budget: str
    seed: int
    digest: str
    samples: int
    cpu_s: float
    losses: dict[str, float]
    outcome: Outcome


@dataclass(frozen=True)
class PlannedRows:
    """specs: of all rows; missing: of those, which are not made; skipped: name -> why it has none."""

    specs: tuple[RowSpec, ...]
    missing: tuple[RowSpec, ...]
    skipped: dict[str, str]
    gflop: dict[str, float]  # a sample, by recipe
    cpu_s: dict[str, float]  # a sample, by recipe; measured where a row is missing

    def estimate(self, workers: int) -> str:
        """What the missing rows will take."""
        cpu_s = sum(PROBE_SHARE * spec.samples * self.cpu_s.get(spec.recipe.name, 0) for spec in self.missing)
        lines = [
            f"{name}: {1000 * seconds:.1f} CPU ms a sample, {BATCH * seconds:.2f} CPU s a step"
            for name, seconds in self.cpu_s.items()
        ]
        lines += [f"{name}: skipped, {reason}" for name, reason in self.skipped.items()]
        made = len(self.specs) - len(self.missing)
        lines.append(
            f"estimate: {len(self.specs)} rows, {made} are there; the others take {cpu_s:.0f} CPU s, "
            f"{cpu_s / 60 / workers:.0f} minutes on {workers} quiet cores"
        )
        return "\n".join(lines)


def plan_rows(
    plan: Plan, recipes: Sequence[Recipe], default: Recipe | None, *, controls: bool
) -> PlannedRows:
    """Rows at equal samples, then at the FLOPs of `default`, then controls; each with every seed, so that a
    table that was cut off is even.
    """
    skipped, gflop = dict[str, str](), dict[str, float]()
    for recipe in dict.fromkeys([*([default] if default else []), *recipes]):
        try:
            gflop[recipe.name] = _gflop(_spec(plan, recipe, SAMPLES, 0))
        except UsageError as error:
            skipped[recipe.name] = str(error)
    built = [recipe for recipe in recipes if recipe.name in gflop]
    specs = []
    for seed in range(plan.seeds):
        specs += [_spec(plan, recipe, SAMPLES, seed) for recipe in built]
        for recipe in built if default else ():
            ratio = gflop[default.name] / gflop[recipe.name]  # type: ignore[union-attr]
            if abs(ratio - 1) > UNEQUAL:
                specs.append(_spec(plan, recipe, FLOPS, seed, ratio))
        if controls:
            specs.append(_spec(plan, Recipe(RANDOM, built[0].words), NONE, seed))
            specs += [_spec(plan, Recipe(RAW, built[0].words), NONE, 0)] * (seed == 0)
    kept = {row.digest for row in read_rows(plan.work)}
    missing = tuple(spec for spec in specs if spec.digest not in kept)
    measured = {spec.recipe.name: spec for spec in missing if spec.budget != NONE}
    cpu_s = {name: _measured_cpu_s(spec) for name, spec in measured.items()}
    return PlannedRows(tuple(specs), missing, skipped, gflop, cpu_s)


def make_rows(plan: Plan, specs: Sequence[RowSpec]) -> list[Row]:
    """Those that could be made, in order; each that is missing is made and kept at once."""
    rows = {row.digest: row for row in read_rows(plan.work)}
    missing = [spec for spec in specs if spec.digest not in rows]
    for row in _made(missing, plan.workers):
        keep_row(plan.work, row)
        rows[row.digest] = row
        click.echo(f"{row.recipe}, equal {row.budget}, seed {row.seed}: {row.cpu_s:.0f} CPU s", err=True)
    return [rows[spec.digest] for spec in specs if spec.digest in rows]


def make_row(spec: RowSpec) -> Row:
    """In a process of its own: trains, unless it is a control, and judges."""
    torch.set_num_threads(1)
    cfg, losses = spec.config, dict[str, float]()
    cfg.run.out = str(spec.work / "runs" / spec.digest)
    with clock() as timing:
        splits = scored_splits(spec.eyes, cfg)
        if spec.recipe.name == RAW:
            values = {name: intensity_values(split, cfg) for name, split in splits.items()}
        else:
            if spec.recipe.name == RANDOM:
                encoder = random_encoder(cfg, seed_for("recipes", spec.seed))
            else:
                outcome = loop.train(cfg)
                if outcome.stopped:
                    raise SystemExit(f"{cfg.run.out}: stopped; run it again to go on")
                losses, encoder = _losses(cfg), read_encoder(cfg.run.out).encoder
            values = {name: encoder_values(encoder, split, cfg) for name, split in splits.items()}
        judged = judge(splits, values)
    return Row(
        spec.recipe.name, spec.budget, spec.seed, spec.digest, spec.samples, timing.cpu_s, losses, judged
    )


def read_rows(work: Path) -> list[Row]:
    """Those that are kept; a last line that was cut off is none."""
    file = work / "rows.jsonl"
    rows = []
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            values: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows.append(Row(**{**values, "outcome": Outcome(*values["outcome"])}))
    return rows


def keep_row(work: Path, row: Row) -> None:
    """A line more, on the disk when this returns; after a line that was cut off it begins a new one."""
    file = work / "rows.jsonl"
    torn = file.exists() and file.read_bytes()[-1:] not in (b"", b"\n")
    with file.open("a") as lines:
        lines.write("\n" * torn + json.dumps(dataclasses.asdict(row) | {"outcome": list(row.outcome)}) + "\n")
        lines.flush()
        os.fsync(lines.fileno())


def _made(specs: Sequence[RowSpec], workers: int) -> Iterator[Row]:
    """Of a run that fails, as with a loss that is not finite, there is a line and no row."""
    if not specs:
        return
    with pool.process_pool(min(workers, len(specs)), pool.no_setup) as executor:
        futures = {executor.submit(make_row, spec): spec for spec in specs}
        for future in as_completed(futures):
            try:
                yield future.result()
            except OctshardError as error:
                spec = futures[future]
                click.echo(f"{spec.recipe.name}, seed {spec.seed}: no row: {error}", err=True)


def _spec(plan: Plan, recipe: Recipe, budget: str, seed: int, ratio: float = 1.0) -> RowSpec:
    samples = max(1, round(plan.samples * ratio / BATCH)) * BATCH
    return RowSpec(recipe, budget, seed, samples, plan.work, plan.eyes)


def _gflop(spec: RowSpec) -> float:
    """Of a sample in a training step; UsageError for a recipe that cannot be built, or not on these eyes."""
    cfg = spec.config
    build.check(cfg)
    shape = load_inputs(cfg, select.open_backend(cfg.run)).shape
    return flops.step_flops(cfg, shape.tokens, shape.most_valid).total / 1e9


def _measured_cpu_s(spec: RowSpec) -> float:
    """Of a sample: a mean over a few steps of a short run."""
    steps = WARM_STEPS + STEPS + 1
    cfg = dataclasses.replace(spec, samples=steps * BATCH).config
    cfg.run.out, cfg.run.val_samples = str(spec.work / "measured"), 0
    shutil.rmtree(cfg.run.out, ignore_errors=True)
    marks = list[float]()

    def on_progress(step: int, _steps: int, _note: str) -> None:
        if step in (WARM_STEPS, WARM_STEPS + STEPS):
            marks.append(time.process_time())
            if len(marks) == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    logging.disable(logging.WARNING)  # the run is too short for its settings
    loop.train(cfg, on_progress)
    logging.disable(logging.NOTSET)
    shutil.rmtree(cfg.run.out, ignore_errors=True)
    return (marks[1] - marks[0]) / (STEPS * BATCH)


def _losses(cfg: TrainConfig) -> dict[str, float]:
    lines = metrics_log.read(cfg.run.out)
    last = next((line for line in reversed(lines) if "val_loss" in line), {})
    losses = {name: last[name] for name in ("val_loss", "val_loss_position_only", "skill") if name in last}
    skills = [line["skill"] for line in lines if "skill" in line]
    losses |= {"best_skill": max(skills)} if skills else {}
    warm = [line["loss"] for line in lines if "loss" in line and line["passes"] > cfg.optim.warmup_epochs]
    return losses | ({"highest_loss": max(warm)} if warm else {})
