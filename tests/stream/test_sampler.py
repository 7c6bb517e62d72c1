"""The order of samples: once each, the same for any number of readers, resumable anywhere, and quick."""

import time
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from octshard.errors import UsageError
from octshard.stream import sampler
from octshard.stream.sampler import Domain, SamplerConfig, StreamPosition

counts = st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(sum).map(tuple)
orders = st.builds(
    SamplerConfig,
    seed=st.integers(0, 3),
    domains=counts.map(sampler.single_domain),
    lanes=st.sampled_from([1, 2, 8, 64]),
    shuffle_block_size=st.sampled_from([1, 2, 7, 256]),
)


def plain(seed: int, counts: tuple[int, ...], lanes: int, window: int) -> SamplerConfig:
    return SamplerConfig(seed, sampler.single_domain(counts), lanes, window)


def mixed(sizes: tuple[tuple[int, ...], ...], weights: tuple[float, ...], lanes: int = 64) -> SamplerConfig:
    """Domains whose shards have these sizes, numbered end to end."""
    domains, first = [], 0
    for name, (shards, weight) in enumerate(zip(sizes, weights, strict=True)):
        starts = [first + sum(shards[:i]) for i in range(len(shards))]
        domains.append(Domain(f"d{name}", tuple(zip(starts, shards, strict=True)), weight))
        first += sum(shards)
    return SamplerConfig(0, tuple(domains), lanes, 5)


def domain_of(given: SamplerConfig, sample: int) -> int:
    return next(
        at
        for at, domain in enumerate(given.domains)
        for first, count in domain.shards
        if first <= sample < first + count
    )


@given(orders, st.integers(0, 5))
def test_an_epoch_has_no_sample_twice_and_leaves_out_fewer_than_lanes(
    given: SamplerConfig, epoch: int
) -> None:
    samples, passes = sampler.epoch_samples(given, epoch)
    assert len(samples) == len(set(samples.tolist())) == sampler.epoch_length(given)
    assert 0 <= samples.min() <= samples.max() < given.samples
    assert given.samples - len(samples) < sampler.lane_count(given.samples, given.lanes)
    assert np.array_equal(samples, sampler.epoch_samples(given, epoch)[0])
    assert set(passes.tolist()) == {epoch}


@pytest.mark.parametrize(
    ("samples", "wanted", "lanes"),
    [(1, 64, 1), (15, 64, 1), (16, 64, 2), (511, 64, 32), (512, 64, 64), (9999, 6, 4)],
)
def test_lane_count_is_the_power_of_two_of_the_contract(samples: int, wanted: int, lanes: int) -> None:
    assert sampler.lane_count(samples, wanted) == lanes


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=9).map(tuple).filter(lambda counts: sum(counts) >= 64),
    st.integers(0, 3),
    st.sampled_from([8, 16, 24]),
    st.integers(0, 40),
)
@settings(max_examples=40, deadline=None)
def test_batches_are_the_same_for_any_number_of_readers_and_from_any_point(
    counts: tuple[int, ...], seed: int, batch: int, cut: int
) -> None:
    given = plain(seed, counts, 64, 5)
    if len(counts) > 1 and min(sum(counts[::2]), sum(counts[1::2])) >= 64:  # mixed orders promise the same
        given = mixed((counts[::2], counts[1::2]), (1.0, 2.5))
    whole = list(islice(sampler.batch_samples(given, StreamPosition(0, 0), batch, 0, 1), cut + 3))
    for readers in (1, 2, 4, 8):
        start = whole[cut - 1].position if cut else StreamPosition(0, 0)
        parts = [
            list(islice(sampler.batch_samples(given, start, batch, reader, readers), 3))
            for reader in range(readers)
        ]
        for k, expected in enumerate(whole[cut:]):
            together, epochs = np.empty(batch, np.int64), np.empty(batch, np.int64)
            for reader in range(readers):
                together[reader::readers] = parts[reader][k].samples_B
                epochs[reader::readers] = parts[reader][k].passes_B
                assert parts[reader][k].position == expected.position
            assert np.array_equal(together, expected.samples_B)
            assert np.array_equal(epochs, expected.passes_B)


