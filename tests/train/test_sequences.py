"""When volumes are packed, into which lengths, what padding then costs, and that a step stays the same."""

import dataclasses
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.devices import select
from octshard.devices.backend import Sequences
from octshard.devices.cpu import Cpu
from octshard.errors import UsageError
from octshard.models import checkpoint
from octshard.stream.index import load_index
from octshard.train import flops, loop, metrics_log, no_effect, sequences
from octshard.train.augment import cross_resolution
from octshard.train.inputs import load_inputs
from octshard.train.objectives import drop_path
from octshard.train.objectives.build import CLASSES, build
from octshard.train.objectives.token_counts import counts_of
from octshard.train.sequences import SequencePlan
from tests.support.log_lines import log_lines
from tests.support.tiny_run import WIDE_HEADS, config_for, objective_words, write_dataset
from tests.support.token_lists import draw_lists, packed_lists


@dataclasses.dataclass(frozen=True)
class PackingCpu(Cpu):
    """A CPU that packs as another device."""

    kind: Sequences = "few lengths"

    @property
    def sequences(self) -> Sequences:
        return self.kind


SHARES = (
    "objective.masks=[{kind: cubes, cube: [1,1,1], ratio: 0.5, ratio_end: 0.6, context: 0.4, target: 0.3}]",
    "objective.mask_stages=2",
)


@pytest.fixture
def shards(tmp_path: Path) -> str:
    """Volumes of 3 x 3 x 2 valid tokens, of 3 x 2 x 2, and of 2 x 3 x 2."""
    shapes = (("tall", 6, (6, 20, 24)), ("flat", 2, (6, 16, 24)), ("thin", 4, (4, 20, 24)))
    return ",".join(
        write_dataset(tmp_path / name, {"train": count, "val": 2}, shape, device=name)
        for name, count, shape in shapes
    )


def _plan(cfg: TrainConfig, kind: Sequences) -> SequencePlan:
    backend = PackingCpu(None, kind=kind)
    cfg.run.samples_budget = 4
    inputs = load_inputs(cfg, backend)
    return sequences.plan_sequences(cfg, inputs.index, inputs.shape, backend, inputs.plan)


def test_packed_where_it_saves(shards: str, tmp_path: Path) -> None:
    cfg = config_for(shards, tmp_path / "run", *WIDE_HEADS)
    listed = flops.padding_share(cfg, 18, {18: 6, 12: 6})
    plan = _plan(cfg, "any length")
    assert (plan.packed, plan.lengths, plan.packed_padding) == (True, None, 0.0)
    assert plan.listed_padding == pytest.approx(listed)
    assert _plan(cfg, "none") == SequencePlan(False, None, plan.listed_padding, None)
    few = _plan(cfg, "few lengths")  # four volumes of 18 tokens fill four blocks of 128 with next to nothing
    assert few.packed_padding is not None
    assert (few.packed, few.packed_padding > listed) == (False, True)
    for word, packed in (("on", True), ("off", False)):
        cfg.run.packing = word
        assert [_plan(cfg, kind).packed for kind in ("any length", "few lengths")] == [packed, packed]


def test_volumes_of_one_size_stay_in_lists(tmp_path: Path) -> None:
    cfg = config_for(write_dataset(tmp_path / "one", {"train": 8, "val": 1}), tmp_path / "run")
    for word in ("auto", "on"):
        cfg.run.packing = word
        assert not _plan(cfg, "any length").packed


def test_packing_cannot_be_on_where_it_saves_nothing() -> None:
    cfg = load(TrainConfig, [], ["run.packing=on"])
    no_effect.refuse(cfg, PackingCpu(None))
    with pytest.raises(UsageError, match=r"run\.packing=on.*want auto"):
        no_effect.refuse(cfg, PackingCpu(None, kind="none"))


STEP = ("model.image_size=[8,32,32]", "model.patch=[2,8,8]", "model.width=24", "model.heads=2",
        "model.depth=4", "predictor.width=24", "predictor.depth=1", "predictor.heads=2",
        "objective.masks=[{kind: cubes, cube: [1,1,1], context: 0.4, target: 0.3, draws: 2},"
        " {kind: cubes, ratio: 0.5, context: 0.3, target: 6}]")  # fmt: skip
