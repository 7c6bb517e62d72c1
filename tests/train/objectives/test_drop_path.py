"""Branches that are left out: how often, of which block, by what seed, and for whom."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.devices import select
from octshard.stream.sampler import StreamPosition
from octshard.train import loop
from octshard.train.inputs import load_inputs, train_batches, val_batches
from octshard.train.objectives import drop_path
from octshard.train.objectives.build import build
from octshard.train.objectives.places import Places
from tests.support.tiny_run import config_for, write_dataset
from tests.train.objectives.test_objective import FORMS, STEADY, config, inputs

NOWHERE = Places(torch.zeros(1), torch.zeros(1))


def scales(cfg: TrainConfig, keys: list[str], epoch: int = 0, sets: int = 1) -> list[torch.Tensor]:
    made = drop_path.drawn(cfg, [NOWHERE] * sets, [epoch] * len(keys), keys)
    return [places.scale_BLR for places in made]  # type: ignore[misc]


def test_how_often_by_the_depth_of_a_block() -> None:
    cfg = load(TrainConfig, [], ["model.drop_path=0.4", "model.depth=4", "model.attention=divided"])
    assert drop_path.rates(cfg.model) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    (scale_BLR,) = scales(cfg, [str(i) for i in range(4000)])
    assert scale_BLR.shape == (4000, 4, 3)
    assert scale_BLR.dtype == torch.float32
    for block, rate in enumerate((0.1, 0.2, 0.3, 0.4)):
        values = scale_BLR[:, block].double().numpy()
        assert set(np.unique(values)) == {0, np.float64(np.float32(1 / (1 - rate)))}
        assert (values == 0).mean(0) == pytest.approx(rate, abs=4 * (rate * (1 - rate) / 4000) ** 0.5)
        assert values.mean() == pytest.approx(1, abs=0.05)
    assert len({tuple(column) for column in scale_BLR.flatten(1).bool().T.tolist()}) == 12  # no two alike


def test_a_volume_has_the_same_in_any_batch_and_others_in_each_pass_and_set() -> None:
    cfg = load(TrainConfig, [], ["model.drop_path=0.5", "model.depth=8"])
    one, two = scales(cfg, ["a", "b"], sets=2)
    assert torch.equal(scales(cfg, ["b"])[0][0], one[1])
    different = [one[0], one[1], two[1], scales(cfg, ["b"], epoch=1)[0][0]]
    cfg.run.seed = 1
    different.append(scales(cfg, ["b"])[0][0])
    assert len({tuple(each.flatten().tolist()) for each in different}) == 5


def test_none_are_drawn_without_a_rate() -> None:
    assert drop_path.drawn(TrainConfig(), [NOWHERE], [0], ["a"])[0].scale_BLR is None


@pytest.mark.parametrize("form", FORMS)
def test_it_reaches_the_encoder_of_every_objective_and_no_target(form: str) -> None:
    cfg = config(form, STEADY[form])
    cfg.model.drop_path = 0.999
    context, target, tokens, place_sets = inputs(cfg)
    dropped = drop_path.drawn(cfg, place_sets, [0, 0], ["a", "b"])
    model = build(cfg)
    plain, other = (model(context, target, tokens, sets) for sets in (place_sets, dropped))
    assert not torch.equal(plain.loss, other.loss)
    if model.has_target_encoder:
        assert torch.equal(plain.pooled_BF, other.pooled_BF)
    other.loss.backward()
    left = [p.grad for name, p in model.encoder.named_parameters() if ".mlp.0.weight" in name]
    dropped_by_all = [not each.any() for each in dropped[0].scale_BLR.amax(0)[:, -1:]]  # type: ignore[union-attr]
    assert [not gradient.any() for gradient in left if gradient is not None] == dropped_by_all
    assert any(dropped_by_all)


def test_validation_and_a_batch_of_training(tmp_path: Path) -> None:
    shards = write_dataset(tmp_path / "device", {"train": 8, "val": 4})
    cfg = config_for(shards, tmp_path / "run", "model.drop_path=0.3", "run.samples_budget=8")
    with contextlib.closing(select.open_backend(cfg.run)) as backend:
        run_inputs = load_inputs(cfg, backend)
        batches = train_batches(run_inputs, backend, StreamPosition(0, 0))
        batch = next(batches)
        batches.close()
        expected = scales(cfg, list(batch.batch.seeds), epoch=batch.batch.epoch_B[0])
        assert torch.equal(batch.places[0].scale_BLR, expected[0])
        for inputs_ in val_batches(run_inputs, backend):
            assert all(places.scale_BLR is None for places in inputs_.own.places)


def test_it_may_change_on_the_way_if_that_is_said(tmp_path: Path) -> None:
    shards = write_dataset(tmp_path / "device", {"train": 8, "val": 2})
    loop.train(config_for(shards, tmp_path / "run", "run.samples_budget=8"))
    longer = config_for(shards, tmp_path / "run", "run.samples_budget=16", "model.drop_path=0.3")
    assert loop.train(longer, accept_changes=True).step == 4