def test_batches_laid_end_to_end_are_the_epochs_laid_end_to_end() -> None:
    given = plain(3, (10, 7, 9), 4, 4)
    drawn = list(islice(sampler.batch_samples(given, StreamPosition(0, 0), 7, 0, 1), 20))
    seen = np.concatenate([one.samples_B for one in drawn])
    epochs = np.concatenate([sampler.epoch_samples(given, epoch)[0] for epoch in range(7)])
    assert np.array_equal(seen, epochs[: len(seen)])


def test_shuffling_stays_in_its_lane_and_block() -> None:
    given = plain(0, (64,), 8, 4)  # one shard: laid end to end, sample numbers are run coordinates
    lanes_PL = sampler.epoch_samples(given, 0)[0].reshape(8, 8)
    for lane in range(8):
        run = lanes_PL[:, lane]
        assert sorted(run[:4]) == list(range(8 * lane, 8 * lane + 4))
        assert sorted(run[4:]) == list(range(8 * lane + 4, 8 * lane + 8))


def test_epochs_and_seeds_differ() -> None:
    given = plain(0, (30, 30, 30), 4, 16)
    other = plain(1, (30, 30, 30), 4, 16)
    first = sampler.epoch_samples(given, 0)[0]
    assert not np.array_equal(first, sampler.epoch_samples(given, 1)[0])
    assert not np.array_equal(first, sampler.epoch_samples(other, 0)[0])


def test_readers_that_divide_neither_batch_nor_lanes_are_refused() -> None:
    with pytest.raises(UsageError, match="3 readers"):
        sampler.check_readers(plain(0, (640,), 64, 8), 12, 3)
    with pytest.raises(UsageError, match="4 readers"):
        sampler.check_readers(plain(0, (20,), 64, 8), 8, 4)
    with pytest.raises(UsageError, match="0 samples"):
        sampler.check_readers(plain(0, (0,), 64, 8), 8, 1)
    with pytest.raises(UsageError, match="another data set"):
        next(sampler.batch_samples(plain(0, (20,), 64, 8), StreamPosition(0, 21), 2, 0, 1))


weighted = st.builds(
    mixed,
    st.tuples(*[st.lists(st.integers(1, 30), min_size=1, max_size=4).map(tuple)] * 3),
    st.tuples(*[st.sampled_from([1.0, 2.0, 3.0])] * 3),
    st.sampled_from([1, 4, 64]),
).filter(lambda one: 0 not in sampler.domain_quotas(one).sum(axis=0))


@given(weighted)
@settings(max_examples=60, deadline=None)
def test_domains_come_at_their_weights_and_every_pass_is_whole(given: SamplerConfig) -> None:
    """Over many epochs laid end to end, every lane goes through its run of a domain again and again."""
    lanes = sampler.lanes_of(given)
    weights = [domain.weight for domain in given.domains]
    seen: dict[tuple[int, int, int], list[int]] = {}
    for epoch in range(4):
        samples, passes = sampler.epoch_samples(given, epoch)
        assert len(samples) == sampler.epoch_length(given)
        drawn = [domain_of(given, sample) for sample in samples.tolist()]
        for at, weight in enumerate(weights):
            assert abs(drawn.count(at) - len(samples) * weight / sum(weights)) < 1
        for place, (at, which, sample) in enumerate(
            zip(drawn, passes.tolist(), samples.tolist(), strict=True)
        ):
            seen.setdefault((at, which, place % lanes), []).append(sample)
    last: dict[tuple[int, int], int] = {}
    for at, which, lane in seen:
        last[at, lane] = max(which, last.get((at, lane), 0))
    for (at, which, lane), found in seen.items():
        run = given.domains[at].samples // lanes
        assert len(found) == len(set(found))
        assert len(found) == run or which == last[at, lane]
    for at, domain in enumerate(given.domains):
        if all(
            last.get((at, lane), 0) > 0 for lane in range(lanes)
        ):  # a whole pass misses fewer samples than there are lanes
            whole = [sample for lane in range(lanes) for sample in seen[at, 0, lane]]
            assert len(set(whole)) > domain.samples - lanes


