"""The order of samples: a pure function of (seed, epoch, shards, lanes, shuffle_block_size, weights).

It does not depend on how many processes read: rank r of R takes every R-th sample of it, so `StreamPosition`
is the whole state of a stream and a run may be resumed with another R (DESIGN §6).

Letters besides those of volume.py: S samples of an epoch, L lanes, P places of a lane, K domains (not context
tokens).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from octshard.config.train import MAX_WEIGHT
from octshard.errors import UsageError
from octshard.rng import rng_for


class StreamPosition(NamedTuple):
    """How far a stream is: `samples_seen` samples of `epoch` (over all ranks) are consumed."""

    epoch: int
    samples_seen: int


@dataclass(frozen=True)
class Domain:
    """Samples that are mixed as one: all of a run without mixing, else a dataset, or all of a device.

    Sample numbers count through the index; a shard is (number of its first sample, its samples).
    """

    name: str
    shards: tuple[tuple[int, int], ...]
    weight: float = 1.0  # the domain is weight / sum of weights of an epoch

    @property
    def samples(self) -> int:
        """In all shards together."""
        return sum(count for _, count in self.shards)


@dataclass(frozen=True)
class SamplerConfig:
    """What decides the order."""

    seed: int
    domains: tuple[Domain, ...]  # one: every sample once per epoch; several: mixed by their weights
    lanes: int  # at most; `lanes_of` says how many there are
    shuffle_block_size: int  # samples

    @property
    def samples(self) -> int:
        """In all domains together."""
        return sum(domain.samples for domain in self.domains)


class BatchSamples(NamedTuple):
    """The part of a global batch that one rank takes: its sample numbers, the pass over its domain that each
    belongs to (without mixing: the epoch), and the position after the batch.
    """

    samples_B: np.ndarray
    passes_B: np.ndarray
    position: StreamPosition


def single_domain(samples_per_shard: Sequence[int]) -> tuple[Domain, ...]:
    """All shards as the one domain of an order in which every sample comes once per epoch."""
    first = np.concatenate([[0], np.cumsum(samples_per_shard)[:-1]]).astype(int).tolist()
    return (Domain("", tuple(zip(first, samples_per_shard, strict=True))),)


def lane_count(samples: int, lanes: int) -> int:
    """The largest power of two <= min(lanes, samples / 8), at least 1."""
    return 1 << max(0, min(lanes, samples // 8).bit_length() - 1)


def lanes_of(config: SamplerConfig) -> int:
    """Lanes of an order: as many as its smallest domain can fill."""
    return lane_count(min(domain.samples for domain in config.domains), config.lanes)


def epoch_length(config: SamplerConfig) -> int:
    """Samples seen in every epoch: the number of samples, rounded down to a multiple of the lanes."""
    return config.samples // lanes_of(config) * lanes_of(config)


def domain_quotas(config: SamplerConfig) -> np.ndarray:
    """quota_LK: how many samples of each domain a lane takes in every epoch.

    Over all lanes together these are the whole numbers nearest to the weights (largest remainders, Hamilton);
    what does not divide evenly among the lanes is dealt out lane by lane.
    """
    lanes, weight_K = lanes_of(config), np.asarray([domain.weight for domain in config.domains], np.float64)
    places = config.samples // lanes
    base_K = np.floor(places * weight_K / weight_K.sum()).astype(int)
    total_K = _apportion(places * lanes, weight_K)
    extra_K = np.clip(total_K - lanes * base_K, 0, lanes)
    quota_LK = np.tile(base_K, (lanes, 1))
    for turn, domain in enumerate(np.repeat(np.arange(len(weight_K)), extra_K)):
        quota_LK[turn % lanes, domain] += 1
    return quota_LK


def epoch_samples(config: SamplerConfig, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """(samples_S, passes_S) of one epoch in the order in which they are seen, S = `epoch_length`.

    Without mixing no sample comes twice and the pass is the epoch. With mixing every lane goes through its
    part of each domain on its own, as often as its quota asks, and continues where the last epoch ended.
    """
    lanes = lanes_of(config)
    if len(config.domains) == 1:
        samples_LP = _pass_LP(config, 0, epoch)
        return samples_LP.T.ravel(), np.full(samples_LP.size, epoch)
    quota_LK = domain_quotas(config)
    samples_LP = np.empty((lanes, config.samples // lanes), np.int64)
    passes_LP = np.empty_like(samples_LP)
    for k, domain in enumerate(config.domains):
        run, pass_cache = domain.samples // lanes, dict[int, np.ndarray]()
        for lane in range(lanes):
            quota = quota_LK[lane, k]
            of_domain_P = _domain_P(config, epoch, lane, quota_LK) == k
            pass_Q, place_Q = np.divmod(epoch * quota + np.arange(quota), run)  # Q: the lane's of this domain
            for pass_index in np.unique(pass_Q).tolist():
                if pass_index not in pass_cache:
                    pass_cache[pass_index] = _pass_LP(config, k, pass_index)
            samples_LP[lane, of_domain_P] = [
                pass_cache[pass_index][lane, place]
                for pass_index, place in zip(pass_Q.tolist(), place_Q, strict=True)
            ]
            passes_LP[lane, of_domain_P] = pass_Q
    return samples_LP.T.ravel(), passes_LP.T.ravel()


def substitute(
    config: SamplerConfig, sample: int, pass_index: int, attempt: int, fitting_N: np.ndarray | None = None
) -> int:
    """Another sample of the same lane and pass, to stand in for one that cannot be read. fitting_N: bool,
    which samples of the index may; None: all.
    """
    for k, domain in enumerate(config.domains):
        if any(first <= sample < first + count for first, count in domain.shards):
            lanes_LP = _pass_LP(config, k, pass_index)
            lane_P = lanes_LP[np.nonzero(lanes_LP == sample)[0][0]]
            others = lane_P[lane_P != sample]
            if fitting_N is not None:
                others = others[fitting_N[others]]
            if len(others) == 0:
                break
            return int(rng_for(config.seed, "substitute", pass_index, sample, attempt).choice(others))
    raise UsageError(f"stream: no other sample in the lane of sample {sample} of pass {pass_index}, want one")


def check(config: SamplerConfig, global_batch: int, world_size: int) -> None:
    """UsageError unless `world_size` divides batch and lanes, and every domain has samples and a quota."""
    for domain in config.domains:
        if domain.samples == 0:
            raise UsageError(f"stream: {_label(domain)} holds 0 samples, want at least 1")
        if not 0 < domain.weight < MAX_WEIGHT:
            raise UsageError(
                f"stream: {_label(domain)} has weight {domain.weight}, want more than 0 and less than "
                f"{MAX_WEIGHT:g}"
            )
    lanes = lanes_of(config)
    if global_batch % world_size or lanes % world_size:
        smallest = min(config.domains, key=lambda domain: domain.samples)
        raise UsageError(
            f"stream: {world_size} readers, want a power of two that divides batch {global_batch} and the "
            f"{lanes} lanes of {smallest.samples} samples; give data.lanes >= {world_size} and at least "
            f"{8 * world_size} samples{' in every domain' if len(config.domains) > 1 else ''}"
        )
    without_quota = np.nonzero(domain_quotas(config).sum(axis=0) == 0)[0]
    if len(without_quota):
        domain = config.domains[without_quota[0]]
        raise UsageError(
            f"stream: {_label(domain)} with weight {domain.weight:g} would never be seen; want more, or "
            f"fewer data.lanes than {lanes}"
        )


def batch_samples(
    config: SamplerConfig, start: StreamPosition, global_batch: int, rank: int, world_size: int
) -> Iterator[BatchSamples]:
    """Without end: the part of `rank` in each global batch of `global_batch` samples, from `start` on.

    A batch may cross from one epoch into the next.
    """
    check(config, global_batch, world_size)
    length, (epoch, position) = epoch_length(config), start
    if not 0 <= position <= length:
        raise UsageError(
            f"stream: position {position} of epoch {epoch}, want at most {length}; is this another data set?"
        )
    epoch_2S = np.stack(epoch_samples(config, epoch))  # sample numbers and passes
    while True:
        parts: list[np.ndarray] = []
        missing = global_batch
        while missing:
            if position == length:
                epoch, position = epoch + 1, 0
                epoch_2S = np.stack(epoch_samples(config, epoch))
            part_2S = epoch_2S[:, position : position + missing]
            parts.append(part_2S)
            missing, position = missing - part_2S.shape[1], position + part_2S.shape[1]
        samples_B, passes_B = np.concatenate(parts, axis=1)[:, rank::world_size]
        yield BatchSamples(samples_B, passes_B, StreamPosition(epoch, position))


def sequential_batches(
    samples: int, batch_size: int, rank: int, world_size: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Every sample once in the order of the index, for evaluation: (samples_B, how many of them are real).

    All ranks yield equally many batches of equal size; what is missing at the end repeats the last sample.
    """
    rank_samples = np.arange(rank, samples, world_size)
    most_per_rank = -(-samples // world_size)
    for start in range(0, most_per_rank, batch_size):
        part = rank_samples[start : start + batch_size]
        samples_B = np.full(batch_size, samples - 1)
        samples_B[: len(part)] = part
        yield samples_B, len(part)


def _apportion(places: int, weight_K: np.ndarray) -> np.ndarray:
    """Whole numbers of sum `places`, nearest to proportional: largest remainders."""
    exact_K = places * weight_K / weight_K.sum()
    count_K = np.floor(exact_K).astype(int)
    count_K[np.argsort(count_K - exact_K, kind="stable")[: places - count_K.sum()]] += 1
    return count_K


def _domain_P(config: SamplerConfig, epoch: int, lane: int, quota_LK: np.ndarray) -> np.ndarray:
    """The domain from which each place of a lane takes its sample."""
    domains = np.repeat(np.arange(quota_LK.shape[1]), quota_LK[lane])
    return rng_for(config.seed, "mix", epoch, lane).permutation(domains)


def _pass_LP(config: SamplerConfig, domain_index: int, pass_index: int) -> np.ndarray:
    """Sample numbers of one pass over a domain: its shards permuted, laid end to end, cut into one run per
    lane, and permuted within each block of `shuffle_block_size`.
    """
    lanes, domain = lanes_of(config), config.domains[domain_index]
    names = (domain.name, pass_index) if len(config.domains) > 1 else (pass_index,)
    run = domain.samples // lanes
    shard_order = rng_for(config.seed, *names, "shards").permutation(len(domain.shards))
    shards = (domain.shards[i] for i in shard_order)
    samples = np.concatenate([np.arange(first, first + count) for first, count in shards])
    lanes_LP = samples[: lanes * run].reshape(lanes, run).copy()
    for lane in range(lanes):
        for block, start in enumerate(range(0, run, config.shuffle_block_size)):
            block_P = lanes_LP[lane, start : start + config.shuffle_block_size]
            if len(block_P) > 1:
                rng_for(config.seed, *names, lane, block).shuffle(block_P)
    return lanes_LP


def _label(domain: Domain) -> str:
    return f"the domain {domain.name}" if domain.name else "the table"
