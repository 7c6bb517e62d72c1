"""Batches with targets, whole volumes through a head, and heads that keep the weights of their best epoch."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from octshard.config.dense import DenseHeads
from octshard.config.run import RunConfig
from octshard.dataset import sample
from octshard.devices import select
from octshard.errors import OctshardError
from octshard.eval.dense import fit, losses, token_source, whole_volume
from octshard.eval.dense.dense_batches import DenseStream
from octshard.eval.dense.heads import LinearHead
from octshard.eval.dense.target_store import PADDING, TargetStore
from octshard.eval.dense.token_source import Scale
from octshard.models.vit import Encoder
from octshard.progress import no_progress
from octshard.stream.index import build_index, open_datasets
from tests.support.dense_study import BRIGHT
from tests.support.tiny_run import SHAPE, config_for, voxels_of, write_dataset

pytest.importorskip("monai")
BACKEND = select.open_backend(RunConfig(device="cpu", precision="fp32", cpu_threads=1))


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    root = tmp_path_factory.mktemp("fit")
    shards = write_dataset(root / "device", {"train": 5, "val": 2, "test": 1})
    return config_for(shards, root / "run", "run.samples_budget=8")


def stream(cfg, split: str, of=lambda voxels: np.minimum(voxels, 254), batch: int = 2) -> DenseStream:
    index = build_index(open_datasets(cfg), cfg, split, 0)
    targets = {ref.row.key: of(voxels_of(ref.row.key, SHAPE)) for ref in index.samples}
    return DenseStream(index, cfg, TargetStore.of(targets, "uint8"), batch)


def reader_of(cfg) -> fit.TokenReader:
    torch.manual_seed(0)
    return fit.TokenReader(Encoder(cfg.model).eval(), BACKEND)


@pytest.mark.parametrize("epoch", [None, 0, 1])
def test_targets_are_cropped_with_their_voxels(cfg, epoch):
    keys = []
    for dense in stream(cfg, "train").batches(BACKEND, epoch):
        for i in range(2):
            d, h, w = dense.batch.valid_B3[i].tolist()
            assert (d, h, w) == (6, 20, 16)
            voxels = dense.batch.voxels_BDHW[i].numpy()
            np.testing.assert_array_equal(dense.target[i, :, :h], np.minimum(voxels[:, :h], 254))
            assert (dense.target[i, :, h:] == PADDING).all()
        keys += dense.batch.keys[: dense.batch.count]
    assert len(keys) == len(set(keys)) == 5


def test_epochs_differ_in_order_and_crops_and_come_again(cfg):
    def first(epoch: int) -> np.ndarray:
        return np.concatenate(
            [d.batch.voxels_BDHW for d in stream(cfg, "train", batch=5).batches(BACKEND, epoch)]
        )

    assert (first(0) != first(1)).any()
    np.testing.assert_array_equal(first(0), first(0))


def test_a_whole_volume_comes_back_from_windows(cfg):
    """The head that gives the voxels of each patch: smaller than the image along D and H, larger along W."""
    (ref,) = build_index(open_datasets(cfg), cfg, "test", 0).samples
    stored = sample.read(cfg.data.shards[0], ref.row)
    reader = reader_of(cfg)
    source = token_source.voxel_source("raw", Encoder(cfg.model), 1)
    reader.scales = {"raw": [Scale(torch.tensor(0.0), torch.tensor(1.0))]}
    head = LinearHead(source, 1, (2, 8, 8))
    with torch.no_grad():
        head.proj.weight.copy_(torch.eye(128))
        head.proj.bias.zero_()
    arm = fit.Arm(source, "linear", 0.1, head, torch.optim.AdamW(head.parameters()))
    for overlap in (0.0, 0.5):
        (output,) = whole_volume.predict([arm], reader, BACKEND, stored, overlap)
        voxels = voxels_of(ref.row.key, SHAPE).astype(np.float64)
        np.testing.assert_allclose(output[0], (voxels - voxels.mean()) / voxels.std(), atol=1e-4)


def test_an_arm_waits_as_long_as_it_may_become_better():
    arm = arm_of([3.0, 2.0, 2.5, 2.6])
    assert arm.best_epoch == 2
    assert [arm.waits(patience) for patience in (1, 2, 3)] == [False, False, True]
    assert not arm_of([3.0, math.inf]).waits(8)


def arm_of(val_losses: list[float], lr: float = 0.1, head: str = "linear") -> fit.Arm:
    source = token_source.TokenSource("raw", (1,), (0,), lambda x, tokens: [])
    arm = fit.Arm(source, head, lr, nn.Identity(), None, val_losses)  # type: ignore[arg-type]
    arm.best_state = {"weight": lr} if min(val_losses) < math.inf else {}
    return arm


def test_of_several_learning_rates_val_chooses():
    arms = [arm_of([3.0, 2.0], 0.1), arm_of([1.5, 4.0], 0.2), arm_of([9.0, 8.0], 0.1, "unetr")]
    assert [arm.lr for arm in fit.best_arms([*arms, arm_of([math.inf], 0.3)])] == [0.2, 0.1]
    lost = [arm_of([math.inf], lr) for lr in (0.5, 5.0)]
    with pytest.raises(
        OctshardError, match=r"linear on raw: no finite loss on val at lr 0.5, 5; try a small"
    ):
        fit.best_arms(lost)


def test_a_head_that_is_lost_ends_and_the_others_go_on(cfg):
    train, val = (stream(cfg, split, lambda v: (v > BRIGHT).astype(np.uint8)) for split in ("train", "val"))
    settings = DenseHeads(names=["linear"], epochs=3, lr=[0.001, 1.0])
    arms = fit.build_arms(
        [token_source.voxel_source("raw", Encoder(cfg.model), 1)], 2, (2, 8, 8), settings, 0
    )
    weights = [arm.module.proj.weight.clone() for arm in arms]
    assert torch.equal(*weights)

    def loss(logits_BCDHW, y_BDHW, valid_B3):
        is_second = logits_BCDHW.abs().max() > 20  # only the second grows as far
        value = losses.segmentation(torch.ones(2))(logits_BCDHW, y_BDHW, valid_B3)
        return value * torch.nan if is_second else value

    fit.Fit(reader_of(cfg), BACKEND, loss, settings).run(arms, train, val, no_progress)
    assert [len(arm.val_losses) for arm in arms] == [3, 1]
    assert arms[1].val_losses == [math.inf]
    assert fit.best_arms(arms) == arms[:1]


def test_heads_keep_the_weights_of_their_best_epoch(cfg):
    """At a rate that never settles; and the same ones come again, whatever else is fitted beside them."""
    train, val = (stream(cfg, split, lambda v: (v > BRIGHT).astype(np.uint8)) for split in ("train", "val"))
    settings = DenseHeads(names=["linear"], epochs=8, patience=2, lr=[1.0])
    found = []
    for count in (1, 2):
        encoder = Encoder(cfg.model)
        sources = [token_source.voxel_source(name, encoder, 1) for name in ("raw", "other")[:count]]
        arms = fit.build_arms(sources, 2, (2, 8, 8), settings, 0)
        fitting = fit.Fit(reader_of(cfg), BACKEND, losses.segmentation(torch.ones(2)), settings)
        fitting.run(arms, train, val, no_progress)
        history = list(arms[0].val_losses)
        fitting._validate(arms[:1], val)
        assert arms[0].val_losses[-1] == pytest.approx(min(history), rel=1e-5)
        assert len(history) == 8 or len(history) == arms[0].best_epoch + 2
        found.append(history)
    assert found[0] == found[1]
