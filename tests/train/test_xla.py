"""The same loop on torch_xla's CPU device: no compile after step 2, no fallback, 1 device = 4 devices.

Every process opens XLA once with its number of devices, so that each number has one subprocess for all runs.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch.utils._pytree import tree_flatten

from octshard.train import loop, metrics_log
from tests.support import xla_runs
from tests.support.processes import ROOT
from tests.support.tiny_run import COARSE_CONTEXT, config_for, write_dataset

pytestmark = [
    pytest.mark.xla,
    pytest.mark.skipif(find_spec("torch_xla") is None, reason="torch_xla is not installed"),
]
LEVELS = ("objective.name=vjepa2_1", "model.depth=4", "objective.context_ramp=[0,0.9]")  # a weight a step
RUNS = {
    "vjepa2-fp32": ("objective.name=vjepa2", "run.precision=fp32"),
    "vjepa2-bf16": ("objective.name=vjepa2", "run.precision=bf16"),
    "byol-fp32": ("objective.name=byol", "run.precision=fp32", "optim.schedule=constant"),
}
SLOW_RUNS = {
    "vjepa2_1-fp32": (*LEVELS, "run.precision=fp32"),
    "mae-fp32": ("objective.name=mae", "run.precision=fp32"),
    "coarse-levels": (*COARSE_CONTEXT, "objective.name=vjepa2_1", "model.depth=4", "run.precision=fp32"),
}
STAGES = {  # of the mask ratio: five steps each, of other shapes; K and T are shares, drawn twice
    "stages": (
        "objective.masks=[{kind: cubes, cube: [1,1,1], ratio: 0.5, ratio_end: 0.75, context: 0.4, "
        "target: 0.5, draws: 2}]",
        "objective.mask_stages=2",
        "run.precision=fp32",
    )
}
EACH_RUN = pytest.mark.parametrize(
    "name", [*RUNS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_RUNS)]
)
SETTINGS = (
    "run.samples_budget=40",  # ten steps
    "run.log_every_steps=1",
    "run.checkpoint_every_epochs=9",
    "run.val_samples=0",
    "model.depth=2",
    "optim.final_lr=0",  # the last step is at lr 0 and EMA 1
    "optim.final_weight_decay=0.4",  # another number at each step
)
SCRIPT = """
import json, sys
sys.path.insert(0, {root!r})
import torch
from tests.support.tiny_run import config_for
from octshard.dataset.shard import BadSample
from octshard.devices import select
from octshard.train import loop, metrics_log

