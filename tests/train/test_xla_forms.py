"""Encoders of other form on torch_xla's CPU device: divided, with drop path and activation checkpointing; and
volumes of 12 bits beside those of 8.

As in test_xla: no compile after step 2, no fallback, 1 device = 4 devices = the CPU.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from octshard.train import loop, metrics_log
from octshard.train.objectives.build import CLASSES
from tests.support.processes import ROOT
from tests.support.tiny_run import FORM, config_for, objective_words, odd_wide, write_dataset
from tests.support.xla_runs import results_of

pytestmark = [
    pytest.mark.xla,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("torch_xla") is None, reason="torch_xla is not installed"),
]
SETTINGS = (
    "run.samples_budget=24",  # six steps
    "run.log_every_steps=1",
    "run.checkpoint_every_epochs=9",
    "run.val_samples=0",
)
RUNS = {
    name: (*FORM, *(("model.position=sincos",) if name == "byol" else ()), *objective_words(name))
    for name in CLASSES
}
SCRIPT = """
import json, sys
sys.path.insert(0, {root!r})
from tests.support.tiny_run import config_for
from octshard.train import loop, metrics_log

results = {{}}
for name, more in {runs!r}.items():
    settings = [*{settings!r}, *more, "run.device=xla", "run.per_device_batch=" + str(4 // {devices})]
    cfg = config_for({shards!r}, {out!r} + "/" + name, *settings)
    loop.train(cfg)
    results[name] = metrics_log.read(cfg.run.out)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21}, is_wide=odd_wide)


@pytest.fixture(scope="module")
def results(shards: str, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """Number of virtual devices -> name of the objective -> metrics of each step."""

    def script(devices: int) -> str:
        out = str(tmp_path_factory.mktemp(f"xla{devices}"))
        return SCRIPT.format(
            root=str(ROOT), runs=RUNS, settings=SETTINGS, devices=devices, shards=shards, out=out
        )

    return results_of(script)


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("name", RUNS)
def test_from_the_third_step_on_nothing_compiles_and_nothing_falls_back(
    results: dict[int, dict[str, Any]], devices: int, name: str
) -> None:
    steps = results[devices][name]
    assert [step["step"] for step in steps] == list(range(1, 7))
    assert {step["compiles"] for step in steps[2:]} == {steps[1]["compiles"]}
    assert {step["fallbacks"] for step in steps} == {0}


@pytest.mark.parametrize("name", RUNS)
def test_one_device_and_four_have_the_loss_of_the_cpu(
    results: dict[int, dict[str, Any]], shards: str, tmp_path: Path, name: str
) -> None:
    cfg = config_for(shards, tmp_path, *SETTINGS, *RUNS[name])
    loop.train(cfg)
    expected = [line["loss"] for line in metrics_log.read(cfg.run.out)]
    for devices in (1, 4):
        losses = [step["loss"] for step in results[devices][name]]
        assert losses == pytest.approx(expected, rel=1e-3 if name == "byol" else 1e-4)
