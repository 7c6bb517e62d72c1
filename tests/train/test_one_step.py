"""One step of the real loop, on each backend, is the step that NumPy makes in float64 from the formulas.

Loss, norm, every gradient, every weight, the moments and the moving average, over two micro-batches of
volumes of three sizes. NumPy takes each volume by itself: padding is seen to change nothing.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from octshard.config.load import save
from octshard.config.train import TrainConfig
from tests.support.numpy_step.step import StepResult, learning_rate
from tests.support.one_step import Step, group, in_float64, run_step
from tests.support.tiny_run import config_for, write_dataset

SHAPES = {"whole": (8, 32, 16), "low": (6, 20, 24), "narrow": (5, 32, 10)}
SETTINGS = (
    "model.width=28",  # heads of 14: two features are not rotated; sin-cos: four columns are 0
    "predictor.width=20",
    "model.mlp_ratio=2",
    "objective.masks=[{kind: cubes, cube: [1,1,1], context: 6, target: 5}, {context: 7, target: 9}]",
    "views.zoom=0",  # an interpolation has tests of its own
    "views.tilt=0",
    "optim.clip_grad=0.5",  # below every norm here
    "optim.warmup_epochs=0.5",
    "run.global_batch=8",
    "run.samples_budget=80",
    "run.val_samples=0",
)
LEVELS = ("model.depth=5", "objective.context_ramp=[0.1,0.9]")  # step 4 of ten is on the ramp


class Limit(NamedTuple):
    """How many units of rounding a loss, and a gradient, may be off."""

    loss: float
    gradient: float


# About fifty roundings follow each other on the way to a gradient, and add up like the steps of a random
# walk, to seven. The batch norm of `byol` divides by the spread of the hidden tokens, which is 1/5 of their
# size with sincos and 1/35 with rope (they are one vector, turned), on the way there and back: rounding grows
# by the square. A loss is a mean over hundreds of numbers, whose roundings in bfloat16 cancel.
UNIT = {"fp32": 2.0**-24, "bf16": 2.0**-8}
LIMITS = {
    ("fp32", "vjepa2", "rope"): Limit(8, 32),
    ("fp32", "vjepa2", "sincos"): Limit(8, 32),
    ("fp32", "vjepa2_1", "rope"): Limit(8, 32),
    ("fp32", "vjepa2_1", "sincos"): Limit(8, 32),
    ("fp32", "byol", "rope"): Limit(64, 8192),
    ("fp32", "byol", "sincos"): Limit(64, 512),
    ("fp32", "mae", "rope"): Limit(8, 32),
    ("fp32", "mae", "sincos"): Limit(8, 32),
    ("bf16", "vjepa2", "rope"): Limit(1, 32),
    ("bf16", "vjepa2", "sincos"): Limit(1, 32),
    ("bf16", "vjepa2_1", "rope"): Limit(1, 32),
    ("bf16", "vjepa2_1", "sincos"): Limit(1, 32),
    ("bf16", "byol", "sincos"): Limit(4, 128),  # with rope no limit would say anything
    ("bf16", "mae", "rope"): Limit(1, 32),
    ("bf16", "mae", "sincos"): Limit(1, 32),
}
XLA_ROUGHNESS = 4  # its CPU device adds one number after another, and has erf by a polynomial
CASES = [case for precision, *case in LIMITS if precision == "fp32"]
BF16_CASES = [case for precision, *case in LIMITS if precision == "bf16"]
XLA_CASES = [("vjepa2", "rope"), ("vjepa2_1", "rope"), ("byol", "sincos"), ("mae", "rope")]
EITHER = pytest.mark.parametrize(("objective", "position"), CASES)
# Of the norm of all gradients: rounding counts against it where one is smaller. With `byol` two are exactly
# 0, the biases before the batch norm, as sums of terms that are not.
SHARE = {"vjepa2": 1 / 64, "vjepa2_1": 1 / 64, "byol": 1 / 8, "mae": 1 / 64}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three devices: of 32 tokens 32, 18 and 24 hold a voxel, the last ones not only voxels."""
    folder = tmp_path_factory.mktemp("data")
    return ",".join(
        write_dataset(folder / device, {"train": 21}, shape, device) for device, shape in SHAPES.items()
    )


