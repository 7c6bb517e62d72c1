"""What train_step.py measures: a real run of one variant on the device, its step and its frozen encoder.

Volumes are made up at the sizes that prep's presets store; shards, stream, masks and views are the real ones.
"""

import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from formats import Volumes, shards
from table import Timing, clock

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend
from octshard.devices.prefetch import prefetch_to_device
from octshard.imaging.tiles import CENTRE, View
from octshard.imaging.volume import Shape, triple
from octshard.models.pooling import MEAN_STD
from octshard.probes.embedding import Reading, TileEncoder
from octshard.stream.sampler import StreamPosition
from octshard.train import flops, setup, step_stats
from octshard.train.inputs import load_inputs, train_batches
from octshard.train.sequences import SequencePlan, plan_sequences
from octshard.train.step import make_step

HEAD_DIM, REFERENCE_HEAD_DIM = 64, 32  # of the predictor: ours, and V-JEPA 2's
PRODUCT = {"cuda": 8192, "cpu": 1024}  # side of the matrices of a product that uses the device well
WHOLE = (64, 384, 384)
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Preset:
    """Volumes as a preset of prep stores them, a config for them, and what one H200 should do with both."""

    config: str
    words: tuple[str, ...]
    shapes: tuple[Shape, ...]
    volumes_per_s: float
    tflops: float | None


PRESETS = {
    # (0.05, 0.02, 0.02) mm: a Triton 6x6 cube, and one with a row of tokens less along its depth
    "seed": Preset("pretrain_vjepa_single_domain", (), ((64, 129, 300), (64, 128, 300)), 150, None),
    # (6/64, 2.5/384, 6/384) mm: every token is valid; 0.4 of them are context, all others targets
    "retina": Preset(
        "pretrain_vjepa_single_domain",
        ("objective.masks=[{kind: cubes, ratio: 0.6, context: 0.4, target: 0.6}]",),
        (WHOLE,),
        36,
        500,
    ),
}


@dataclass(frozen=True)
class Variant:
    """What is built. design: the reference's design point, all N tokens and narrow heads of the predictor."""

    preset: str
    objective: str
    design: bool
    batch: int
    width: int
    depth: int

    def config(self, work: Path) -> TrainConfig:
        """Its config, over volumes that are made on first use."""
        preset, inner = PRESETS[self.preset], self.width // 2
        shapes = (WHOLE,) if self.design else preset.shapes
        folders = [shards(Volumes("step", 4, s, 4, 4 * i), work) for i, s in enumerate(shapes)]
        heads = inner // (REFERENCE_HEAD_DIM if self.design else HEAD_DIM)
        cuda = torch.cuda.is_available()
        words = (
            *preset.words, f"data.shards=[{','.join(map(str, folders))}]", f"objective.name={self.objective}",
            f"model.width={self.width}", f"model.heads={self.width // HEAD_DIM}", f"model.depth={self.depth}",
            f"predictor.width={inner}", f"predictor.heads={heads}", f"predictor.depth={self.depth}",
            f"run.global_batch={self.batch}", f"run.per_device_batch={self.batch}", "data.lanes=1",
            f"run.precision={'bf16' if cuda else 'fp32'}", f"run.compile={'true' if cuda else 'false'}",
            "run.val_samples=0", f"run.out={work / 'run'}",
        )  # fmt: skip
        return load(TrainConfig, [preset.config], list(words))


