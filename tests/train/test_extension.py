"""A run is made longer: what goes on by itself is the run that was planned so; what would jump asks first."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_flatten

from octshard.errors import UsageError
from octshard.models import checkpoint
from octshard.train import loop, metrics_log, optim
from octshard.train.optim import Length
from tests.support.log_lines import log_lines
from tests.support.tiny_run import config_for, write_dataset

EVEN = ("objective.ema_start=0.999", "objective.ema_end=0.999", "optim.warmup_epochs=0.25")
CONSTANT = ("optim.schedule=constant", *EVEN)
OFTEN = ("run.log_every_steps=1", "run.checkpoint_every_epochs=0.1", "run.keep_last=0", "run.val_samples=0")
KEPT = ("step", "samples_seen", "loss", "grad_norm", "lr", "weight_decay", "ema", "feature_std", "passes")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21})


def tensors_of(out: Path) -> list[torch.Tensor]:
    payload = checkpoint.load_newest(str(out))[1]
    return [leaf for leaf in tree_flatten(payload)[0] if isinstance(leaf, torch.Tensor)]


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [{name: line[name] for name in KEPT} for line in metrics_log.read(str(out))]


def changes_of(out: Path) -> Any:
    return json.loads((out / "changes.json").read_text())


@pytest.mark.parametrize(
    ("before", "after", "cooldown"),
    [
        (("run.samples_budget=16",), ("run.samples_budget=32",), 0.0),
        (("run.samples_budget=16",), ("run.samples_budget=32", "optim.cooldown=0.5"), 0.5),
        (("run.epochs=0.8",), ("run.epochs=1.55",), 0.0),  # 4 and 8 steps
        (("run.epochs=0.8",), ("run.samples_budget=32",), 0.0),
    ],
    ids=["longer", "with a cooldown then", "in passes", "in other words"],
)
def test_a_constant_rate_goes_on_by_itself_as_the_run_that_was_planned_so(
    shards: str, tmp_path: Path, before: tuple[str, ...], after: tuple[str, ...], cooldown: float
) -> None:
    """Bit for bit: weights, moments, lines of metrics."""
    words = (*CONSTANT, *OFTEN, "optim.cooldown=0")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    loop.train(config_for(shards, whole, *words, "run.samples_budget=32", f"optim.cooldown={cooldown}"))
    assert loop.train(config_for(shards, halves, *words, *before)).step == 4
    with log_lines() as lines:
        assert loop.train(config_for(shards, halves, *words, *after)).step == 8
    assert any("step 4: goes on with other values: " in line for line in lines)
    pairs = list(zip(tensors_of(whole), tensors_of(halves), strict=True))
    assert len(pairs) > 100
    assert all(torch.equal(one, other) for one, other in pairs)
    assert lines_of(whole) == lines_of(halves)
    assert [line["step"] for line in lines_of(halves)] == list(range(1, 9))
    (change,) = changes_of(halves)
    assert change["extension"] == {"samples": [16, 32], "jumps": {}}
    milestones = [info.step for info in checkpoint.list_checkpoints(str(halves)) if info.milestone]
    assert milestones == [1, 2, 3, 4, 6, 8]  # quarters of the first length, then of the second


def test_a_finished_cosine_says_what_would_jump_and_goes_on_when_told(shards: str, tmp_path: Path) -> None:
    words = (*OFTEN, "optim.base_lr=1e-3", "optim.final_lr=1e-5", "optim.warmup_epochs=0")
    loop.train(config_for(shards, tmp_path, *words, "run.samples_budget=16"))
    longer = config_for(shards, tmp_path, *words, "run.samples_budget=64")
    with pytest.raises(UsageError) as error:
        loop.train(longer)
    # a quarter of 64 samples is seen
    lr, ema = (end + (start - end) * (2 + 2**0.5) / 4 for start, end in ((1e-3, 1e-5), (0.996, 1.0)))
    assert str(error.value) == (
        f"{tmp_path}: 16 samples are 64 now, which takes lr from 1e-05 to {lr:.4g} and ema from 1 to "
        f"{ema:.4g} at once; say --extend to go on so, set the length back, or begin a new run with "
        f"run.init_from={tmp_path}"
    )
    with log_lines() as lines:
        assert loop.train(longer, extend=True).step == 16
    assert any(f"; lr jumps from 1e-05 to {lr:.4g}" in line for line in lines)
    rates = [line["lr"] for line in lines_of(tmp_path)]
    assert rates[3] == rates[15] == pytest.approx(1e-5)
    assert rates[7] == pytest.approx(5.05e-4)  # half of them
    (change,) = changes_of(tmp_path)
    assert change["changes"] == {"run.samples_budget": [16, 64]}
    assert change["extension"]["jumps"]["lr"] == pytest.approx([1e-5, lr])
    assert loop.train(longer).step == 16  # nothing has changed since


@pytest.mark.parametrize(
    ("words", "jump"),
    [
        ((*CONSTANT, "optim.cooldown=0.5"), "lr from 1e-06 to 0.0015"),  # after the cooldown
        (("optim.schedule=constant", "optim.cooldown=0"), "ema from 1 to 0.99"),
        ((*CONSTANT, "optim.cooldown=0", "optim.final_weight_decay=0.4"), "weight_decay from 0.4 to 0.2"),
    ],
)
def test_each_number_that_jumps_is_named(
    shards: str, tmp_path: Path, words: tuple[str, ...], jump: str
) -> None:
    loop.train(config_for(shards, tmp_path, *OFTEN, *words, "run.samples_budget=16"))
    longer = config_for(shards, tmp_path, *OFTEN, *words, "run.samples_budget=32")
    with pytest.raises(UsageError, match=f"16 samples are 32 now, which takes .*{jump}"):
        loop.train(longer)
    assert loop.train(longer, accept_changes=True).step == 8
    lines = {line["samples_seen"]: line["weight_decay"] for line in lines_of(tmp_path)}
    length = Length(0, 32)  # what is logged is what the step had, by the new length from its fifth step on
    assert lines[24] == pytest.approx(optim.weight_decay_at(24, length, longer.optim))
    group = checkpoint.load_newest(str(tmp_path))[1]["optimizer"]["param_groups"][0]
    assert group["weight_decay"] == lines[32] == (longer.optim.final_weight_decay or 0.05)


@pytest.mark.parametrize(
    ("words", "jump"),
    [
        (
            ("objective.name=vjepa2_1", "model.depth=4", "objective.context_ramp=[0.5,0.75]"),
            "context_weight from 0.5 to 0 at once",
        ),
        (
            (
                "objective.mask_stages=4",
                "objective.masks=[{kind: cubes, cube: [1,1,1], ratio: 0.5, ratio_end: 0.7, "
                "context: 6, target: 5}]",
            ),
            "mask_stage from 3 to 2 at once",
        ),
    ],
)
def test_a_ramp_and_a_mask_ratio_are_stretched_too(
    shards: str, tmp_path: Path, words: tuple[str, ...], jump: str
) -> None:
    settings = (*CONSTANT, *OFTEN, "optim.cooldown=0", *words)
    loop.train(config_for(shards, tmp_path, *settings, "run.samples_budget=16"))
    longer = config_for(shards, tmp_path, *settings, "run.samples_budget=32")
    with pytest.raises(UsageError, match=jump):
        loop.train(longer)
    assert loop.train(longer, extend=True).step == 8


def test_extend_is_for_a_greater_length_alone(shards: str, tmp_path: Path) -> None:
    words = (*CONSTANT, *OFTEN)
    loop.train(config_for(shards, tmp_path, *words, "run.samples_budget=16"))
    for other in (("run.samples_budget=12",), ("run.samples_budget=32", "optim.base_lr=1e-4")):
        with pytest.raises(UsageError, match=r"run.samples_budget: 16 -> .*say --accept-changes"):
            loop.train(config_for(shards, tmp_path, *words, *other), extend=True)
    same = config_for(shards, tmp_path, *words, "run.samples_budget=15")  # as many steps
    assert loop.train(same).step == 4
    assert not (tmp_path / "changes.json").exists()