def config(shards: str, out: Path, objective: str, position: str, *more: str) -> TrainConfig:
    return config_for(shards, out, *settings(objective, position), *more)


def settings(objective: str, position: str) -> list[str]:
    more = LEVELS if objective == "vjepa2_1" else ()
    return [*SETTINGS, *more, f"objective.name={objective}", f"model.position={position}"]


def check(made: Step, expected: StepResult, cfg: TrainConfig, roughness: float = 1) -> None:
    """All that the step made, within the units of the case, each of them `roughness` roundings."""
    unit = UNIT[cfg.run.precision] * roughness
    limit = LIMITS[cfg.run.precision, cfg.objective.name, cfg.model.position]
    loss_off, off = unit * limit.loss, unit * limit.gradient
    arrays = made.made
    assert arrays["loss"] == pytest.approx(expected.loss, rel=loss_off)
    np.testing.assert_allclose(arrays["losses_B"], expected.losses_B, rtol=loss_off)
    assert arrays["norm"] == pytest.approx(expected.norm, rel=off)
    gradients = group(arrays, "gradient")
    assert gradients.keys() == expected.gradients.keys()
    clipped = min(expected.norm, cfg.optim.clip_grad)
    for name, gradient in expected.gradients.items():
        error, size = np.linalg.norm(gradients[name] - gradient), np.linalg.norm(gradient)
        assert error <= off * max(size, SHARE[cfg.objective.name] * clipped), (name, error)
    lr, target = learning_rate(made.schedule, cfg), "target_encoder."
    trained = {name: array for name, array in expected.weights.items() if not name.startswith(target)}
    averaged = {name: array for name, array in expected.weights.items() if name.startswith(target)}
    check_arrays(arrays, "weight", trained, off * lr)
    check_arrays(arrays, "weight", averaged, 0)
    check_arrays(arrays, "mean", expected.moments.mean, off * (1 - cfg.optim.beta1) * clipped)
    check_arrays(arrays, "square", expected.moments.square, off * (1 - cfg.optim.beta2) * clipped**2)


def check_arrays(
    arrays: Mapping[str, np.ndarray], kind: str, expected: Mapping[str, np.ndarray], off: float
) -> None:
    """Each number within `off`, and twice the rounding of float32, in which weights and moments are kept."""
    for name, array in expected.items():
        error = np.abs(arrays[f"{kind}/{name}"] - array).max()
        assert error <= 2 * UNIT["fp32"] * np.abs(array).max() + off, (kind, name, error)


@pytest.mark.parametrize("packing", ["on", "off"])
@EITHER
def test_the_cpu_in_float32(shards: str, tmp_path: Path, objective: str, position: str, packing: str) -> None:
    cfg = config(shards, tmp_path, objective, position, f"run.packing={packing}")
    made = run_step(cfg)
    for samples in made.micro_batches:
        assert {len(sample.ids_N) for sample in samples} == {32, 18, 24}
    check(made, in_float64(cfg, made), cfg)


@pytest.mark.parametrize(("objective", "position"), XLA_CASES)
def test_the_cpu_with_large_volumes_subsampled(
    shards: str, tmp_path: Path, objective: str, position: str
) -> None:
    cfg = config(shards, tmp_path, objective, position, "objective.max_tokens=27")
    made = run_step(cfg)
    for samples in made.micro_batches:
        assert {len(sample.ids_N) for sample in samples} == {27, 18, 24}
    check(made, in_float64(cfg, made), cfg)


COARSE = (
    "objective.context_scale=[2,2,1]",  # volumes of 2 x 2 x 2 and 2 x 2 x 1 cells, of which some are cut
    "objective.masks=[{kind: cubes, cube: [1,1,1], context: 2, target: 5}, {context: 3, target: 6}]",
)


