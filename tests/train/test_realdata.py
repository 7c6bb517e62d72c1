"""Ten steps of the smoke config on real pixels, on the CPU and on XLA's CPU device, by the command itself."""

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from octshard.config.load import load
from octshard.config.prep import PrepConfig
from octshard.prep.build import run
from octshard.prep.release import unzip

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


@pytest.fixture(scope="module")
def shards(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Triton shards of the real pixels, at the seed spacing."""
    root = tmp_path_factory.mktemp("real")
    unzip.unzip(str(realdata), str(root / "dicom"), unzip.Limits(2, 256_000_000))
    cfg = load(PrepConfig, overrides=[f"src={root}/dicom", f"dst={root}/shards"])
    run.shard(cfg, ["topcon_triton"])
    return root / "shards" / "topcon_triton"


def losses(shards: Path, out: Path, device: str) -> list[float]:
    """Losses of the ten steps; every line of metrics is checked for the XLA counters on the way."""
    words = [f"data.shards=[{shards}]", f"run.out={out}", f"run.device={device}"]
    command = [
        sys.executable,
        "-m",
        "octshard",
        "train",
        "--config",
        "smoke_test",
    ]
    environment = {**os.environ, "PJRT_DEVICE": "CPU"}
    done = subprocess.run([*command, *words], env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()
    ]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 11))
    assert all(line["skipped_files"] == 5 and line["left_out"] == 0 for line in steps)
    assert sum("val_loss" in line for line in lines) == 2
    if device == "xla":
        assert all(line["fallbacks"] == 0 for line in steps)
        assert (
            steps[4]["compiles"] == steps[2]["compiles"]
        )  # none from the third step to the first validation
        assert steps[9]["compiles"] == steps[5]["compiles"]
    return [line["loss"] for line in steps]


@pytest.fixture(scope="module")
def on_cpu(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return losses(shards, tmp_path_factory.mktemp("cpu") / "run", "cpu")


def test_ten_steps_on_the_cpu(on_cpu: list[float]) -> None:
    assert all(map(math.isfinite, on_cpu))
    assert on_cpu[-1] < on_cpu[0]


@pytest.mark.xla
@pytest.mark.skipif(find_spec("torch_xla") is None, reason="torch_xla is not installed")
def test_ten_steps_on_xla_agree(shards: Path, on_cpu: list[float], tmp_path: Path) -> None:
    on_xla = losses(shards, tmp_path / "run", "xla")
    assert max(abs(x - y) for x, y in zip(on_cpu, on_xla, strict=True)) < 0.01  # bf16 on both
