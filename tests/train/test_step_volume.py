"""A volume on its own is what the batches of training and of validation hold of it."""

import contextlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from octshard.config.train import TrainConfig
from octshard.devices.cpu import Cpu
from octshard.errors import UsageError
from octshard.models.tokens import Tokens
from octshard.stream.sampler import StreamPosition
from octshard.train import step_volume
from octshard.train.augment import views
from octshard.train.inputs import load_inputs, train_batches, val_batches
from octshard.train.objectives.masks import Masks
from octshard.train.objectives.places import Places
from octshard.train.step_volume import StepVolume, VolumeSource
from tests.support.tiny_run import config_for, write_dataset

CUBES = "{kind: cubes, cube: [1,1,1], context: 6, target: 5}"
TWO_SETS = f"objective.masks=[{CUBES}, {{blocks: 2, context: 4, target: 3}}]"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21, "val": 6, "test": 2})


def config(shards: str, *more: str) -> TrainConfig:
    return config_for(shards, "unused", "run.samples_budget=32", TWO_SETS, *more)


def source(cfg: TrainConfig) -> VolumeSource:
    return step_volume.open_source(step_volume.one_by_one(cfg), Cpu(None))


def batch_of_training(cfg: TrainConfig, count: int) -> list[Any]:
    """The first batches, as the loop gets them: four volumes each."""
    backend = Cpu(None)
    stream = train_batches(load_inputs(cfg, backend), backend, StreamPosition(0, 0))
    with contextlib.closing(stream) as batches:
        return [
            (
                batch,
                *views.apply(
                    batch.voxels_BDHW, batch.mean_B, batch.std_B, batch.valid_B3, params, cfg.model.image_size
                ),
                in_grid(tokens, place_sets),
            )
            for batch, params, tokens, place_sets in itertools.islice(batches, count)
        ]


def in_grid(tokens: Tokens, place_sets: list[Places]) -> list[Masks]:
    index_BV = tokens.index_BV.numpy()
    return [
        Masks(
            *(torch.from_numpy(np.take_along_axis(index_BV, place_BX.numpy(), 1)) for place_BX in places[:2])
        )
        for places in place_sets
    ]


def check_equal(
    step: StepVolume, row: int, batch: Any, context: Any, target: Any, masks: Any, *, atol: float = 0.0
) -> None:
    assert step.batch.keys[0] == batch.keys[row]
    assert step.valid == tuple(batch.valid_B3[row].tolist())
    d, h, w = step.valid
    for ours, theirs in ((step.context_BCDHW, context), (step.target_BCDHW, target)):
        torch.testing.assert_close(ours[0, 0, :d, :h, :w], theirs[row, 0, :d, :h, :w], rtol=0, atol=atol)
    for ours, theirs in zip(step.masks, masks, strict=True):
        assert torch.equal(ours.context_BK[0], theirs.context_BK[row])
        assert torch.equal(ours.target_BT[0], theirs.target_BT[row])


def test_the_first_volumes_are_those_of_the_first_steps(shards: str) -> None:
    cfg = config(shards)
    steps = list(step_volume.volumes(source(cfg), (), 8))
    for number, batch in enumerate(batch_of_training(cfg, 2)):
        for row in range(4):
            check_equal(steps[4 * number + row], row, *batch)


def test_noise_and_masks_do_not_depend_on_the_sizes_of_others(shards: str, tmp_path: Path) -> None:
    """Batches of a run with larger volumes have a larger box; alone, a small volume has its own, and sums of
    its geometry may be rounded in another order.
    """
    large = write_dataset(tmp_path / "large", {"train": 9, "val": 1}, (8, 32, 16), "large")
    cfg = config_for(f"{shards},{large}", "unused", "run.samples_budget=32", TWO_SETS)
    boxes = set()
    for batch in batch_of_training(cfg, 3):
        boxes.add(tuple(batch[0].voxels_BDHW.shape[1:]))
        for row, key in enumerate(batch[0].keys):
            check_equal(step_volume.volume_of(source(cfg), key), row, *batch, atol=1e-5)
    assert boxes == {(8, 32, 16)}
    alone = step_volume.volume_of(source(cfg), "train000-device-proto-l-0000000000")
    assert alone.batch.voxels_BDHW.shape[1:] == (6, 24, 16)


@pytest.mark.parametrize("mixing", [(), ("data.balance=device",), ("data.weights=[1.0]",)])
def test_a_key_gives_what_its_first_pass_gives(shards: str, mixing: tuple[str, ...]) -> None:
    cfg = config(shards, *mixing)
    for batch in batch_of_training(cfg, 2):
        for row in (0, 3):
            check_equal(step_volume.volume_of(source(cfg), batch[0].keys[row]), row, *batch)


def test_a_key_of_val_gives_what_validation_reads(shards: str) -> None:
    cfg, backend = config(shards, "run.val_samples=99"), Cpu(None)
    with contextlib.closing(val_batches(load_inputs(cfg, backend), backend)) as batches:
        batch, tokens, place_sets, *_ = next(batches).own
    masks = in_grid(tokens, place_sets)
    step = step_volume.volume_of(source(cfg), batch.keys[2])
    x = step.context_BCDHW
    assert step.params is None
    assert x is step.target_BCDHW
    d, h, w = step.valid
    normed = (batch.voxels_BDHW[2].numpy() - float(batch.mean_B[2])) / float(batch.std_B[2])
    np.testing.assert_allclose(x[0, 0, :d, :h, :w].numpy(), normed[:d, :h, :w], atol=1e-5)
    for ours, theirs in zip(step.masks, masks, strict=True):
        assert torch.equal(ours.context_BK[0], theirs.context_BK[2])


@pytest.mark.parametrize(
    ("key", "more", "message"),
    [
        ("nobody", (), "nobody: the key of no volume in data.shards, want one of samples.parquet"),
        ("test000-device-proto-l-0000000000", (), "in split test, which a run does not read"),
        ("bad", (), r"refused by prep \(truncated\)"),
        (
            "train003-device-proto-l-0000000003",
            ("data.drop=[train003-device-proto-l-0000000003]",),
            "left out by data.drop",
        ),
        (
            "train003-device-proto-l-0000000003",
            ("data.filter=participant != 'train003'",),
            "left out by data.filter=",
        ),
    ],
)
def test_a_volume_that_no_step_sees_is_a_usage_error(
    shards: str, key: str, more: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        step_volume.volume_of(source(config(shards, *more)), key)


def test_a_volume_too_small_for_the_masks_is_named_as_such(shards: str, tmp_path: Path) -> None:
    small = write_dataset(tmp_path / "small", {"train": 1}, (2, 8, 8), "small")
    cfg = config_for(f"{shards},{small}", "unused", "run.samples_budget=32")
    with pytest.raises(UsageError, match="fewer than 11 valid tokens; lower context and target"):
        step_volume.volume_of(source(cfg), "train000-small-proto-l-0000000000")


def test_what_cannot_fit_is_refused_before_it_is_allocated(shards: str) -> None:
    cfg = config(shards, "model.image_size=[80000,80000,80000]")
    with pytest.raises(UsageError, match=r"model\.image_size=\[80000, 80000, 80000\]: one volume and its"):
        source(cfg)
