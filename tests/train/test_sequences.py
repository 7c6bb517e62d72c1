"""When volumes are packed, into which lengths, what padding then costs, and that a step stays the same."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.devices import select
from octshard.devices.backend import Sequences
from octshard.devices.cpu import Cpu
from octshard.errors import UsageError
from octshard.models import checkpoint, tokens
from octshard.models.attention import BLOCK
from octshard.stream.index import load_index
from octshard.train import flops, loop, metrics_log, no_effect, sequences
from octshard.train.inputs import load_inputs
from octshard.train.objectives.build import build
from octshard.train.sequences import SequencePlan
from tests.support.log_lines import log_lines
from tests.support.tiny_run import config_for, objective_words, write_dataset
from tests.support.token_lists import draw_lists

# Valid tokens of the scans that the four devices of AI-READI make, at the seed preset; here equally often.
MULTI_DOMAIN = dict.fromkeys((1824, 2128, 2304, 2432, 2736, 3072, 3456), 1.0)


@dataclasses.dataclass(frozen=True)
class PackingCpu(Cpu):
    """A CPU that packs as another device."""

    kind: Sequences = "few lengths"

    @property
    def sequences(self) -> Sequences:
        return self.kind


@pytest.fixture
def shards(tmp_path: Path) -> str:
    """Volumes of 3 x 3 x 2 valid tokens, of 3 x 2 x 2, and of 2 x 3 x 2."""
    shapes = (("tall", 6, (6, 20, 24)), ("flat", 2, (6, 16, 24)), ("thin", 4, (4, 20, 24)))
    return ",".join(
        write_dataset(tmp_path / name, {"train": count, "val": 2}, shape, device=name)
        for name, count, shape in shapes
    )


def test_the_few_lengths_are_the_best_of_all() -> None:
    """Against every choice of four lengths, over every draw of two volumes."""
    counts = {100: 0.4, 200: 0.3, 500: 0.2, 1000: 0.1}  # 1, 2, 4 and 8 blocks
    chance: dict[int, float] = {}
    for (a, p), (b, q) in itertools.product(counts.items(), repeat=2):
        total = sum(-(-n // BLOCK) for n in (a, b))
        chance[total] = chance.get(total, 0.0) + p * q
    assert max(chance) == 16

    def mean(ends: tuple[int, ...]) -> float:
        return sum(p * min(end for end in ends if end >= total) for total, p in chance.items())

    best = min(mean((*ends, 16)) for ends in itertools.combinations(range(1, 16), 3))
    lengths, reading = sequences.few_lengths(counts, 2)
    assert mean(tuple(n // BLOCK for n in lengths)) == pytest.approx(best)
    assert reading.rows == pytest.approx(BLOCK * best / 2)
    blocks_squared = 0.4 * 1 + 0.3 * 2**2 + 0.2 * 4**2 + 0.1 * 8**2
    assert reading.pairs == pytest.approx(BLOCK**2 * blocks_squared)


@pytest.mark.parametrize("volumes", [1, 2, 3, 8, 64])
def test_the_longest_holds_the_largest_volumes(volumes: int) -> None:
    for counts in (MULTI_DOMAIN, {1: 1e-9, 3456: 1 - 1e-9}, {7: 1.0}, {40_000: 0.5, 20: 0.5}):
        lengths, reading = sequences.few_lengths(sequences.clip_counts(counts, 10**9), volumes)
        assert 1 <= len(lengths) <= sequences.MAX_LENGTHS
        assert list(lengths) == sorted(set(lengths))
        assert not any(n % BLOCK for n in lengths)
        assert lengths[0] > 0
        assert lengths[-1] >= volumes * -(-max(counts) // BLOCK) * BLOCK
        assert reading.rows * volumes <= lengths[-1] * (1 + 1e-9)


def test_the_padding_of_the_configs() -> None:
    """By formula: 33 % of a step's FLOPs for several devices, 24 % packed, and 4 % for one. It is 10 % and
    3 % at most where K and T are the same of all volumes: lists of context and targets are not packed.
    """
    multi, single = (load(TrainConfig, [f"pretrain_vjepa_{name}_domain"], []) for name in ("multi", "single"))
    few = sequences.few_lengths(sequences.clip_counts(MULTI_DOMAIN, 3456), 2)[1]
    shares = [flops.padding_share(multi, 3456, MULTI_DOMAIN, reading) for reading in (None, few)]
    assert shares == pytest.approx([0.327, 0.241], abs=1e-3)
    assert flops.padding_share(single, 2736, {2736: 3, 2432: 1}) == pytest.approx(0.0366, abs=1e-4)
    for cfg, context, target in ((multi, 720, 1090), (single, 960, 1450)):
        (mask_set,) = cfg.objective.masks
        mask_set.context, mask_set.target = context, target
    assert flops.padding_share(multi, 3456, MULTI_DOMAIN) > 0.15
    for volumes in (1, 2, 4, 8, 16, 32):
        _, reading = sequences.few_lengths(sequences.clip_counts(MULTI_DOMAIN, 3456), volumes)
        assert 0 < flops.padding_share(multi, 3456, MULTI_DOMAIN, reading) < 0.05
    assert flops.padding_share(single, 2736, {2736: 3, 2432: 1}) < 0.03
    exact = sequences.exact_reading(sequences.clip_counts(MULTI_DOMAIN, 3456))
    assert flops.padding_share(multi, 3456, MULTI_DOMAIN, exact) == pytest.approx(0, abs=1e-12)


def _plan(cfg: TrainConfig, kind: Sequences) -> SequencePlan:
    backend = PackingCpu(None, kind=kind)
    cfg.run.samples_budget = 4
    inputs = load_inputs(cfg, backend)
    return sequences.plan_sequences(cfg, inputs.index, inputs.shape, backend)


def test_packed_where_it_saves(shards: str, tmp_path: Path) -> None:
    cfg = config_for(shards, tmp_path / "run")
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


@pytest.mark.parametrize(
    ("objective", "dtype", "atol"),
    [("vjepa2", torch.float64, 1e-6), ("vjepa2_1", torch.float64, 1e-6), ("byol", torch.float32, 3e-4)],
)
def test_packed_or_not_a_step_has_the_same_loss_and_gradients(
    objective: str, dtype: torch.dtype, atol: float
) -> None:
    """The BatchNorm of byol computes in float32, and over so few tokens it enlarges what is rounded."""
    words = ["model.image_size=[8,32,32]", "model.patch=[2,8,8]", "model.width=24", "model.heads=2",
             "model.depth=2", "predictor.width=24", "predictor.depth=1", "predictor.heads=2",
             "objective.masks=[{kind: cubes, cube: [1,1,1], context: 8, target: 6}]"]  # fmt: skip
    cfg = load(TrainConfig, [], [*words, *objective_words(objective)])
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 1, 8, 32, 32)))
    valid_B3 = torch.tensor([[8, 32, 32], [8, 20, 32], [5, 32, 20]])
    listed, places = draw_lists(cfg, valid_B3, ["a", "b", "c"])
    model = build(cfg).to(dtype)
    x = x.to(dtype)
    outs, gradients = [], []
    for read in (listed, tokens.packed_closely(listed), tokens.packed_in_blocks(listed, (384, 640))):
        outs.append(model(x, x, read, places))
        weights = [w for w in model.parameters() if w.requires_grad]
        gradients.append(torch.autograd.grad(outs[-1].loss, weights))
    for out, gradient in zip(outs[1:], gradients[1:], strict=True):
        for field in ("loss", "losses_B", "tokens_RF", "pooled_BF"):
            torch.testing.assert_close(getattr(out, field), getattr(outs[0], field), atol=1e-6, rtol=1e-6)
        for one, other in zip(gradient, gradients[0], strict=True):
            torch.testing.assert_close(one, other, atol=atol, rtol=1e-5)


@pytest.mark.parametrize("objective", ["vjepa2", "vjepa2_1", "byol"])
def test_a_packed_run_is_the_run_in_lists(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    """Sequences of any length, and of few: losses, validation and weights, over three steps of two parts."""
    words = [*objective_words(objective), "run.samples_budget=12", "run.per_device_batch=2",
             "run.log_every_steps=1"]  # fmt: skip
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


def test_what_encodes_context_alone_packs_nothing_and_says_so(shards: str, tmp_path: Path) -> None:
    words = ("objective.name=mae", "run.packing=on", "run.samples_budget=4")
    cfg = config_for(shards, tmp_path / "run", *words)
    assert not _plan(cfg, "any length").packed
    with log_lines() as lines:
        loop.train(cfg)
    cost = flops.text(flops.step_flops(cfg, 18).total)
    (line,) = (line for line in lines if "padding:" in line)
    assert line.endswith(f"context tokens of a volume are encoded, {cost} a volume")
    assert any("run.packing=on has no effect: no encoder of mae reads all tokens" in line for line in lines)


def test_a_plan_depends_on_how_often_volumes_are_seen(shards: str, tmp_path: Path) -> None:
    cfg = config_for(shards, tmp_path / "run", "data.lanes=1", "data.balance=device")
    by_device = flops.valid_counts(load_index(cfg, "train", 1), cfg)
    assert _plan(cfg, "any length").listed_padding == pytest.approx(flops.padding_share(cfg, 18, by_device))
    assert by_device == pytest.approx({18: 1 / 3, 12: 2 / 3})
