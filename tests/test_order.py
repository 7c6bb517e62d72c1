"""The order of samples: once each, the same for any number of readers, resumable anywhere, and quick."""

import time
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octshard.errors import UsageError
from octshard.train import order
from octshard.train.order import Order, StreamPosition

orders = st.builds(
    Order,
    seed=st.integers(0, 3),
    samples_per_shard=st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(sum).map(tuple),
    lanes=st.sampled_from([1, 2, 8, 64]),
    shuffle_window=st.sampled_from([1, 2, 7, 256]),
)


@given(orders, st.integers(0, 5))
def test_an_epoch_has_no_sample_twice_and_leaves_out_fewer_than_lanes(given: Order, epoch: int) -> None:
    samples = order.epoch_samples(given, epoch)
    total = sum(given.samples_per_shard)
    assert len(samples) == len(set(samples.tolist())) == order.epoch_length(given)
    assert 0 <= samples.min() <= samples.max() < total
    assert total - len(samples) < order.lane_count(total, given.lanes)
    assert np.array_equal(samples, order.epoch_samples(given, epoch))


@pytest.mark.parametrize(
    ("samples", "wanted", "lanes"),
    [(1, 64, 1), (15, 64, 1), (16, 64, 2), (511, 64, 32), (512, 64, 64), (9999, 6, 4)],
)
def test_lane_count_is_the_power_of_two_of_the_contract(samples: int, wanted: int, lanes: int) -> None:
    assert order.lane_count(samples, wanted) == lanes


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=9).map(tuple).filter(lambda counts: sum(counts) >= 64),
    st.integers(0, 3),
    st.sampled_from([8, 16, 24]),
    st.integers(0, 40),
)
@settings(max_examples=40)
def test_batches_are_the_same_for_any_number_of_readers_and_from_any_point(
    counts: tuple[int, ...], seed: int, batch: int, cut: int
) -> None:
    given = Order(seed, counts, 64, 5)
    whole = list(islice(order.draws(given, StreamPosition(0, 0), batch, 0, 1), cut + 3))
    for readers in (1, 2, 4, 8):
        start = whole[cut - 1].position if cut else StreamPosition(0, 0)
        parts = [
            list(islice(order.draws(given, start, batch, reader, readers), 3)) for reader in range(readers)
        ]
        for k, expected in enumerate(whole[cut:]):
            together, epochs = np.empty(batch, np.int64), np.empty(batch, np.int64)
            for reader in range(readers):
                together[reader::readers] = parts[reader][k].samples_B
                epochs[reader::readers] = parts[reader][k].epochs_B
                assert parts[reader][k].position == expected.position
            assert np.array_equal(together, expected.samples_B)
            assert np.array_equal(epochs, expected.epochs_B)


def test_batches_laid_end_to_end_are_the_epochs_laid_end_to_end() -> None:
    given = Order(3, (10, 7, 9), 4, 4)
    drawn = list(islice(order.draws(given, StreamPosition(0, 0), 7, 0, 1), 20))
    seen = np.concatenate([one.samples_B for one in drawn])
    epochs = np.concatenate([order.epoch_samples(given, epoch) for epoch in range(7)])
    assert np.array_equal(seen, epochs[: len(seen)])


def test_shuffling_stays_in_its_lane_and_block() -> None:
    given = Order(0, (64,), 8, 4)  # one shard: laid end to end, sample numbers are run coordinates
    lanes_PL = order.epoch_samples(given, 0).reshape(8, 8)
    for lane in range(8):
        run = lanes_PL[:, lane]
        assert sorted(run[:4]) == list(range(8 * lane, 8 * lane + 4))
        assert sorted(run[4:]) == list(range(8 * lane + 4, 8 * lane + 8))


def test_epochs_and_seeds_differ() -> None:
    given = Order(0, (30, 30, 30), 4, 16)
    assert not np.array_equal(order.epoch_samples(given, 0), order.epoch_samples(given, 1))
    assert not np.array_equal(
        order.epoch_samples(given, 0), order.epoch_samples(Order(1, (30, 30, 30), 4, 16), 0)
    )


def test_readers_that_divide_neither_batch_nor_lanes_are_refused() -> None:
    with pytest.raises(UsageError, match="3 readers"):
        order.check_readers(Order(0, (640,), 64, 8), 12, 3)
    with pytest.raises(UsageError, match="4 readers"):
        order.check_readers(Order(0, (20,), 64, 8), 8, 4)
    with pytest.raises(UsageError, match="0 samples"):
        order.check_readers(Order(0, (0,), 64, 8), 8, 1)
    with pytest.raises(UsageError, match="another data set"):
        next(order.draws(Order(0, (20,), 64, 8), StreamPosition(0, 21), 2, 0, 1))


@given(st.integers(1, 40), st.integers(1, 9), st.sampled_from([1, 2, 3]))
def test_evaluation_sees_every_sample_once(samples: int, batch: int, readers: int) -> None:
    seen: list[int] = []
    lengths = set()
    for reader in range(readers):
        found = list(order.table_draws(samples, batch, reader, readers))
        lengths.add(len(found))
        for numbers, count in found:
            assert len(numbers) == batch
            seen += numbers[:count].tolist()
    assert sorted(seen) == list(range(samples))
    assert len(lengths) == 1


def test_an_epoch_of_50_000_samples_is_drawn_quickly() -> None:
    given = Order(0, (200,) * 250, 64, 256)
    took = []
    for epoch in range(3):
        start = time.process_time()
        order.epoch_samples(given, epoch)
        took.append(time.process_time() - start)
    assert min(took) < 0.1
