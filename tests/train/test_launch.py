"""Processes of one run that are not alike, or of which one fails: each ends with a line that says so."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from octshard.config.run import RunConfig
from octshard.config.train import TrainConfig
from octshard.dataset.shard import BadSample
from octshard.errors import OctshardError, UsageError
from octshard.train import launch
from tests.support.processes import ROOT, environments
from tests.support.tiny_run import SETTINGS, write_dataset

MORE = ("run.per_device_batch=2", "run.samples_budget=8")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21, "val": 9})


def start(
    words: Sequence[str], folder: Path, environment: dict[str, str], code: Path = ROOT
) -> "subprocess.Popen[str]":
    """`octshard train` of the checkout `code`."""
    config = folder / "empty.yaml"
    config.write_text("{}\n")
    command = [sys.executable, "-m", "octshard", "train", "--config", str(config), *SETTINGS, *MORE, *words]
    return subprocess.Popen(
        command, cwd=code, env={"PATH": "/usr/bin", "PYTHONPATH": str(code), **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("odd", "codes", "line"),
    [
        (
            "code",
            (2, 2),
            r"process 1 \(.*\) has code \w{8}, process 0 \(.*\) has \w{8}; want",
        ),
        (
            "run.log_every_steps=3",
            (2, 2),
            r"process 1 .* has run.log_every_steps 3, process 0 .* has 2;",
        ),
        ("data", (2, 2), r"process 1 .* has data.samples 22, process 0 .* has 21; .*data.digest"),
        ("data.shards=[nowhere]", (1, 2), r"process 1 of 2 failed at its start, on .*: .*nowhere"),
    ],
)
def test_two_processes_that_are_not_alike_end_with_the_odd_one_named(
    shards: str, tmp_path: Path, odd: str, codes: tuple[int, int], line: str
) -> None:
    code, words = ROOT, [f"data.shards=[{shards}]", f"run.out={tmp_path / 'run'}"]
    odd_words = list(words)
    if odd == "code":
        code = tmp_path / "stale"
        shutil.copytree(ROOT / "octshard", code / "octshard", ignore=shutil.ignore_patterns("__pycache__"))
        with (code / "octshard" / "train" / "loop.py").open("a") as file:
            file.write("# of yesterday\n")
    elif odd == "data":
        odd_words[0] = f"data.shards=[{write_dataset(tmp_path / 'other', {'train': 22, 'val': 9})}]"
    else:
        odd_words.append(odd)
    first, second = environments(2)
    processes = [start(words, tmp_path, first), start(odd_words, tmp_path, second, code)]
    errors = [process.communicate(timeout=400)[1] for process in processes]
    assert tuple(process.returncode for process in processes) == codes, errors

    assert re.search(line, errors[0]), errors
    assert "Traceback" not in "".join(errors)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_one_that_never_comes_ends_the_wait_and_one_device_is_advised(shards: str, tmp_path: Path) -> None:
    words = [f"data.shards=[{shards}]", f"run.out={tmp_path / 'run'}", "run.start_timeout_s=1"]
    process = start(words, tmp_path, environments(2)[0])
    _, stderr = process.communicate(timeout=400)
    assert process.returncode == 1, stderr
    (line,) = (line for line in stderr.splitlines() if line.startswith("octshard: "))
    assert "process 0 of 2: the others cannot be reached within run.start_timeout_s=1 (" in line
    advice = line.split("one step on one device, without torchrun: ")[1]
    # the advice is a command, and it works
    done = subprocess.run(
        f"{sys.executable} -m {advice}", shell=True, cwd=ROOT, capture_output=True, text=True, timeout=150,
        env={"PATH": "/usr/bin", "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "run-one-device: 1 steps, 4 samples" in done.stdout


def test_only_a_launch_over_several_devices_is_advised_and_only_before_its_first_step() -> None:
    cfg = TrainConfig(run=RunConfig(out="runs/a", device="cpu", global_batch=8))

    def fail(error: Exception, devices: int, *, steps: bool = False) -> None:
        with launch.open_launch(cfg, "octshard train --config a.yaml") as launched:
            launched.device_count = devices
            if steps:
                launched.until_first_step(lambda step, total, note: None)(1, 2, "")
            raise error

    with pytest.raises(
        OctshardError, match=r"^RuntimeError: NCCL error; one step on one device, .*"
    ) as raised:
        fail(RuntimeError("NCCL\nerror"), 8)
    assert str(raised.value).endswith(
        "octshard train --config a.yaml run.out=runs/a-one-device run.epochs=null run.samples_budget=8"
    )
    with pytest.raises(RuntimeError, match=r"^NCCL$"):
        fail(RuntimeError("NCCL"), 1)
    with pytest.raises(RuntimeError, match=r"^NCCL$"):
        fail(RuntimeError("NCCL"), 8, steps=True)
    with pytest.raises(UsageError, match=r"^wrong$"):
        fail(UsageError("wrong"), 8)
    with pytest.raises(BadSample, match=r"^damaged$"):
        fail(BadSample("damaged"), 8)
    assert launch.one_device(cfg, "tpu", "x").startswith("TPU_PROCESS_BOUNDS=1,1,1 ")
