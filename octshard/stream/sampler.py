"""The order in which samples are seen: a pure function of (seed, epoch, shard table, lanes, window, weights).

It never knows how many machines read: a reader takes every R-th sample of it, so `StreamPosition` is the
whole state of a stream and may be resumed with another number of readers (DESIGN §6).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from octshard.errors import UsageError
from octshard.rng import rng_for

MOST_WEIGHT = 1e9  # of a domain; only ratios count


class StreamPosition(NamedTuple):
    """Where a stream stands: `samples_seen` samples of `epoch` (all readers together) are consumed."""

    epoch: int
    samples_seen: int


@dataclass(frozen=True)
class Domain:
    """Samples that are mixed as one: all of a run without mixing, else a dataset, or all of a device.

    Sample numbers count through the table; a shard is (number of its first sample, its samples).
    """

    name: str
    shards: tuple[tuple[int, int], ...]
    weight: float = 1.0  # its share of what is seen is weight / sum of weights

    @property
    def samples(self) -> int:
        """In all shards together."""
        return sum(count for _, count in self.shards)


@dataclass(frozen=True)
class SamplerConfig:
    """What decides the order."""

    seed: int
    domains: tuple[Domain, ...]  # one: every sample once per epoch; several: each at its share
    lanes: int  # wanted; `lane_count` says how many there are
    shuffle_block_size: int  # samples

    @property
    def samples(self) -> int:
        """In all domains together."""
        return sum(domain.samples for domain in self.domains)


class BatchSamples(NamedTuple):
    """One reader's part of one batch: its sample numbers, the pass over its domain that each belongs to
    (without mixing: the epoch), and the position after the batch.
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


def lanes_of(order: SamplerConfig) -> int:
    """Lanes of an order: as many as its smallest domain can fill."""
    return lane_count(min(domain.samples for domain in order.domains), order.lanes)


def epoch_length(order: SamplerConfig) -> int:
    """Samples seen in every epoch: as many as there are, but for fewer than the lanes."""
    return order.samples // lanes_of(order) * lanes_of(order)


def domain_quotas(order: SamplerConfig) -> np.ndarray:
    """(lanes, domains): how many samples of each domain a lane takes in every epoch.

    Whole numbers nearest to the weights over all lanes together (largest remainders, Hamilton); what a lane
    cannot take a fraction of is dealt out lane by lane.
    """
    lanes, weights = lanes_of(order), np.asarray([domain.weight for domain in order.domains], np.float64)
    places = order.samples // lanes
    least_K = np.floor(places * weights / weights.sum()).astype(int)
    total_K = _apportioned(places * lanes, weights)
    extra_K = np.clip(total_K - lanes * least_K, 0, lanes)
    found_LK = np.tile(least_K, (lanes, 1))
    for slot, domain in enumerate(np.repeat(np.arange(len(weights)), extra_K)):
        found_LK[slot % lanes, domain] += 1
    return found_LK


