"""One epoch without reading: its order and balance, exactly, because the order is a pure function.

Letters besides those of volume.py: S samples (of the index or of the epoch), N batches (not tokens).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from octshard.config.train import TrainConfig
from octshard.stream import sampler
from octshard.stream.index import SampleIndex, sampler_config
from octshard.stream.sampler import SamplerConfig


class DomainShare(NamedTuple):
    """A domain in an epoch. passes: how often each of its samples comes, on average."""

    name: str
    samples: int
    draws: int  # samples of the epoch that come from it
    passes: float


@dataclass(frozen=True)
class EpochSimulation:
    """The first epoch on `world_size` ranks, before anything is read."""

    lanes: int
    samples_per_epoch: int  # over all ranks
    unseen_samples: int  # that do not come in this epoch; others the next time
    batches: int  # whole global ones
    valid_world_sizes: tuple[int, ...]  # that divide lanes and global batch
    domains: tuple[DomainShare, ...]
    rank_correlation: float  # Spearman's, of the order of storage and that of the epoch
    device_spread: float  # std of a device's count per batch / that of independent draws; 0 with one device
    participant_pairs: float  # pairs of one participant in a batch / those of a uniform draw
    bytes_per_rank: int  # that one rank reads in the epoch
    block_bytes: int  # of one shuffled block of every lane of a rank


def simulate(index: SampleIndex, cfg: TrainConfig, global_batch: int, world_size: int) -> EpochSimulation:
    """The first epoch of `index`; UsageError if `world_size` does not fit it."""
    config = sampler_config(index, cfg)
    sampler.check(config, global_batch, world_size)
    order_S, _ = sampler.epoch_samples(config, 0)
    nbytes_S = np.asarray([sample.stop - sample.start for sample in index.samples], np.int64)
    lanes = sampler.lanes_of(config)
    powers = (2**i for i in range(lanes.bit_length()))
    block = min(cfg.data.shuffle_block_size, len(order_S) // lanes)
    return EpochSimulation(
        lanes,
        len(order_S),
        config.samples - len(set(order_S.tolist())),
        len(order_S) // global_batch,
        tuple(n for n in powers if lanes % n == 0 and global_batch % n == 0),
        _domain_shares(config, order_S),
        _rank_correlation(order_S),
        _device_spread(index, order_S, global_batch),
        _participant_pairs(index, order_S, global_batch),
        int(nbytes_S[order_S].sum()) // world_size,
        int(nbytes_S.mean() * block * lanes) // world_size,
    )


def _domain_shares(config: SamplerConfig, order_S: np.ndarray) -> tuple[DomainShare, ...]:
    shares = []
    for domain in config.domains:
        draws = sum(
            int(((order_S >= first) & (order_S < first + count)).sum()) for first, count in domain.shards
        )
        shares.append(DomainShare(domain.name or "all", domain.samples, draws, draws / domain.samples))
    return tuple(shares)


def _rank_correlation(order_S: np.ndarray) -> float:
    if len(order_S) < 2:
        return 0.0
    ranks_S = np.argsort(np.argsort(order_S, kind="stable"))
    return float(np.corrcoef(np.arange(len(order_S)), ranks_S)[0, 1])


def _batched_codes(values: Sequence[str], order_S: np.ndarray, batch: int) -> np.ndarray:
    """(batches, batch) the values of the samples in whole batches, each value as an integer."""
    _, codes = np.unique(np.asarray(values), return_inverse=True)
    whole = len(order_S) // batch * batch
    return np.asarray(codes)[order_S[:whole]].reshape(-1, batch)


def _device_spread(index: SampleIndex, order_S: np.ndarray, batch: int) -> float:
    devices_NB = _batched_codes([sample.row.device for sample in index.samples], order_S, batch)
    spreads = []
    for device in np.unique(devices_NB):
        fraction = float((devices_NB == device).mean())
        if 0 < fraction < 1:
            counts_N = (devices_NB == device).sum(axis=1)
            spreads.append(float(counts_N.std()) / float(np.sqrt(batch * fraction * (1 - fraction))))
    return float(np.mean(spreads)) if spreads else 0.0


def _participant_pairs(index: SampleIndex, order_S: np.ndarray, batch: int) -> float:
    people_NB = _batched_codes([sample.row.participant for sample in index.samples], order_S, batch)
    draws = people_NB.size
    if not draws:
        return 1.0
    _, totals = np.unique(people_NB, return_counts=True)
    uniform = float((totals * (totals - 1)).sum()) / (draws * (draws - 1)) if draws > 1 else 0.0
    counts = [np.unique(people_B, return_counts=True)[1] for people_B in people_NB]
    pairs = float(np.mean([float((n * (n - 1)).sum()) for n in counts]))
    return pairs / (batch * (batch - 1)) / uniform if uniform and batch > 1 else 1.0
