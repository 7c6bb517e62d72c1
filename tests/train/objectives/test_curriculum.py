"""The mask ratio over a run: stages by hand, the same whatever reads, and resuming in one and at its end."""

import math
import signal
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_flatten

from octshard.config.load import load
from octshard.config.objective import MaskSet
from octshard.config.train import TrainConfig
from octshard.devices import select
from octshard.errors import UsageError
from octshard.stream.batch import RankSlice
from octshard.stream.sampler import StreamPosition
from octshard.train import flops, loop, memory, no_effect
from octshard.train.inputs import load_inputs, train_batches
from octshard.train.objectives import curriculum, token_counts
from tests.support.tiny_run import config_for, write_dataset

MASKS = (
    "objective.masks=[{kind: cubes, cube: [1,1,1], ratio: 0.5, ratio_end: 0.75, context: 0.4, target: 0.5}]"
)
SETTINGS = (MASKS, "objective.mask_stages=3", "run.samples_budget=48", "run.log_every_steps=1")  # 12 steps


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Volumes of 18 tokens, and of 12."""
    folder = tmp_path_factory.mktemp("data")
    sizes = {"large": (6, 20, 24), "small": (6, 16, 16)}
    return ",".join(
        write_dataset(folder / name, {"train": 21, "val": 5}, shape, name) for name, shape in sizes.items()
    )


def test_the_ratio_of_a_stage_is_that_of_half_a_cosine_at_its_middle() -> None:
    cfg = load(TrainConfig, [], [])
    cfg.objective.masks = [
        MaskSet(kind="cubes", ratio=0.5, ratio_end=0.7, context=0.4, target=100),
        MaskSet(),
    ]
    stages = [stage.objective.masks for stage in curriculum.stages(cfg)]
    assert len(stages) == 4
    for number, (mask_set, other) in enumerate(stages):
        ratio = 0.6 - 0.1 * math.cos(math.pi * (2 * number + 1) / 8)
        assert mask_set.ratio == pytest.approx(ratio)
        assert mask_set.context == pytest.approx(0.4 * (1 - ratio) / 0.5)
        assert mask_set.target == round(100 * ratio / 0.5)
        assert other == MaskSet()
    assert [mask_set.ratio for mask_set, _ in stages] == pytest.approx(
        [0.5076, 0.5617, 0.6383, 0.6924], abs=1e-4
    )


def test_without_an_end_there_is_one_stage_and_blocks_have_none() -> None:
    cfg = TrainConfig()
    assert curriculum.stages(cfg) == (cfg,)
    cfg.objective.masks = [MaskSet(ratio_end=0.7)]
    assert curriculum.stages(cfg) == (cfg,)
    cfg.objective.mask_stages = 7
    with closing(select.open_backend(load(TrainConfig, [], ["run.device=cpu"]).run)) as backend:
        lines = list(no_effect.lines(cfg, backend))
    assert "objective.mask_stages=7 has no effect: no mask set has a ratio_end" in lines
    assert "objective.masks[0].ratio_end=0.7 has no effect: kind is blocks, want cubes or retina" in lines


def test_stages_are_of_equal_length_and_begin_with_a_step() -> None:
    """Step by step, by hand: 10 steps of 4 samples in 3 stages of 13 1/3 samples."""
    stages = [curriculum.stage_at(samples, 4, 40, 3) for samples in range(40)]
    assert stages == [0] * 16 + [1] * 12 + [2] * 12
    assert curriculum.stage_at(44, 4, 40, 3) == 2  # what is read ahead of the end


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "context: 0.6, target: 0.3",
            r"masks\[0\].context=0.6: with ratio_end, want at most 0.5, .* not hidden",
        ),
        (
            "context: 0.3, target: 0.6",
            r"masks\[0\].target=0.6: with ratio_end, want at most 0.5, .* is hidden at",
        ),
        (
            "context: 2, target: 9000",
            r"masks\[0\]: context 2 \+ target 10389 tokens, want at most the grid's",
        ),
    ],
)
def test_what_leaves_nothing_to_change_is_refused(words: str, says: str) -> None:
    cfg = load(TrainConfig, [], [f"objective.masks=[{{kind: cubes, ratio: 0.5, ratio_end: 0.75, {words}}}]"])
    with pytest.raises(UsageError, match=says):
        token_counts.check(cfg)


def test_a_count_never_becomes_a_share() -> None:
    cfg = TrainConfig()
    cfg.objective.masks = [MaskSet(kind="cubes", ratio=0.5, ratio_end=0.95, context=2, target=2)]
    for stage in curriculum.stages(cfg):
        assert token_counts.counts_of(stage, 9216)[0].K == 2


def test_flops_are_the_mean_of_the_stages_and_memory_is_that_of_the_largest(shards: str) -> None:
    cfg = config_for(shards, "nowhere", *SETTINGS)
    each = [flops.step_flops(stage, 18) for stage in curriculum.stages(cfg)]
    assert flops.step_flops(cfg, 18).total == pytest.approx(sum(step.total for step in each) / 3)
    with closing(select.open_backend(cfg.run)) as backend:
        shape = load_inputs(cfg, backend).shape
    kept = [memory.volume_bytes(stage, shape) for stage in curriculum.stages(cfg)]
    assert memory.volume_bytes(cfg, shape) == max(kept) > min(kept)


def lists_of(shards: str, batch: int, reader: int, readers: int) -> dict[tuple[int, int], tuple[int, int]]:
    """(number of the sample in the run) -> K and T of the lists it is in."""
    cfg = config_for(shards, "nowhere", *SETTINGS, f"run.per_device_batch={batch}")
    lengths = {}
    with closing(select.open_backend(cfg.run)) as backend:
        inputs = load_inputs(cfg, backend)
        inputs = type(inputs)(
            cfg,
            inputs.plan._replace(rank_slice=RankSlice(batch, reader, readers)),
            inputs.index,
            inputs.val_index,
        )
        with closing(train_batches(inputs, backend, StreamPosition(0, 0))) as batches:
            for number in range(48 // batch):
                places = next(batches).places[0]
                for row in range(batch // readers):
                    sample = number * batch + reader + row * readers
                    lengths[sample] = (places.context_BK.shape[1], places.target_BT.shape[1])
    return lengths


def test_the_stage_of_a_sample_depends_neither_on_the_batch_nor_on_the_number_of_readers(shards: str) -> None:
    """In stages of 4 steps of 4 samples; K and T of 18 tokens."""
    whole = lists_of(shards, 4, 0, 1)
    assert [whole[sample] for sample in (0, 15, 16, 31, 32, 47)] == [
        lists for lists in ((7, 9), (5, 11), (4, 13)) for _ in range(2)
    ]
    assert lists_of(shards, 2, 0, 1) == whole
    assert {**lists_of(shards, 4, 0, 2), **lists_of(shards, 4, 1, 2)} == whole


@pytest.mark.parametrize("stop", [2, 4, 6])
def test_a_run_stopped_within_a_stage_or_at_its_end_is_the_one_that_was_not(
    shards: str, tmp_path: Path, stop: int
) -> None:
    """Stages end after 4 and 8 steps."""

    def stop_there(step: int, *_: object) -> None:
        if step == stop:
            signal.raise_signal(signal.SIGTERM)

    whole, halves = (config_for(shards, tmp_path / name, *SETTINGS) for name in ("whole", "halves"))
    loop.train(whole)
    assert loop.train(halves, stop_there).step == stop
    loop.train(halves)
    payloads = [
        torch.load(tmp_path / name / "checkpoints" / "step-00000012.pt", weights_only=True)
        for name in ("whole", "halves")
    ]
    pairs = list(zip(*(tree_flatten(payload)[0] for payload in payloads), strict=True))
    tensors = [(one, other) for one, other in pairs if isinstance(one, torch.Tensor)]
    assert len(tensors) > 50
    assert all(torch.equal(one, other) for one, other in tensors)