def epoch_samples(order: SamplerConfig, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """(sample numbers, passes) of one epoch in the order in which they are seen: `epoch_length` of each.

    Without mixing no number comes twice and the pass is the epoch. With it every lane goes through its part
    of each domain on its own, as often as the domain's share asks, and on from where it was the epoch before.
    """
    lanes = lanes_of(order)
    if len(order.domains) == 1:
        samples_LP = _pass_LP(order, 0, epoch)
        return samples_LP.T.ravel(), np.full(samples_LP.size, epoch)
    shares_LK = domain_quotas(order)
    samples_LP = np.empty((lanes, order.samples // lanes), np.int64)
    passes_LP = np.empty_like(samples_LP)
    for at, domain in enumerate(order.domains):
        run, known = domain.samples // lanes, dict[int, np.ndarray]()
        for lane in range(lanes):
            share = shares_LK[lane, at]
            mine = _pattern(order, epoch, lane, shares_LK) == at
            passes_P, places_P = np.divmod(epoch * share + np.arange(share), run)
            for which in np.unique(passes_P).tolist():
                if which not in known:
                    known[which] = _pass_LP(order, at, which)
            samples_LP[lane, mine] = [
                known[which][lane, place] for which, place in zip(passes_P.tolist(), places_P, strict=True)
            ]
            passes_LP[lane, mine] = passes_P
    return samples_LP.T.ravel(), passes_LP.T.ravel()


def substitute(order: SamplerConfig, sample: int, which_pass: int, attempt: int) -> int:
    """Another sample of the same lane and pass, to stand in for one that cannot be read."""
    for at, domain in enumerate(order.domains):
        if any(first <= sample < first + count for first, count in domain.shards):
            lanes_LP = _pass_LP(order, at, which_pass)
            lane = lanes_LP[np.nonzero(lanes_LP == sample)[0][0]]
            others = lane[lane != sample]
            if len(others) == 0:
                break
            return int(rng_for(order.seed, "substitute", which_pass, sample, attempt).choice(others))
    raise UsageError(f"stream: no other sample in the lane of sample {sample} of pass {which_pass}, want one")


def check_readers(order: SamplerConfig, batch: int, readers: int) -> None:
    """UsageError unless `readers` divides batch and lanes, and no domain is empty or without a share."""
    for domain in order.domains:
        if domain.samples == 0:
            raise UsageError(f"stream: {_called(domain)} holds 0 samples, want at least 1")
        if not 0 < domain.weight < MOST_WEIGHT:
            raise UsageError(
                f"stream: {_called(domain)} has weight {domain.weight}, want more than 0 and less than "
                f"{MOST_WEIGHT:g}"
            )
    lanes = lanes_of(order)
    if batch % readers or lanes % readers:
        least = min(order.domains, key=lambda domain: domain.samples)
        raise UsageError(
            f"stream: {readers} readers, want a power of two that divides batch {batch} and the {lanes} "
            f"lanes of {least.samples} samples; give data.lanes >= {readers} and at least {8 * readers} "
            f"samples{' in every domain' if len(order.domains) > 1 else ''}"
        )
    unseen = np.nonzero(domain_quotas(order).sum(axis=0) == 0)[0]
    if len(unseen):
        domain = order.domains[unseen[0]]
        raise UsageError(
            f"stream: {_called(domain)} with weight {domain.weight:g} would never be seen; want more, or "
            f"fewer data.lanes than {lanes}"
        )


def batch_samples(
    order: SamplerConfig, start: StreamPosition, batch: int, reader: int, readers: int
) -> Iterator[BatchSamples]:
    """Without end: what `reader` of `readers` takes of each global batch of `batch` samples, from `start` on.

    A batch may cross from one epoch into the next.
    """
    check_readers(order, batch, readers)
    length, (epoch, seen) = epoch_length(order), start
    if not 0 <= seen <= length:
        raise UsageError(
            f"stream: position {seen} of epoch {epoch}, want at most {length}; is this another data set?"
        )
    both_2S = np.stack(epoch_samples(order, epoch))
    while True:
        parts: list[np.ndarray] = []
        wanted = batch
        while wanted:
            if seen == length:
                epoch, seen = epoch + 1, 0
                both_2S = np.stack(epoch_samples(order, epoch))
            part_2S = both_2S[:, seen : seen + wanted]
            parts.append(part_2S)
            wanted, seen = wanted - part_2S.shape[1], seen + part_2S.shape[1]
        samples_B, passes_B = np.concatenate(parts, axis=1)[:, reader::readers]
        yield BatchSamples(samples_B, passes_B, StreamPosition(epoch, seen))


def sequential_batches(
    samples: int, batch: int, reader: int, readers: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Every sample once in table order, for evaluation: (numbers_B, how many of them are real).

    All readers yield equally many batches of equal size; what is missing at the end repeats the last sample.
    """
    mine = np.arange(reader, samples, readers)
    share = -(-samples // readers)
    for start in range(0, share, batch):
        part = mine[start : start + batch]
        filled = np.full(batch, samples - 1)
        filled[: len(part)] = part
        yield filled, len(part)


def _apportioned(places: int, weights: np.ndarray) -> np.ndarray:
    """Whole numbers of sum `places`, nearest to proportional: largest remainders."""
    exact = places * weights / weights.sum()
    found = np.floor(exact).astype(int)
    found[np.argsort(found - exact, kind="stable")[: places - found.sum()]] += 1
    return found


def _pattern(order: SamplerConfig, epoch: int, lane: int, shares_LK: np.ndarray) -> np.ndarray:
    """(P,) which domain each place of a lane takes its sample from."""
    domains = np.repeat(np.arange(shares_LK.shape[1]), shares_LK[lane])
    return rng_for(order.seed, "mix", epoch, lane).permutation(domains)


def _pass_LP(order: SamplerConfig, domain: int, which: int) -> np.ndarray:
    """(lanes, run) sample numbers of one pass over a domain: its shards permuted, laid end to end, cut into
    runs, and permuted within each block of `shuffle_block_size`.
    """
    lanes, whole = lanes_of(order), order.domains[domain]
    about = (order.seed, which) if len(order.domains) == 1 else (order.seed, whole.name, which)
    run = whole.samples // lanes
    shards = rng_for(*about, "shards").permutation(len(whole.shards))
    laid = np.concatenate([np.arange(first, first + n) for first, n in (whole.shards[i] for i in shards)])
    lanes_LP = laid[: lanes * run].reshape(lanes, run).copy()
    for lane in range(lanes):
        for block, start in enumerate(range(0, run, order.shuffle_block_size)):
            part = lanes_LP[lane, start : start + order.shuffle_block_size]
            if len(part) > 1:
                rng_for(*about, lane, block).shuffle(part)
    return lanes_LP


def _called(domain: Domain) -> str:
    return f"the domain {domain.name}" if domain.name else "the table"