def test_devices_drawn_equally_mix_in_every_batch() -> None:
    """4 devices of 4,000, 1,000, 600 and 520 samples: each is a quarter, spread as independent draws are."""
    given = mixed(((500,) * 8, (500, 500), (600,), (520,)), (1.0,) * 4)
    samples, _ = sampler.epoch_samples(given, 0)
    drawn = np.asarray([domain_of(given, sample) for sample in samples])
    assert np.bincount(drawn).tolist() == [len(samples) // 4] * 4
    batches = drawn[: len(drawn) // 128 * 128].reshape(-1, 128)
    counts = np.stack([(batches == at).sum(axis=1) for at in range(4)])
    assert counts.min() > 8
    spread = counts.std(axis=1) / np.sqrt(128 * 0.25 * 0.75)  # 1 where draws are independent
    assert np.all((spread > 0.6) & (spread < 1.4))


@pytest.mark.parametrize("epoch", [0, 3])
def test_shuffling_leaves_no_trace_of_the_order_of_storage(epoch: int) -> None:
    """Samples of a participant lie together; 40 shards of 50 samples, 4 of each participant."""
    given = plain(0, (50,) * 40, 64, 256)
    samples, _ = sampler.epoch_samples(given, epoch)
    rank = spearmanr(np.arange(len(samples)), samples).statistic
    assert abs(rank) < 4 / np.sqrt(len(samples))  # 4 standard deviations of unrelated orders
    participants = samples[: len(samples) // 64 * 64].reshape(-1, 64) // 4
    together = np.mean([64 - len(set(batch)) for batch in participants.tolist()])
    assert together < 2 * 64 * 63 / 2 * 3 / (len(samples) - 1)  # twice the pairs of a uniform draw


def test_a_substitute_is_another_sample_of_the_same_lane() -> None:
    given = plain(0, (50,) * 8, 4, 16)
    lanes_PL = sampler.epoch_samples(given, 2)[0].reshape(-1, 4)
    sample = int(lanes_PL[7, 3])
    found = {sampler.substitute(given, sample, 2, attempt) for attempt in range(40)}
    assert len(found) > 20
    assert found <= set(lanes_PL[:, 3].tolist()) - {sample}
    assert sampler.substitute(given, sample, 2, 0) == sampler.substitute(given, sample, 2, 0)
    with pytest.raises(UsageError, match="no other sample in the lane"):
        sampler.substitute(plain(0, (1,), 1, 1), 0, 0, 0)


def test_domains_without_samples_or_weight_are_refused() -> None:
    with pytest.raises(UsageError, match="the domain d1 has weight 0"):
        sampler.check_readers(mixed(((64,), (64,)), (1.0, 0.0)), 8, 1)
    with pytest.raises(UsageError, match="the domain d1 holds 0 samples"):
        sampler.check_readers(mixed(((64,), (0,)), (1.0, 1.0)), 8, 1)
    with pytest.raises(UsageError, match=r"the domain d1 with weight 0\.001 would never be seen"):
        sampler.check_readers(mixed(((64,), (64,)), (1.0, 0.001)), 8, 1)


@given(st.integers(1, 40), st.integers(1, 9), st.sampled_from([1, 2, 3]))
def test_evaluation_sees_every_sample_once(samples: int, batch: int, readers: int) -> None:
    seen: list[int] = []
    lengths = set()
    for reader in range(readers):
        found = list(sampler.sequential_batches(samples, batch, reader, readers))
        lengths.add(len(found))
        for numbers, count in found:
            assert len(numbers) == batch
            seen += numbers[:count].tolist()
    assert sorted(seen) == list(range(samples))
    assert len(lengths) == 1


def test_an_epoch_of_50_000_samples_is_drawn_quickly() -> None:
    given = plain(0, (200,) * 250, 64, 256)
    took = []
    for epoch in range(3):
        start = time.process_time()
        sampler.epoch_samples(given, epoch)
        took.append(time.process_time() - start)
    assert min(took) < 0.1
