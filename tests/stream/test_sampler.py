"""The order of samples: once each, the same for any number of ranks, resumable anywhere, and quick."""

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
configs = st.builds(
    SamplerConfig,
    seed=st.integers(0, 3),
    domains=counts.map(sampler.single_domain),
    lanes=st.sampled_from([1, 2, 8, 64]),
    shuffle_block_size=st.sampled_from([1, 2, 7, 256]),
)


def plain(seed: int, counts: tuple[int, ...], lanes: int, block: int) -> SamplerConfig:
    return SamplerConfig(seed, sampler.single_domain(counts), lanes, block)


def mixed(sizes: tuple[tuple[int, ...], ...], weights: tuple[float, ...], lanes: int = 64) -> SamplerConfig:
    """Domains whose shards have these sizes, numbered end to end."""
    domains, first = [], 0
    for name, (shards, weight) in enumerate(zip(sizes, weights, strict=True)):
        starts = [first + sum(shards[:i]) for i in range(len(shards))]
        domains.append(Domain(f"d{name}", tuple(zip(starts, shards, strict=True)), weight))
        first += sum(shards)
    return SamplerConfig(0, tuple(domains), lanes, 5)


def domain_of(config: SamplerConfig, sample: int) -> int:
    return next(
        k
        for k, domain in enumerate(config.domains)
        for first, count in domain.shards
        if first <= sample < first + count
    )


@given(configs, st.integers(0, 5))
def test_an_epoch_has_no_sample_twice_and_leaves_out_fewer_than_lanes(
    config: SamplerConfig, epoch: int
) -> None:
    samples, passes = sampler.epoch_samples(config, epoch)
    assert len(samples) == len(set(samples.tolist())) == sampler.epoch_length(config)
    assert 0 <= samples.min() <= samples.max() < config.samples
    assert config.samples - len(samples) < sampler.lane_count(config.samples, config.lanes)
    assert np.array_equal(samples, sampler.epoch_samples(config, epoch)[0])
    assert set(passes.tolist()) == {epoch}


@pytest.mark.parametrize(
    ("samples", "most", "lanes"),
    [(1, 64, 1), (15, 64, 1), (16, 64, 2), (511, 64, 32), (512, 64, 64), (9999, 6, 4)],
)
def test_lane_count_is_the_power_of_two_of_the_contract(samples: int, most: int, lanes: int) -> None:
    assert sampler.lane_count(samples, most) == lanes


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=9).map(tuple).filter(lambda counts: sum(counts) >= 64),
    st.integers(0, 3),
    st.sampled_from([8, 16, 24]),
    st.integers(0, 40),
)
@settings(max_examples=40, deadline=None)
def test_batches_are_the_same_for_any_world_size_and_from_any_point(
    counts: tuple[int, ...], seed: int, batch: int, cut: int
) -> None:
    config = plain(seed, counts, 64, 5)
    if len(counts) > 1 and min(sum(counts[::2]), sum(counts[1::2])) >= 64:  # mixed orders promise the same
        config = mixed((counts[::2], counts[1::2]), (1.0, 2.5))
    whole = list(islice(sampler.batch_samples(config, StreamPosition(0, 0), batch, 0, 1), cut + 3))
    for world_size in (1, 2, 4, 8):
        start = whole[cut - 1].position if cut else StreamPosition(0, 0)
        parts = [
            list(islice(sampler.batch_samples(config, start, batch, rank, world_size), 3))
            for rank in range(world_size)
        ]
        for k, expected in enumerate(whole[cut:]):
            samples, passes = np.empty(batch, np.int64), np.empty(batch, np.int64)
            for rank in range(world_size):
                samples[rank::world_size] = parts[rank][k].samples_B
                passes[rank::world_size] = parts[rank][k].passes_B
                assert parts[rank][k].position == expected.position
            assert np.array_equal(samples, expected.samples_B)
            assert np.array_equal(passes, expected.passes_B)


