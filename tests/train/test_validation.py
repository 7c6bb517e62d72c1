"""val_loss: every validation volume counts once, whatever the batch and the number of processes."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from octshard import ShardDataset
from octshard.config.train import TrainConfig
from octshard.devices import select
from octshard.imaging.crop import crop_pad_into
from octshard.models import normalize
from octshard.train import setup, validation
from octshard.train.inputs import load_inputs, val_batches
from octshard.train.objectives import jepa
from tests.support.tiny_run import config_for, write_dataset
from tests.support.token_lists import draw_lists

# whatever the batch is, 7 and 5 volumes of two sizes do not fill it
LENGTH = ("run.samples_budget=8", "run.global_batch=8", "run.val_samples=99", "run.cpu_threads=1")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    first = write_dataset(folder / "one", {"train": 21, "val": 7}, device="one")
    second = write_dataset(folder / "two", {"train": 8, "val": 5}, (4, 32, 16), device="two")
    return f"{first},{second}"


def val_loss(cfg: TrainConfig) -> float | None:
    with contextlib.closing(select.open_backend(cfg.run)) as backend:
        run, _ = setup.start(cfg, backend, load_inputs(cfg, backend), None)
        return validation.validate(run)


def losses_one_by_one(cfg: TrainConfig, urls: list[str]) -> list[float]:
    """Each volume alone: read as a program reads it, its centre through the model in training mode."""
    model, losses = jepa.build(cfg), []
    d, h, w = cfg.model.image_size
    for item in (
        dataset[i]
        for dataset in (ShardDataset(url, split="val") for url in urls)
        for i in range(len(dataset))
    ):
        image_DHW = np.zeros((d, h, w), np.uint8)
        valid_B3 = torch.tensor([crop_pad_into(image_DHW, item["image"][0].numpy(), None)])
        meta = item["meta"]
        x = normalize.normalize(
            torch.from_numpy(image_DHW)[None],
            torch.tensor([meta["mean"]]),
            torch.tensor([meta["std"]]),
            valid_B3,
        )
        lists = draw_lists(cfg, valid_B3, [meta["key"]])
        with torch.no_grad():
            losses.append(float(model(x, x, *lists).loss))
    return losses


# with rope the hidden tokens of `byol` are all but equal at the start, and a norm blows up their rounding
@pytest.mark.parametrize(("objective", "position"), [("vjepa2", "rope"), ("byol", "sincos")])
def test_it_is_the_mean_over_volumes_each_alone_whatever_the_batch(
    shards: str, tmp_path: Path, objective: str, position: str
) -> None:
    more = (*LENGTH, f"objective.name={objective}", f"model.position={position}")
    cfgs = [config_for(shards, tmp_path, *more, f"run.per_device_batch={size}") for size in (8, 4, 2, 1)]
    expected = losses_one_by_one(cfgs[0], shards.split(","))
    assert len(expected) == 12
    assert [val_loss(cfg) for cfg in cfgs] == pytest.approx([np.mean(expected)] * 4, rel=1e-6)


@pytest.mark.parametrize("samples", [1, 5, 9])
def test_the_volumes_are_the_same_ones_and_from_all_datasets(
    shards: str, tmp_path: Path, samples: int
) -> None:
    chosen = []
    for size in (8, 2):
        cfg = config_for(
            shards, tmp_path, *LENGTH, f"run.val_samples={samples}", f"run.per_device_batch={size}"
        )
        backend = select.open_backend(cfg.run)
        batches = val_batches(load_inputs(cfg, backend), backend)
        chosen.append([key for inputs in batches for key in inputs.batch.keys[: int(inputs.weight_B.sum())]])
    assert chosen[0] == chosen[1]
    assert len(set(chosen[0])) == samples
    of_second = sum("-two-" in key for key in chosen[0])
    assert abs(of_second - samples * 5 / 12) < 1
