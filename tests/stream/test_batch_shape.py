"""The shape of batches: as small as the largest volume allows, the same for every batch."""

import pytest

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.stream.batch_shape import BatchShape, batch_shape
from octshard.stream.index import SampleIndex, load_index
from tests.support.tiny_run import config_for, write_dataset


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three sizes at image_size (8, 32, 16) and patch (2, 8, 8): 3x3x2, 4x2x1 and 1x4x2 tokens."""
    folder = tmp_path_factory.mktemp("data")
    shapes = {"wide": (6, 20, 24), "deep": (9, 16, 8), "tall": (2, 99, 16)}
    urls = [
        write_dataset(folder / name, {"train": 2, "val": 1}, shape, name) for name, shape in shapes.items()
    ]
    return ",".join(urls)


def shape_of(shards: str, max_tokens: int | None = None) -> BatchShape:
    cfg = config_for(shards, "nowhere", "run.epochs=1")
    return batch_shape(load_index(cfg, "train", 0), cfg, max_tokens)


def test_the_box_holds_every_volume_and_the_list_the_largest(shards: str) -> None:
    assert shape_of(shards) == ((8, 32, 16), 18, 8, 18)
    assert shape_of(shards).padded
    assert shape_of(shards.split(",")[0]) == ((6, 24, 16), 18, 18, 18)
    assert shape_of(",".join(shards.split(",")[1:])) == ((8, 32, 16), 8, 8, 8)
    assert not shape_of(",".join(shards.split(",")[1:])).padded


def test_a_setting_bounds_the_list(shards: str) -> None:
    assert shape_of(shards, 12) == ((8, 32, 16), 12, 8, 18)
    assert shape_of(shards, 99) == ((8, 32, 16), 18, 8, 18)


def test_without_samples_it_is_that_of_the_image() -> None:
    cfg = load(TrainConfig, [], ["run.epochs=1"])
    assert batch_shape(SampleIndex("val", (), (), 0, 0), cfg) == ((64, 384, 384), 9216, 9216, 9216)