def test_batches_laid_end_to_end_are_the_epochs_laid_end_to_end() -> None:
    config = plain(3, (10, 7, 9), 4, 4)
    batches = list(islice(sampler.batch_samples(config, StreamPosition(0, 0), 7, 0, 1), 20))
    samples = np.concatenate([batch.samples_B for batch in batches])
    epochs = np.concatenate([sampler.epoch_samples(config, epoch)[0] for epoch in range(7)])
    assert np.array_equal(samples, epochs[: len(samples)])


def test_shuffling_stays_in_its_lane_and_block() -> None:
    config = plain(0, (64,), 8, 4)  # one shard: laid end to end, sample numbers are run coordinates
    lanes_PL = sampler.epoch_samples(config, 0)[0].reshape(8, 8)
    for lane in range(8):
        run = lanes_PL[:, lane]
        assert sorted(run[:4]) == list(range(8 * lane, 8 * lane + 4))
        assert sorted(run[4:]) == list(range(8 * lane + 4, 8 * lane + 8))


def test_epochs_and_seeds_differ() -> None:
    config = plain(0, (30, 30, 30), 4, 16)
    other = plain(1, (30, 30, 30), 4, 16)
    first = sampler.epoch_samples(config, 0)[0]
    assert not np.array_equal(first, sampler.epoch_samples(config, 1)[0])
    assert not np.array_equal(first, sampler.epoch_samples(other, 0)[0])


def test_world_sizes_that_divide_neither_batch_nor_lanes_are_refused() -> None:
    with pytest.raises(UsageError, match="3 readers"):
        sampler.check(plain(0, (640,), 64, 8), 12, 3)
    with pytest.raises(UsageError, match="4 readers"):
        sampler.check(plain(0, (20,), 64, 8), 8, 4)
    with pytest.raises(UsageError, match="0 samples"):
        sampler.check(plain(0, (0,), 64, 8), 8, 1)
    with pytest.raises(UsageError, match="another data set"):
        next(sampler.batch_samples(plain(0, (20,), 64, 8), StreamPosition(0, 21), 2, 0, 1))


weighted = st.builds(
    mixed,
    st.tuples(*[st.lists(st.integers(1, 30), min_size=1, max_size=4).map(tuple)] * 3),
    st.tuples(*[st.sampled_from([1.0, 2.0, 3.0])] * 3),
    st.sampled_from([1, 4, 64]),
).filter(lambda config: 0 not in sampler.domain_quotas(config).sum(axis=0))


@given(weighted)
@settings(max_examples=60, deadline=None)
def test_domains_come_at_their_weights_and_every_pass_is_whole(config: SamplerConfig) -> None:
    """Over many epochs laid end to end, every lane goes through its run of a domain again and again."""
    lanes = sampler.lanes_of(config)
    weights = [domain.weight for domain in config.domains]
    runs: dict[tuple[int, int, int], list[int]] = {}  # (domain, pass, lane) -> samples
    for epoch in range(4):
        samples, passes = sampler.epoch_samples(config, epoch)
        assert len(samples) == sampler.epoch_length(config)
        domains = [domain_of(config, sample) for sample in samples.tolist()]
        for k, weight in enumerate(weights):
            assert abs(domains.count(k) - len(samples) * weight / sum(weights)) < 1
        rows = zip(domains, passes.tolist(), samples.tolist(), strict=True)
        for place, (k, pass_index, sample) in enumerate(rows):
            runs.setdefault((k, pass_index, place % lanes), []).append(sample)
    last_pass: dict[tuple[int, int], int] = {}
    for k, pass_index, lane in runs:
        last_pass[k, lane] = max(pass_index, last_pass.get((k, lane), 0))
    for (k, pass_index, lane), run in runs.items():
        assert len(run) == len(set(run))
        assert len(run) == config.domains[k].samples // lanes or pass_index == last_pass[k, lane]
    for k, domain in enumerate(config.domains):
        if all(last_pass.get((k, lane), 0) > 0 for lane in range(lanes)):
            # a whole pass misses fewer samples than there are lanes
            first_pass = {sample for lane in range(lanes) for sample in runs[k, 0, lane]}
            assert len(first_pass) > domain.samples - lanes


