"""The command stopped by signals: saved, the shell's exit codes, and two processes that stop as one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from octshard.models import checkpoint
from octshard.train import metrics_log
from tests.support.processes import ROOT, environments
from tests.support.tiny_run import COARSE_CONTEXT, FORM, SETTINGS, objective_words, write_dataset

SCRIPT = """
import os, signal, sys
from octshard.cli import main
from octshard.train import loop

train, signals = loop.train, {signals!r}

def signalled(cfg, on_progress, **more):
    def progress(step, steps, note):
        on_progress(step, steps, note)
        if step == {at_step}:
            for name in signals:
                os.kill(os.getpid(), getattr(signal, name))
    return train(cfg, progress, **more)

loop.train = signalled
sys.argv = ["octshard", "train", "--config", {config!r}, *{words!r}]
main.main()
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21, "val": 9})


def start(
    shards: str, out: Path, signals: list[str], at_step: int, *more: str, **environment: str
) -> "subprocess.Popen[str]":
    config = out.parent / "empty.yaml"
    config.write_text("{}\n")
    words = [*SETTINGS, f"data.shards=[{shards}]", f"run.out={out}", *more]
    script = SCRIPT.format(signals=signals, at_step=at_step, config=str(config), words=words)
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("signals", "at_step", "code", "steps"),
    [
        (["SIGTERM"], 2, 143, [2]),
        (["SIGINT"], 2, 130, [2]),
        (["SIGINT", "SIGINT"], 2, 130, []),  # the second one leaves at once
        (["SIGTERM", "SIGINT"], 2, 130, []),
        (["SIGTERM"], 8, 0, [5, 8]),  # at its end: nothing is left to stop
    ],
)
def test_a_signal_before_the_end_is_saved_and_in_the_exit_code(
    shards: str, tmp_path: Path, signals: list[str], at_step: int, code: int, steps: list[int]
) -> None:
    more = ("run.samples_budget=32", "run.checkpoint_every_epochs=1")
    process = start(shards, tmp_path / "run", signals, at_step, *more)
    stdout, stderr = process.communicate(timeout=400)
    assert process.returncode == code, stderr
    assert [info.step for info in checkpoint.list_checkpoints(str(tmp_path / "run"))] == steps
    assert "Traceback" not in stderr
    assert (f"stopped by {signals[0]} and saved at step 2 of 8" in stderr) == (steps == [2])
    assert ("8 steps, 32 samples" in stdout) == (code == 0)


def start_two(shards: str, out: Path, *more: str) -> list["subprocess.Popen[str]"]:
    """Two processes of one run on the CPU, as torchrun would start them."""
    return [
        start(shards, out, [], 0, "run.per_device_batch=2", *more, **environment)
        for environment in environments(2)
    ]


def test_a_signal_to_one_process_stops_and_saves_all_after_one_step(shards: str, tmp_path: Path) -> None:
    """Between two log steps, and to the process that saves nothing itself."""
    out = tmp_path / "run"
    first, second = start_two(shards, out, "run.samples_budget=1000000", "run.log_every_steps=100000",
                              "run.checkpoint_every_epochs=100000")  # fmt: skip
    assert first.stderr is not None
    heard = next(line for line in first.stderr if line.startswith("train: 1/"))
    second.send_signal(signal.SIGTERM)
    (stdout, stderr), (stdout_of_second, stderr_of_second) = (
        p.communicate(timeout=400) for p in (first, second)
    )
    assert (first.returncode, second.returncode) == (143, 143), heard + stderr + stderr_of_second
    (info,) = checkpoint.list_checkpoints(str(out))
    assert 1 <= info.step < 250_000
    assert f"stopped by SIGTERM and saved at step {info.step} of 250000" in stderr
    own_lines = [line for line in (stdout + stdout_of_second).splitlines() if not line.startswith("[Gloo]")]
    # one speaks for all; torch itself may say that the store of the first went before the second did
    of_torch = stderr_of_second.find("[rank1]:[W")
    own_words = stderr_of_second[:of_torch] if of_torch >= 0 else stderr_of_second
    assert (own_lines, own_words) == ([], "")
    assert "octshard:" not in stderr_of_second
    assert "Traceback" not in stderr_of_second


STAGES = (
    "objective.masks=[{kind: cubes, cube: [1,1,1], ratio: 0.5, ratio_end: 0.75, context: 0.4, target: 0.5, "
    "draws: 2}]",
    "objective.mask_stages=3",
)
RAMP = ("objective.context_ramp=[0,0.9]",)  # another weight at each step


# 1: gradients are exchanged in the second micro-batch only
@pytest.mark.parametrize(
    ("objective", "micro_batch", "more_words"),
    [
        ("vjepa2", 2, ()),
        pytest.param("vjepa2", 1, (), marks=pytest.mark.slow),
        ("vjepa2_1", 1, RAMP),
        ("mae", 1, ()),
        pytest.param("vjepa2", 1, STAGES, marks=pytest.mark.slow),
        pytest.param("vjepa2", 1, COARSE_CONTEXT, marks=pytest.mark.slow),
        pytest.param("vjepa2", 1, FORM, marks=pytest.mark.slow),
        pytest.param("vjepa2_1", 1, FORM, marks=pytest.mark.slow),
        pytest.param("mae", 1, FORM, marks=pytest.mark.slow),
    ],
    ids=[
        "vjepa2-2",
        "vjepa2-1",
        "vjepa2_1-1",
        "mae-1",
        "stages-1",
        "coarse-1",
        "divided vjepa2-1",
        "divided vjepa2_1-1",
        "divided mae-1",
    ],
)
def test_two_processes_have_the_losses_and_gradients_of_one(
    shards: str, tmp_path: Path, objective: str, micro_batch: int, more_words: tuple[str, ...]
) -> None:
    more = (*more_words, *objective_words(objective), f"run.per_device_batch={micro_batch}",
            "run.samples_budget=32", "run.val_samples=9", "run.log_every_steps=1")  # fmt: skip
    for process in (
        start(shards, tmp_path / "one", [], 0, *more),
        *start_two(shards, tmp_path / "two", *more),
    ):
        _, stderr = process.communicate(timeout=400)
        assert process.returncode == 0, stderr
    one, two = (metrics_log.read(str(tmp_path / name)) for name in ("one", "two"))
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for name in ("loss", "val_loss", "val_loss_other_context", "skill", "grad_norm"):
        expected = [line[name] for line in one if name in line]
        assert expected
        assert [line[name] for line in two if name in line] == pytest.approx(expected, rel=1e-5)