@pytest.mark.parametrize(
    ("objective", "position"), [("vjepa2", "rope"), ("vjepa2", "sincos"), ("mae", "rope")]
)
def test_the_cpu_with_a_coarser_context(shards: str, tmp_path: Path, objective: str, position: str) -> None:
    cfg = config(shards, tmp_path, objective, position, *COARSE)
    made = run_step(cfg)
    check(made, in_float64(cfg, made), cfg)


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")],
        ),
    ],
)
def test_a_changing_weight_decay_in_the_cooldown_of_a_constant_rate(
    shards: str, tmp_path: Path, device: str
) -> None:
    """Step 4 of ten, where both are between their two ends; base_lr large, so that it shows."""
    lr = ("optim.schedule=constant", "optim.cooldown=0.75", "optim.warmup_epochs=0.25", "optim.base_lr=0.1")
    more = ("optim.final_weight_decay=2", f"run.device={device}")
    cfg = config(shards, tmp_path, "vjepa2", "rope", *lr, *more)
    made = run_step(cfg)
    assert made.schedule[0::2] == (32, 80)
    assert learning_rate(made.schedule, cfg) == pytest.approx(0.08, rel=1e-4)
    check(made, in_float64(cfg, made), cfg)


@pytest.mark.parametrize(("objective", "position"), XLA_CASES)
def test_the_cpu_with_divided_attention(shards: str, tmp_path: Path, objective: str, position: str) -> None:
    """In NumPy one plane after the other, and one column after the other."""
    cfg = config(shards, tmp_path, objective, position, "model.attention=divided")
    made = run_step(cfg)
    check(made, in_float64(cfg, made), cfg)


@pytest.mark.parametrize("objective", ["vjepa2", "mae"])
def test_the_cpu_with_the_same_share_of_every_volume(shards: str, tmp_path: Path, objective: str) -> None:
    """NumPy has no lists that repeat tokens. Of 32, 18 and 24 tokens."""
    masks = (
        "objective.masks=[{kind: cubes, cube: [1,1,1], context: 0.25, target: 0.4}, "
        "{context: 0.3, target: 0.3}]"
    )
    cfg = config(shards, tmp_path, objective, "rope", masks)
    made = run_step(cfg)
    counts = {
        len(sample.ids_N): [(len(context), len(target)) for context, target in sample.masks]
        for samples in made.micro_batches
        for sample in samples
    }
    assert counts == {
        32: [(8, 13), (10, 10)],
        18: [(4, 7), (5, 5)],
        24: [(6, 10), (7, 7)],
    }
    check(made, in_float64(cfg, made), cfg)


@pytest.mark.parametrize(("objective", "position"), BF16_CASES)
def test_the_cpu_under_autocast_to_bfloat16(
    shards: str, tmp_path: Path, objective: str, position: str
) -> None:
    cfg = config(shards, tmp_path, objective, position, "run.precision=bf16")
    made = run_step(cfg)
    check(made, in_float64(cfg, made), cfg)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("attention", ["joint", "divided"])
@pytest.mark.parametrize(("precision", "objective", "position"), LIMITS)
def test_the_gpu(
    shards: str, tmp_path: Path, precision: str, objective: str, position: str, attention: str
) -> None:
    more = [f"run.precision={precision}", "run.device=cuda", f"model.attention={attention}"]
    cfg = config(shards, tmp_path, objective, position, *more)
    made = run_step(cfg)
    check(made, in_float64(cfg, made), cfg)


@pytest.mark.xla
@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch_xla") is None, reason="torch_xla is not installed")
@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("attention", ["joint", "divided"])
def test_xla_in_float32(shards: str, tmp_path: Path, attention: str, devices: int) -> None:
    """In a process of its own; the batches are those of the CPU, which a test of the stream holds."""
    runs, form = {}, f"model.attention={attention}"
    for objective, position in XLA_CASES:
        more = [form, "run.device=xla", f"run.per_device_batch={4 // devices}"]
        cfg = config(shards, tmp_path / objective / "xla", objective, position, *more)
        runs[str(tmp_path / f"{objective}.npz")] = cfg
    environment = {
        **os.environ,
        "PJRT_DEVICE": "CPU",
        "CPU_NUM_DEVICES": str(devices),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # the same graphs, compiled twice as fast
    }
    configs = json.dumps({file: save(cfg) for file, cfg in runs.items()})
    words = [sys.executable, "-m", "tests.support.one_step", configs]
    process = subprocess.run(
        words, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=400
    )
    assert process.returncode == 0, process.stderr[-3000:]
    for (objective, position), file in zip(XLA_CASES, runs, strict=True):
        cfg = config(shards, tmp_path / objective / "cpu", objective, position, form)
        made = run_step(cfg)._replace(made=dict(np.load(file)))
        check(made, in_float64(cfg, made), cfg, XLA_ROUGHNESS)