EXTENTS = torch.tensor([[8, 20, 32], [8, 32, 32], [5, 32, 20]])  # 48, 64 and 36 tokens
WAYS = {"closely": None, "in blocks": (384, 640)}
FORMS = {**{name: (f"objective.name={name}",) for name in CLASSES},
         "drop path": ("model.drop_path=0.5",), "again": ("model.checkpointing=true",),
         **{f"coarse {name}": ("objective.context_scale=[1,2,2]", f"objective.name={name}")
            for name in CLASSES if name != "byol"}}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", FORMS)
def test_packed_or_not_a_step_has_the_same_losses_and_gradients_and_each_volume_those_that_it_has_alone(
    form: str, way: str
) -> None:
    """The BatchNorm of byol computes in float32, and over so few tokens it enlarges what is rounded; it joins
    volumes.
    """
    cfg = load(TrainConfig, [], [*STEP, *FORMS[form]])
    model, keys = build(cfg).double(), ["a", "b", "c"]
    context, target = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 1, 8, 32, 32)))
    context = cross_resolution.of_context(context, EXTENTS, cfg)
    if form == "byol":
        model, context, target = model.float(), context.float(), target.float()
    weights = [w for w in model.parameters() if w.requires_grad]

    def run(rows: slice, lengths: tuple[int, ...] | None, *, packs: bool) -> tuple[Any, list[torch.Tensor]]:
        tokens, places = draw_lists(cfg, EXTENTS[rows], keys[rows])
        places = drop_path.drawn(cfg, places, [0] * len(keys[rows]), keys[rows])
        lists = packed_lists((tokens, places), lengths) if packs else (tokens, places)
        out = model(context[rows], target[rows], *lists)
        return out, list(torch.autograd.grad(out.loss, weights))

    out, gradient = run(slice(0, 3), WAYS[way], packs=True)
    listed, listed_gradient = run(slice(0, 3), None, packs=False)
    for field in ("loss", "losses_S", "losses_B", "tokens_RF", "pooled_BF"):
        torch.testing.assert_close(getattr(out, field), getattr(listed, field), atol=1e-6, rtol=1e-6)
    for one, other in zip(gradient, listed_gradient, strict=True):
        torch.testing.assert_close(one, other, atol=3e-4 if form == "byol" else 1e-6, rtol=1e-5)
    if form == "byol":
        return
    alone = [run(slice(i, i + 1), None, packs=False) for i in range(3)]
    torch.testing.assert_close(
        out.losses_B, torch.cat([each.losses_B for each, _ in alone]), atol=1e-6, rtol=0
    )
    for one, *others in zip(gradient, *(each for _, each in alone), strict=True):
        torch.testing.assert_close(one, sum(others) / 3, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_all_lists_are_packed_and_closely_no_padding_is_left(way: str) -> None:
    cfg = load(TrainConfig, [], [*STEP])
    tokens, place_sets = packed_lists(draw_lists(cfg, EXTENTS, ["a", "b", "c"]), WAYS[way])
    counts = [[counts_of(cfg, valid)[i] for valid in (48, 64, 36)] for i in range(3)]
    for packing, sizes in (
        (tokens.packing, [48, 64, 36]),
        *((p.context_packing, [c.K for c in draw]) for p, draw in zip(place_sets, counts, strict=True)),
        *((p.joint_packing, [c.K + c.T for c in draw]) for p, draw in zip(place_sets, counts, strict=True)),
    ):
        assert packing is not None
        if packing.segment_L is None:
            assert (packing.lengths, len(packing.place_L)) == (tuple(sizes), sum(sizes))
        else:
            assert len(packing.place_L) == 384  # a block each
            assert torch.bincount(packing.segment_L + 1).tolist() == [384 - sum(sizes), *sizes]


def test_a_batch_without_padding_stays_in_lists() -> None:
    cfg = load(TrainConfig, [], [*STEP])
    tokens, place_sets = draw_lists(cfg, EXTENTS[[0, 0]], ["a", "b"], 48)
    assert place_sets[0].context_padding_BK is not None
    tokens, place_sets = packed_lists((tokens, place_sets))
    assert tokens.packing is tokens.padding_BV is None
    for places in place_sets:
        assert places.context_packing is places.joint_packing is None
        assert places.context_padding_BK is places.target_padding_BT is None


@pytest.mark.parametrize("objective", CLASSES)
def test_a_packed_run_is_the_run_in_lists(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    """Sequences of any length, and of few: losses, validation and weights, over three steps of two parts, in
    two stages of a mask ratio.
    """
    words = [*objective_words(objective), *SHARES, *WIDE_HEADS, "run.samples_budget=12",
             "run.per_device_batch=2", "run.log_every_steps=1"]  # fmt: skip
    ways = {"lists": ("off", "any length"), "any": ("on", "any length"), "few": ("on", "few lengths")}
    logs, weights = {}, {}
    for name, (word, kind) in ways.items():
        cfg = config_for(shards, tmp_path / name, *words, f"run.packing={word}")
        monkeypatch.setattr(select, "open_backend", lambda run, kind=kind: PackingCpu(None, kind=kind))
        loop.train(cfg)
        logs[name], weights[name] = (
            metrics_log.read(cfg.run.out),
            checkpoint.load_newest(cfg.run.out)[1]["model"],
        )
    for name in ("any", "few"):
        for key in ("loss", "grad_norm", "val_loss"):
            expected = [line[key] for line in logs["lists"] if key in line]
            assert [line[key] for line in logs[name] if key in line] == pytest.approx(expected, rel=1e-4), key
        if objective != "byol":  # a bias before the BatchNorm of byol has a gradient of rounding alone
            for weight_name, weight in weights["lists"].items():
                torch.testing.assert_close(weights[name][weight_name], weight, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["any length", "few lengths"])
def test_a_packed_run_that_was_stopped_is_the_one_that_was_not(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Sequences
) -> None:
    """Bit for bit, in the second of two stages of a mask ratio too."""

    def stop_there(step: int, *_: object) -> None:
        if step in (1, 3):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(select, "open_backend", lambda run: PackingCpu(None, kind=kind))
    words = (*SHARES, *WIDE_HEADS, "run.packing=on", "run.samples_budget=16", "run.per_device_batch=2")
    whole, parts = (config_for(shards, tmp_path / name, *words) for name in ("whole", "parts"))
    loop.train(whole)
    steps = [loop.train(parts, stop_there).step for _ in range(3)]
    assert steps == [1, 3, 4]
    one, other = (checkpoint.load_newest(cfg.run.out)[1]["model"] for cfg in (whole, parts))
    assert all(torch.equal(other[name], weight) for name, weight in one.items())


@pytest.mark.parametrize("objective", [name for name in CLASSES if name != "byol"])
@pytest.mark.parametrize("kind", ["none", "few lengths"])
def test_a_run_in_lists_by_size_is_the_run_in_lists_of_one_length(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, kind: Sequences
) -> None:
    """Losses, validation and weights, in two stages of a mask ratio; each volume as often, and resumed bit
    for bit.
    """
    monkeypatch.setattr(select, "open_backend", lambda run: PackingCpu(None, kind=kind))
    words = [*objective_words(objective), *SHARES, "run.samples_budget=12", "run.per_device_batch=1",
             "run.log_every_steps=1"]  # fmt: skip

    def stop_there(step: int, *_: object) -> None:
        if step == 2:
            signal.raise_signal(signal.SIGTERM)

    logs, weights = {}, {}
    for name, word in (("one", "off"), ("several", "auto"), ("stopped", "auto")):
        cfg = config_for(shards, tmp_path / name, *words, f"run.packing={word}")
        with log_lines() as lines:
            if name == "stopped":
                assert loop.train(cfg, stop_there).step == 2
            loop.train(cfg)
        said = any("dealt out by size to lists for 12 or 18 valid" in line for line in lines)
        assert said == (word == "auto")
        newest = checkpoint.load_newest(cfg.run.out)[1]
        logs[name], weights[name] = metrics_log.read(cfg.run.out), newest["model"]
    for key in ("loss", "grad_norm", "val_loss"):
        expected = [line[key] for line in logs["one"] if key in line]
        values = [line[key] for line in logs["several"] if key in line]
        assert values == pytest.approx(expected, rel=1e-4), key
    for weight_name, weight in weights["one"].items():
        torch.testing.assert_close(weights["several"][weight_name], weight, rtol=1e-4, atol=1e-4)
        assert torch.equal(weights["stopped"][weight_name], weights["several"][weight_name])


def test_what_byol_computes_stays_in_its_micro_batches(shards: str, tmp_path: Path) -> None:
    words = ("run.per_device_batch=1", "run.packing=auto")
    lengths = {
        name: _plan(config_for(shards, tmp_path, *words, f"objective.name={name}"), "none").list_lengths
        for name in ("byol", "vjepa2")
    }
    assert lengths == {"byol": (), "vjepa2": (12, 18)}


def test_narrow_heads_are_not_packed_and_compiled(shards: str, tmp_path: Path) -> None:
    """FlexAttention wants 16 features a head; torch's other kernels do not."""
    words = ("model.width=96", "model.heads=4", "predictor.width=24", "predictor.heads=2", "run.packing=on")
    cfg = config_for(shards, tmp_path, *words)
    assert [_plan(cfg, kind).packed for kind in ("few lengths", "any length")] == [False, True]
    with pytest.raises(
        UsageError, match=r"^run\.packing=on: predictor\.heads=2 have 12 features.*at least 16.*auto$"
    ):
        no_effect.refuse(cfg, PackingCpu(None))
    no_effect.refuse(cfg, PackingCpu(None, kind="any length"))
    byol = config_for(shards, tmp_path, *words, "objective.name=byol")  # its predictor has no heads
    assert _plan(byol, "few lengths").packed
    no_effect.refuse(byol, PackingCpu(None))


def test_a_run_says_at_its_start_what_padding_costs(shards: str, tmp_path: Path) -> None:
    share = f"{100 * flops.padding_share(config_for(shards, 'run'), 18, {18: 6, 12: 6}):.1f}%"
    ways = {
        "auto": f"0.0% of the FLOPs of a step (volumes packed in sequences of any length, {share} in lists)",
        "off": f"{share} of the FLOPs of a step (volumes in lists of one length, 0.0% if packed)",
    }
    for word, way in ways.items():
        cfg = config_for(shards, tmp_path / word, f"run.packing={word}", "run.samples_budget=4")
        with log_lines() as lines:
            loop.train(cfg)
        (line,) = (line for line in lines if "padding:" in line)
        cost = flops.text(flops.step_flops(cfg, 18).total)
        assert f"padding: {way}; at most 18 tokens of a volume are encoded, {cost} a volume" in line


def test_what_encodes_context_alone_is_packed_where_contexts_differ(shards: str, tmp_path: Path) -> None:
    words = (*WIDE_HEADS, "objective.name=mae", "run.packing=on", "run.samples_budget=4")
    counts = config_for(shards, tmp_path / "counts", *words)
    cfg = config_for(shards, tmp_path / "run", *words, *SHARES)
    for kind in ("any length", "few lengths"):
        assert [_plan(each, kind).packed for each in (counts, cfg)] == [False, True]
    with log_lines() as lines:
        loop.train(cfg)
    cost = flops.text(flops.step_flops(cfg, 18).total)
    (line,) = (line for line in lines if "padding:" in line)
    assert "volumes packed in sequences of any length" in line
    assert line.endswith(f"context tokens of a volume are encoded, {cost} a volume")
    assert not any("run.packing" in line for line in lines)


def test_a_plan_depends_on_how_often_volumes_are_seen(shards: str, tmp_path: Path) -> None:
    cfg = config_for(shards, tmp_path / "run", "data.lanes=1", "data.balance=device")
    by_device = flops.valid_counts(load_index(cfg, "train", 1), cfg)
    assert _plan(cfg, "any length").listed_padding == pytest.approx(flops.padding_share(cfg, 18, by_device))
    assert by_device == pytest.approx({18: 1 / 3, 12: 2 / 3})
