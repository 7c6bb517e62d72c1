"""One step of the real loop, on each backend, is the step that NumPy makes in float64 from the formulas.

Loss, norm, every gradient, every weight, the moments and the moving average, over two micro-batches.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from octshard.config.load import save
from octshard.config.train import TrainConfig
from tests.support.numpy_step.step import StepResult, learning_rate
from tests.support.one_step import Step, group, in_float64, run_step
from tests.support.tiny_run import config_for, write_dataset

SETTINGS = (
    "model.width=28",  # heads of 14: two features are not rotated; sin-cos: four columns are 0
    "predictor.width=20",
    "model.mlp_ratio=2",
    "objective.masks=[{kind: cubes, cube: [1,1,1], context: 6, target: 5}, {context: 7, target: 9}]",
    "views.zoom=0",  # an interpolation has tests of its own
    "views.tilt=0",
    "optim.clip_grad=0.5",  # below every norm here
    "optim.warmup_epochs=2",
    "run.global_batch=8",
    "run.samples_budget=80",
    "run.val_samples=0",
)
# The unit of rounding, and how many of them a number may be off. About fifty roundings follow each other, and
# add up like the steps of a walk at random: to seven. The batch norm of `byol` divides by the spread of the
# hidden tokens, which is 1/5 of their size with sincos and 1/35 with rope (all hidden tokens are one vector,
# turned); both ways, so that rounding grows by the square.
UNIT = {"fp32": 2.0**-24, "bf16": 2.0**-8}
UNITS = {("vjepa2", "rope"): 32, ("vjepa2", "sincos"): 32, ("byol", "rope"): 8192, ("byol", "sincos"): 128}
LOSS_UNITS = {"vjepa2": 8, "byol": 64}  # forward only, and a mean over a hundred numbers and more
XLA_ROUGHNESS = 4  # its CPU device adds one number after another, and has erf by a polynomial
CASES = list(UNITS)
XLA_CASES = [("vjepa2", "rope"), ("byol", "sincos")]
EITHER = pytest.mark.parametrize(("objective", "position"), CASES)
# Of the norm of all gradients: rounding counts against it where one is smaller. With `byol` two are exactly
# 0, the biases before the batch norm, as sums of terms that are not.
SHARE = {"vjepa2": 1 / 64, "byol": 1 / 8}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    return write_dataset(folder / "full", {"train": 21}, (8, 32, 16))


def config(shards: str, out: Path, objective: str, position: str, *more: str) -> TrainConfig:
    return config_for(shards, out, *settings(objective, position), *more)


def settings(objective: str, position: str) -> list[str]:
    return [*SETTINGS, f"objective.name={objective}", f"model.position={position}"]


def check(made: Step, expected: StepResult, cfg: TrainConfig, roughness: float = 1) -> None:
    """All that the step made, within the units of the case, each of them `roughness` roundings."""
    unit = UNIT[cfg.run.precision] * roughness
    off = unit * UNITS[cfg.objective.name, cfg.model.position]
    loss_off = unit * LOSS_UNITS[cfg.objective.name]
    arrays = made.made
    assert arrays["loss"] == pytest.approx(expected.loss, rel=loss_off)
    np.testing.assert_allclose(arrays["losses_B"], expected.losses_B, rtol=loss_off)
    assert arrays["norm"] == pytest.approx(expected.norm, rel=off)
    gradients = group(arrays, "gradient")
    assert gradients.keys() == expected.gradients.keys()
    clipped = min(expected.norm, cfg.optim.clip_grad)
    for name, gradient in expected.gradients.items():
        error = np.linalg.norm(gradients[name] - gradient)
        assert error <= off * max(np.linalg.norm(gradient), SHARE[cfg.objective.name] * clipped), (
            name,
            error,
        )
    lr, rounding = learning_rate(made.schedule, cfg), 2 * UNIT["fp32"]  # weights are float32 everywhere
    for kind, group_ in (
        ("weight", expected.weights),
        *zip(("mean", "square"), expected.moments, strict=False),
    ):
        for name, array in group_.items():
            moved = {"weight": lr * (not name.startswith("target_")), "mean": 0.1 * clipped, "square": 1e-3}[
                kind
            ]
            limit = rounding * np.abs(array).max() + off * moved
            assert np.abs(group(arrays, kind)[name] - array).max() <= limit, (kind, name)


@EITHER
def test_the_cpu_in_float32(shards: str, tmp_path: Path, objective: str, position: str) -> None:
    cfg = config(shards, tmp_path, objective, position)
    made = run_step(cfg)
    assert [len(samples) for samples in made.micro_batches] == [4, 4]
    check(made, in_float64(cfg, made), cfg)


@pytest.mark.parametrize(("objective", "position"), [case for case in CASES if case != ("byol", "rope")])
def test_the_cpu_under_autocast_to_bfloat16(
    shards: str, tmp_path: Path, objective: str, position: str
) -> None:
    """The same limits in units of bfloat16. `byol` with rope is left out: nothing would be wrong there."""
    cfg = config(shards, tmp_path, objective, position, "run.precision=bf16")
    made = run_step(cfg)
    check(made, in_float64(cfg, made), cfg)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", UNIT)
@EITHER
def test_the_gpu(shards: str, tmp_path: Path, objective: str, position: str, precision: str) -> None:
    if (objective, position, precision) == ("byol", "rope", "bf16"):
        pytest.skip("its limit is beyond every error")
    cfg = config(shards, tmp_path, objective, position, f"run.precision={precision}", "run.device=cuda")
    made = run_step(cfg)
    check(made, in_float64(cfg, made), cfg)


@pytest.mark.xla
@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch_xla") is None, reason="torch_xla is not installed")
@pytest.mark.parametrize("devices", [1, 4])
def test_xla_in_float32(shards: str, tmp_path: Path, devices: int) -> None:
    """In a process of its own; the batches are those of the CPU, which a test of the stream holds."""
    runs = {}
    for objective, position in XLA_CASES:
        more = ["run.device=xla", f"run.per_device_batch={4 // devices}"]
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
        cfg = config(shards, tmp_path / objective / "cpu", objective, position)
        made = run_step(cfg)._replace(made=dict(np.load(file)))
        check(made, in_float64(cfg, made), cfg, XLA_ROUGHNESS)