def test_devices_drawn_equally_mix_in_every_batch() -> None:
    """4 devices of 4,000, 1,000, 600 and 520 samples: each is a quarter, spread as independent draws are."""
    config = mixed(((500,) * 8, (500, 500), (600,), (520,)), (1.0,) * 4)
    samples, _ = sampler.epoch_samples(config, 0)
    domains = np.asarray([domain_of(config, sample) for sample in samples])
    assert np.bincount(domains).tolist() == [len(samples) // 4] * 4
    batches = domains[: len(domains) // 128 * 128].reshape(-1, 128)
    counts = np.stack([(batches == k).sum(axis=1) for k in range(4)])
    assert counts.min() > 8
    spread = counts.std(axis=1) / np.sqrt(128 * 0.25 * 0.75)  # 1 where draws are independent
    assert np.all((spread > 0.6) & (spread < 1.4))


@pytest.mark.parametrize("epoch", [0, 3])
def test_shuffling_leaves_no_trace_of_the_order_of_storage(epoch: int) -> None:
    """Samples of a participant lie together; 40 shards of 50 samples, 4 of each participant."""
    config = plain(0, (50,) * 40, 64, 256)
    samples, _ = sampler.epoch_samples(config, epoch)
    rank = spearmanr(np.arange(len(samples)), samples).statistic
    assert abs(rank) < 4 / np.sqrt(len(samples))  # 4 standard deviations of unrelated orders
    participants = samples[: len(samples) // 64 * 64].reshape(-1, 64) // 4
    repeats = np.mean([64 - len(set(batch)) for batch in participants.tolist()])
    assert repeats < 2 * 64 * 63 / 2 * 3 / (len(samples) - 1)  # twice the pairs of a uniform draw


def test_a_substitute_is_another_sample_of_the_same_lane() -> None:
    config = plain(0, (50,) * 8, 4, 16)
    lanes_PL = sampler.epoch_samples(config, 2)[0].reshape(-1, 4)
    sample = int(lanes_PL[7, 3])
    substitutes = {sampler.substitute(config, sample, 2, attempt) for attempt in range(40)}
    assert len(substitutes) > 20
    assert substitutes <= set(lanes_PL[:, 3].tolist()) - {sample}
    assert sampler.substitute(config, sample, 2, 0) == sampler.substitute(config, sample, 2, 0)
    fitting = np.arange(400) % 7 == 0
    fits = {sampler.substitute(config, sample, 2, attempt, fitting) for attempt in range(60)}
    assert fits == {n for n in lanes_PL[:, 3].tolist() if n % 7 == 0 and n != sample}
    with pytest.raises(UsageError, match="no other sample in the lane"):
        sampler.substitute(config, sample, 2, 0, np.arange(400) == sample)
    with pytest.raises(UsageError, match="no other sample in the lane"):
        sampler.substitute(plain(0, (1,), 1, 1), 0, 0, 0)


def test_domains_without_samples_or_weight_are_refused() -> None:
    with pytest.raises(UsageError, match="the domain d1 has weight 0"):
        sampler.check(mixed(((64,), (64,)), (1.0, 0.0)), 8, 1)
    with pytest.raises(UsageError, match="the domain d1 holds 0 samples"):
        sampler.check(mixed(((64,), (0,)), (1.0, 1.0)), 8, 1)
    with pytest.raises(UsageError, match=r"the domain d1 with weight 0\.001 would never be seen"):
        sampler.check(mixed(((64,), (64,)), (1.0, 0.001)), 8, 1)


@given(st.integers(1, 40), st.integers(1, 9), st.sampled_from([1, 2, 3]))
def test_evaluation_sees_every_sample_once(samples: int, batch_size: int, world_size: int) -> None:
    real: list[int] = []
    lengths = set()
    for rank in range(world_size):
        batches = list(sampler.sequential_batches(samples, batch_size, rank, world_size))
        lengths.add(len(batches))
        for samples_B, count in batches:
            assert len(samples_B) == batch_size
            real += samples_B[:count].tolist()
    assert sorted(real) == list(range(samples))
    assert len(lengths) == 1


def test_an_epoch_of_50_000_samples_is_drawn_quickly() -> None:
    config = plain(0, (200,) * 250, 64, 256)
    seconds = []
    for epoch in range(3):
        start = time.process_time()
        sampler.epoch_samples(config, epoch)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.1
