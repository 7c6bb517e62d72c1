"""The simulation of an epoch, against a count of what the ranks are given."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.stream import sampler
from octshard.stream.index import load_index, sampler_config
from octshard.stream.sampler import StreamPosition
from octshard.stream.simulate import simulate
from tests.support.tiny_run import config_for, write_dataset


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    devices = (("one", 64), ("two", 32))
    return ",".join(write_dataset(folder / name, {"train": n}, device=name) for name, n in devices)


def config_of(shards: str, *more: str) -> TrainConfig:
    return config_for(shards, "nowhere", "run.epochs=1", *more)


def test_the_simulation_is_what_the_ranks_get(shards: str) -> None:
    cfg = config_of(shards, "data.balance=device", "data.lanes=4")
    index = load_index(cfg, "train", 0)
    simulation = simulate(index, cfg, 8, 2)
    numbers_by_rank = []
    for rank in range(2):
        batches = sampler.batch_samples(sampler_config(index, cfg), StreamPosition(0, 0), 8, rank, 2)
        numbers = np.concatenate([next(batches).samples_B for _ in range(simulation.batches)])
        nbytes = sum(index.samples[i].stop - index.samples[i].start for i in numbers)
        assert abs(nbytes - simulation.bytes_per_rank) < 0.1 * nbytes
        numbers_by_rank.append(numbers)
    assert (simulation.lanes, simulation.samples_per_epoch, simulation.batches) == (4, 96, 12)
    assert simulation.valid_world_sizes == (1, 2, 4)
    assert simulation.unseen_samples == 96 - len(np.unique(np.concatenate(numbers_by_rank)))
    assert [(domain.name, domain.samples, domain.draws) for domain in simulation.domains] == [
        ("one", 64, 48),
        ("two", 32, 48),
    ]
    assert [domain.passes for domain in simulation.domains] == [0.75, 1.5]
    assert abs(simulation.rank_correlation) < 0.4
    assert 0.5 < simulation.device_spread < 1.5


def test_an_order_that_is_not_shuffled_shows(shards: str) -> None:
    """One lane and blocks of one: shard by shard, so that a batch holds one device and one participant."""
    cfg = config_of(shards.split(",")[0], "data.lanes=1", "data.shuffle_block_size=1")
    index = load_index(cfg, "train", 0)
    samples, _ = sampler.epoch_samples(sampler_config(index, cfg), 0)
    expected = np.corrcoef(np.arange(64), samples)[0, 1]
    assert simulate(index, cfg, 5, 1).rank_correlation == pytest.approx(expected)
    mixed = config_of(shards, "data.lanes=1", "data.shuffle_block_size=1")
    assert simulate(load_index(mixed, "train", 0), mixed, 4, 1).device_spread > 1.7


def test_blocks_and_bytes_are_those_of_one_rank(shards: str) -> None:
    """8 lanes of 12 samples, blocks of 3: 24 samples over all ranks."""
    cfg = config_of(shards, "data.lanes=8", "data.shuffle_block_size=3")
    index = load_index(cfg, "train", 0)
    mean = np.mean([sample.stop - sample.start for sample in index.samples])
    for world_size in (1, 4):
        simulation = simulate(index, cfg, 8, world_size)
        assert simulation.block_bytes == pytest.approx(24 * mean / world_size, abs=1)


def test_pairs_of_one_participant_are_those_counted_by_hand(tmp_path: Path) -> None:
    """Ten participants with three samples each."""
    cfg = config_of(write_dataset(tmp_path / "one", {"train": 30}), "data.lanes=1")
    index = load_index(cfg, "train", 0)
    samples = [
        dataclasses.replace(sample, row=dataclasses.replace(sample.row, participant=str(i % 10)))
        for i, sample in enumerate(index.samples)
    ]
    index = dataclasses.replace(index, samples=tuple(samples))
    order, _ = sampler.epoch_samples(sampler_config(index, cfg), 0)
    people = [index.samples[number].row.participant for number in order]
    batches = [people[start : start + 6] for start in range(0, 30, 6)]
    pairs = sum(a == b for batch in batches for i, a in enumerate(batch) for b in batch[i + 1 :])
    uniform = 5 * 15 * 30 / (30 * 29 / 2)  # batches x pairs of a batch x equal pairs / all pairs
    assert simulate(index, cfg, 6, 1).participant_pairs == pytest.approx(pairs / uniform)


def test_a_world_size_that_does_not_fit_is_refused(shards: str) -> None:
    cfg = config_of(shards)
    with pytest.raises(UsageError, match="3 readers, want a power of two"):
        simulate(load_index(cfg, "train", 0), cfg, 4, 3)
