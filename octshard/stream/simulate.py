"""One epoch without reading: its order and balance, exactly, because the order is a pure function."""

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
    taken: int
    passes: float


@dataclass(frozen=True)
class EpochSimulation:
    """One epoch on `readers` readers, before anything is read."""

    lanes: int
    epoch: int  # samples of it, over all readers
    left_out: int  # samples that this epoch does not see; others the next time
    batches: int  # whole ones
    fitting: tuple[int, ...]  # numbers of readers that divide lanes and batch
    parts: tuple[DomainShare, ...]
    rank_correlation: float  # of the order of storage and that of the epoch
    spread: float  # std of a device's count per batch / that of independent draws; 0 with one device
    together: float  # pairs of one participant in a batch / those of a uniform draw
    reader_bytes: int  # that one reader reads in an epoch
    block_bytes: int  # of one shuffled block of every lane of a reader


def simulate(table: SampleIndex, cfg: TrainConfig, batch: int, readers: int) -> EpochSimulation:
    """The first epoch of `table`; UsageError if `readers` do not fit it."""
    given = sampler_config(table, cfg)
    sampler.check_readers(given, batch, readers)
    samples, _ = sampler.epoch_samples(given, 0)
    nbytes = np.asarray([entry.stop - entry.start for entry in table.entries], np.int64)
    lanes = sampler.lanes_of(given)
    return EpochSimulation(
        lanes,
        len(samples),
        given.samples - len(set(samples.tolist())),
        len(samples) // batch,
        tuple(n for n in (2**i for i in range(lanes.bit_length())) if lanes % n == 0 and batch % n == 0),
        _parts(given, samples),
        _correlation(samples),
        _spread(table, samples, batch),
        _together(table, samples, batch),
        int(nbytes[samples].sum()) // readers,
        int(nbytes.mean() * min(cfg.data.shuffle_block_size, len(samples) // lanes) * lanes) // readers,
    )


def _parts(given: SamplerConfig, samples: np.ndarray) -> tuple[DomainShare, ...]:
    parts = []
    for domain in given.domains:
        taken = sum(
            int(((samples >= first) & (samples < first + count)).sum()) for first, count in domain.shards
        )
        parts.append(DomainShare(domain.name or "all", domain.samples, taken, taken / domain.samples))
    return tuple(parts)


def _correlation(samples: np.ndarray) -> float:
    if len(samples) < 2:
        return 0.0
    ranks = np.argsort(np.argsort(samples, kind="stable"))
    return float(np.corrcoef(np.arange(len(samples)), ranks)[0, 1])


def _batched(values: Sequence[str], samples: np.ndarray, batch: int) -> np.ndarray:
    """(batches, batch) numbers that stand for the values."""
    _, number = np.unique(np.asarray(values), return_inverse=True)
    whole = len(samples) // batch * batch
    return np.asarray(number)[samples[:whole]].reshape(-1, batch)


def _spread(table: SampleIndex, samples: np.ndarray, batch: int) -> float:
    device_BX = _batched([entry.row.device for entry in table.entries], samples, batch)
    found = []
    for one in np.unique(device_BX):
        share = float((device_BX == one).mean())
        if 0 < share < 1:
            counts = (device_BX == one).sum(axis=1)
            found.append(float(counts.std()) / float(np.sqrt(batch * share * (1 - share))))
    return float(np.mean(found)) if found else 0.0


def _together(table: SampleIndex, samples: np.ndarray, batch: int) -> float:
    person_BX = _batched([entry.row.participant for entry in table.entries], samples, batch)
    if not person_BX.size:
        return 1.0
    _, totals = np.unique(person_BX, return_counts=True)
    everyone = person_BX.size
    uniform = float((totals * (totals - 1)).sum()) / (everyone * (everyone - 1)) if everyone > 1 else 0.0
    pairs = [float((n * (n - 1)).sum()) for n in (np.unique(row, return_counts=True)[1] for row in person_BX)]
    return float(np.mean(pairs)) / (batch * (batch - 1)) / uniform if uniform and batch > 1 else 1.0