results = {{}}
for name, more in {runs!r}.items():
    settings = [*{settings!r}, *more, "run.device=xla", "run.per_device_batch=" + str(4 // {devices})]
    cfg = config_for({shards!r}, {out!r} + "/" + name, *settings)
    loop.train(cfg)
    results[name] = metrics_log.read(cfg.run.out)
try:
    loop.train(config_for({bad!r}, {out!r} + "/bad", *settings))
except BadSample as error:
    results["bad"] = str(error)
settings = ["run.device=xla", "run.per_device_batch=" + str(4 // {devices}), "run.val_samples=9"]
settings = [*{settings!r}, *settings, "run.samples_budget=4"]
cfg = config_for({shards!r}, {out!r} + "/validated", *settings)
loop.train(cfg)
results["validation"] = metrics_log.read(cfg.run.out)[-1]
backend = select.open_backend(cfg.run)
results["devices"] = backend.device_count
import torch_xla
batch = backend.ready(backend.to_device(torch.zeros(4, 2)))
results["sharding"] = torch_xla._XLAC._get_xla_sharding_spec(batch)
results["counters"] = backend.counters()
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21, "val": 9})


Results = dict[int, dict[str, Any]]  # number of virtual devices -> name of the run -> metrics of each step


@pytest.fixture(scope="module")
def results(shards: str, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Of RUNS."""
    return make(RUNS, shards, tmp_path_factory)


@pytest.fixture(scope="module")
def slow_results(shards: str, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Of the others."""
    return make({**SLOW_RUNS, **STAGES}, shards, tmp_path_factory)


@pytest.fixture
def results_of(request: pytest.FixtureRequest) -> Callable[[str], Results]:
    """Those with the run of that name, made when they are first asked for."""
    return lambda name: request.getfixturevalue("slow_results" if name in SLOW_RUNS else "results")


def make(runs: dict[str, tuple[str, ...]], shards: str, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """One process for each number of devices."""
    bad = write_dataset(tmp_path_factory.mktemp("bad") / "device", {"train": 21})
    data = bytearray(Path(bad, "train-000002.tar").read_bytes())
    data[900] ^= 4
    Path(bad, "train-000002.tar").write_bytes(data)

    def script(devices: int) -> str:
        out = str(tmp_path_factory.mktemp(f"xla{devices}"))
        return SCRIPT.format(
            root=str(ROOT), runs=runs, settings=SETTINGS, devices=devices, shards=shards, out=out, bad=bad
        )

    return xla_runs.results_of(script)


@pytest.mark.parametrize("devices", [1, 4])
@EACH_RUN
def test_from_the_third_step_on_nothing_compiles_and_nothing_falls_back(
    results_of: Callable[[str], Results], devices: int, name: str
) -> None:
    steps = results_of(name)[devices][name]
    assert [step["step"] for step in steps] == list(range(1, 11))
    assert {step["compiles"] for step in steps[2:]} == {steps[1]["compiles"]}
    assert {step["fallbacks"] for step in steps} == {0}
    assert (steps[-1]["lr"], steps[-1]["ema"]) == (0.0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_within_a_stage_of_the_mask_ratio_nothing_compiles_after_its_second_step(
    slow_results: Results, devices: int
) -> None:
    steps = slow_results[devices]["stages"]
    compiles = [step["compiles"] for step in steps]
    assert len(set(compiles[1:5])) == len(set(compiles[6:])) == 1
    assert compiles[6] > compiles[4]  # the shapes are others
    assert {step["fallbacks"] for step in steps} == {0}
    losses = ([step["loss"] for step in slow_results[number]["stages"]] for number in (1, 4))
    assert next(losses) == pytest.approx(next(losses), rel=1e-5)


@EACH_RUN
def test_four_virtual_devices_have_the_loss_of_one(results_of: Callable[[str], Results], name: str) -> None:
    """At the same weights, and after one update with exchanged gradients, within rounding.

    Later steps carry the rounding of every update before them; small BatchNorms and Adam magnify it.
    """
    results = results_of(name)
    assert (results[1]["devices"], results[4]["devices"]) == (1, 4)
    assert "devices=[4,1]" in results[4]["sharding"]
    tolerance = 1e-3 if name.endswith("bf16") else 1e-5
    later = 1e-4 if name.startswith("byol") else tolerance
    single, four = ([step["loss"] for step in results[devices][name]] for devices in (1, 4))
    assert four[:2] == pytest.approx(single[:2], rel=tolerance)
    assert four == pytest.approx(single, rel=later)


@pytest.mark.parametrize("name", ["vjepa2-fp32", pytest.param("coarse-levels", marks=pytest.mark.slow)])
def test_xla_has_the_loss_of_the_cpu(
    results_of: Callable[[str], Results], shards: str, tmp_path: Path, name: str
) -> None:
    """Same weights, same views, same masks: in fp32 the first steps agree to rounding."""
    cfg = config_for(shards, tmp_path, *SETTINGS, *(RUNS | SLOW_RUNS)[name])
    loop.train(cfg)
    losses = [line["loss"] for line in metrics_log.read(cfg.run.out)]
    assert [step["loss"] for step in results_of(name)[1][name]] == pytest.approx(losses, rel=1e-4)


def test_nine_validation_volumes_count_once_on_one_device_on_four_and_on_the_cpu(
    results: Results, shards: str, tmp_path: Path
) -> None:
    more = ("run.samples_budget=4", "run.val_samples=9", "run.per_device_batch=1")
    cfg = config_for(shards, tmp_path, *SETTINGS, *more)
    loop.train(cfg)
    on_cpu = metrics_log.read(cfg.run.out)[-1]
    for name in ("val_loss", "val_loss_other_context", "val_loss_position_only", "skill"):
        one, four = (results[devices]["validation"][name] for devices in (1, 4))
        assert four == pytest.approx(one, rel=1e-5, abs=1e-5)
        assert one == pytest.approx(on_cpu[name], rel=1e-4, abs=1e-4)


def test_an_error_of_the_stream_reaches_the_loop(results: Results) -> None:
    for devices in (1, 4):
        assert "train-000002.tar at 0 (train010-" in results[devices]["bad"]


SIZES = """
import json, sys
sys.path.insert(0, {root!r})
from tests.support.tiny_run import config_for
from octshard.train import loop, metrics_log

settings = [*{settings!r}, "run.device=xla", "run.per_device_batch=1", "run.precision=fp32"]
results = {{}}
for name, more in (("one", ["run.packing=off"]), ("several", ["run.memory_probe=on"])):
    cfg = config_for({shards!r}, {out!r} + "/" + name, *settings, *more)
    loop.train(cfg)
    results[name] = metrics_log.read(cfg.run.out)
print(json.dumps(results))
"""


@pytest.mark.slow
def test_lists_of_several_lengths_are_compiled_before_the_first_step_and_change_no_loss(
    tmp_path: Path,
) -> None:
    """Steps of three parts, of volumes of two sizes; 1 and 2 devices."""
    shards = ",".join(
        write_dataset(tmp_path / name, {"train": count}, shape, device=name)
        for name, count, shape in (("tall", 8, (6, 20, 24)), ("flat", 8, (6, 12, 24)))
    )
    settings = [*SETTINGS, "run.global_batch=12", "run.samples_budget=72"]

    def script(devices: int) -> str:
        out = str(tmp_path / f"xla{devices}")
        return SIZES.format(root=str(ROOT), settings=settings, shards=shards, out=out)

    for result in xla_runs.results_of(script, (1, 2)).values():
        one, several = (result[name] for name in ("one", "several"))
        assert [line["loss"] for line in several] == pytest.approx([line["loss"] for line in one], rel=1e-4)
        assert len(several) == 6
        assert {line["compiles"] for line in several[1:]} == {several[0]["compiles"]}
        assert {line["fallbacks"] for line in several} == {0}
        assert several[0]["compiles"] - one[-1]["compiles"] <= 4 * 3 * 2  # both parts of a length's graphs


RESUME = """
import os, signal, sys
sys.path.insert(0, {root!r})
from tests.support.tiny_run import config_for
from octshard.devices import select
from octshard.errors import OctshardError
from octshard.train import inputs, loop
from tests.train.test_nonfinite import planted

def stop(step, *_):
    if step == 2:
        os.kill(os.getpid(), signal.SIGTERM)

settings = [*{settings!r}, "run.device=xla", "run.per_device_batch=4", "run.samples_budget=16"]
whole, halves, bad = (
    config_for({shards!r}, {out!r} + "/" + name, *settings) for name in ("whole", "halves", "bad")
)
loop.train(whole)
assert loop.train(halves, stop).step == 2
loop.train(halves)

before = select.open_backend(whole.run).counters()["compiles"]
probed = config_for({shards!r}, {out!r} + "/probed", *settings, "run.memory_probe=on")
loop.train(probed)  # what the probe compiles is what the run needs
assert select.open_backend(whole.run).counters()["compiles"] == before

draw, count, compiles, keys = inputs.views.draw, loop.count_step, [], []
def counted(run, state, micro_batches, outputs):
    record = count(run, state, micro_batches, outputs)
    keys.append(record.keys)
    compiles.append(run.backend.counters()["compiles"])
    return record
loop.count_step = counted
seen = config_for({shards!r}, {out!r} + "/seen", *settings)
seen.run.log_every_steps = bad.run.log_every_steps = 100
loop.train(seen)
inputs.views.draw = planted(keys[2][1])
try:
    loop.train(bad)
except OctshardError as error:
    assert "step 3: " in str(error) and keys[2][1] in str(error), error
    assert len(compiles) == 8 and compiles[4:] == [compiles[3]] * 4, compiles
else:
    raise AssertionError("a NaN was not met")
"""


@pytest.mark.parametrize(
    "more", [(), pytest.param(LEVELS, marks=pytest.mark.slow)], ids=["vjepa2", "vjepa2_1"]
)
def test_a_resumed_run_is_the_one_that_was_never_stopped_and_a_bad_step_changes_nothing(
    shards: str, tmp_path: Path, more: tuple[str, ...]
) -> None:
    settings = [*SETTINGS, *more]
    script = RESUME.format(root=str(ROOT), settings=settings, shards=shards, out=str(tmp_path))
    flags = {"PJRT_DEVICE": "CPU", **xla_runs.QUICK_COMPILES}
    subprocess.run([sys.executable, "-c", script], env=os.environ | flags, check=True, timeout=550)
    whole, halves = (payload_of(tmp_path / name, 4) for name in ("whole", "halves"))
    assert len(check_same_tensors(whole, halves)) > 100
    # what the bad third step left is what a run had that was stopped after the second
    stopped = payload_of(tmp_path / "halves", 2)
    kept = payload_of(tmp_path / "bad" / "nonfinite-step-00000003", 2)
    check_same_tensors(stopped, kept)
    check_same_tensors(stopped, payload_of(tmp_path / "bad", 3))


def payload_of(folder: Path, step: int) -> dict[str, Any]:
    path = folder / "checkpoints" / f"step-{step:08d}.pt"
    return cast(dict[str, Any], torch.load(path, weights_only=True))


def check_same_tensors(one: dict[str, Any], other: dict[str, Any]) -> list[torch.Tensor]:
    trees = [
        tree_flatten({name: payload[name] for name in ("model", "optimizer")})[0] for payload in (one, other)
    ]
    tensors = [(a, b) for a, b in zip(*trees, strict=True) if isinstance(a, torch.Tensor)]
    assert all(torch.equal(a, b) for a, b in tensors)
    return [a for a, _ in tensors]