class VariantRun:
    """A run of a variant on the device, and one batch of it."""

    def __init__(self, variant: Variant, backend: Backend, work: Path) -> None:
        self.variant, self.cfg, self._backend = variant, variant.config(work), backend
        self._before = _memory_mb(backend, peak=False)
        self.inputs = load_inputs(self.cfg, backend)
        self._run, self._state = setup.start(self.cfg, backend, self.inputs, None)
        stream = train_batches(self.inputs, backend, StreamPosition(0, 0))
        with prefetch_to_device(stream, backend) as batches:
            self._micro_batches = [next(batches)]
        self._sums = step_stats.zero_sums(backend, self.cfg.model.width)
        encoder = self._run.model.judged
        model, batch = self.cfg.model, self.cfg.run.per_device_batch
        view = View(CENTRE, triple(model.image_size), triple(model.patch))
        reading = Reading(view, batch, self.inputs.shape.box, self.encoded, (model.depth,), (MEAN_STD,))
        self._tiles = TileEncoder(encoder, backend, reading)

    @property
    def encoded(self) -> int:
        """Tokens of a volume that the target encoder reads."""
        return self.inputs.shape.tokens

    @property
    def length(self) -> int | None:
        """Of the lists of its batch, where a run has several."""
        return self._micro_batches[0].host.batch.length

    @property
    def sequences(self) -> SequencePlan:
        """Whether its volumes are packed, and what is spent on padding."""
        inputs = self.inputs
        return plan_sequences(self.cfg, inputs.index, inputs.shape, self._backend, inputs.plan)

    def step(self) -> None:
        """One optimizer step; the device may not have ended it."""
        self._run.model.train()
        self._sums = make_step(self._run, self._state, self._micro_batches, self._sums).sums
        self._state.step += 1

    def encode(self) -> None:
        """The frozen encoder as evaluation runs it: a batch on the host in, features on the host out."""
        list(self._tiles.tiles(self._micro_batches[0].host.batch))

    def peak_mb(self) -> float:
        """Memory at most since the last `reset_peak`, above what stood before this run was built."""
        return _memory_mb(self._backend, peak=True) - self._before


@dataclass
class Turns:
    """The times of one action of a variant. flops: of one volume."""

    action: Callable[[], object]
    backend: Backend
    batch: int
    flops: float
    timings: list[Timing] = field(default_factory=list)

    def take(self, times: int) -> None:
        """Does it `times` times, and keeps the time of one."""
        with clock() as timing:
            for _ in range(times):
                self.action()
            _wait(self.backend)
        self.timings.append(Timing(timing.cpu_s / times, timing.wall_s / times))

    @property
    def volume_s(self) -> float:
        """Seconds a volume, the median: of CPU time on a CPU, of the clock elsewhere."""
        cpu = self.backend.device.type == "cpu"
        return statistics.median(t.cpu_s if cpu else t.wall_s for t in self.timings) / self.batch

    @property
    def tflops(self) -> float:
        """10 ** 12 floating point operations a second."""
        return self.flops / self.volume_s / 1e12


def product_tflops(backend: Backend) -> float:
    """TFLOP/s of a large matrix product at the precision of the steps: about what the device can give."""
    side = PRODUCT[backend.device.type]
    dtype = torch.float32 if backend.device.type == "cpu" else torch.bfloat16
    a, b = (torch.randn(side, side, device=backend.device, dtype=dtype) for _ in range(2))
    turns = Turns(partial(torch.mm, a, b), backend, 1, 2.0 * side**3)
    for _ in range(4):
        turns.take(10)
    del turns.timings[0]
    return turns.tflops


def reset_peak(backend: Backend) -> None:
    """From now on memory is measured anew."""
    if backend.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(backend.device)
    elif CLEAR_REFS.exists():  # Linux
        CLEAR_REFS.write_text("5")  # VmHWM begins with what is held now


def step_flops(run: VariantRun) -> float:
    """Of one volume in a training step."""
    plan = run.sequences
    if run.length is not None:
        return flops.step_flops(run.cfg, min(run.encoded, run.length), run.length).total
    listed = flops.step_flops(run.cfg, run.encoded).total
    return listed * (1 - plan.listed_padding) / (1 - plan.padding)


def encoder_flops(run: VariantRun) -> float:
    """Of one volume in the frozen encoder."""
    return flops.encoder_flops(run.cfg.model, run.encoded)


def _wait(backend: Backend) -> None:
    if backend.device.type == "cuda":
        torch.cuda.synchronize(backend.device)


def _memory_mb(backend: Backend, *, peak: bool) -> float:
    if backend.device.type == "cuda":
        count = torch.cuda.max_memory_allocated if peak else torch.cuda.memory_allocated
        return count(backend.device) / 1e6
    name = "VmHWM" if peak else "VmRSS"
    match = re.search(rf"{name}:\s*(\d+) kB", STATUS.read_text() if STATUS.exists() else "")
    return int(match[1]) / 1024 if match else 0.0
