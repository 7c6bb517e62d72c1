"""The order in which samples are seen: a pure function of (seed, epoch, shard table, lanes, window) (DESIGN
§6).

It never knows how many machines read: a reader takes every R-th sample of it, so `StreamPosition` is the
whole state of a stream and may be resumed with another number of readers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from octshard.errors import UsageError
from octshard.rng import rng_for


class StreamPosition(NamedTuple):
    """Where a stream stands: `samples_seen` samples of `epoch` (all readers together) are consumed."""

    epoch: int
    samples_seen: int


@dataclass(frozen=True)
class Order:
    """What decides the order. Sample numbers count through the shards of the table, end to end."""

    seed: int
    samples_per_shard: tuple[int, ...]
    lanes: int  # wanted; `lane_count` says how many there are
    shuffle_window: int  # samples


class Draw(NamedTuple):
    """One reader's part of one batch: its sample numbers, the epoch of each, and the position after the
    batch.
    """

    samples_B: np.ndarray
    epochs_B: np.ndarray
    position: StreamPosition


def lane_count(samples: int, lanes: int) -> int:
    """The largest power of two <= min(lanes, samples / 8), at least 1."""
    return 1 << max(0, min(lanes, samples // 8).bit_length() - 1)


def epoch_length(order: Order) -> int:
    """Samples in every epoch: all of the table but fewer than `lane_count`."""
    samples = sum(order.samples_per_shard)
    lanes = lane_count(samples, order.lanes)
    return samples // lanes * lanes


def epoch_samples(order: Order, epoch: int) -> np.ndarray:
    """Sample numbers of one epoch in the order in which they are seen: `epoch_length` of them, none twice."""
    counts = np.asarray(order.samples_per_shard, np.int64)
    lanes = lane_count(int(counts.sum()), order.lanes)
    run = int(counts.sum()) // lanes
    shards = rng_for(order.seed, epoch, "shards").permutation(len(counts))
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])[shards]
    laid = np.repeat(first - np.concatenate([[0], np.cumsum(counts[shards])[:-1]]), counts[shards])
    laid = laid + np.arange(len(laid))
    lanes_LP = laid[: lanes * run].reshape(lanes, run).copy()
    for lane in range(lanes):
        for block, start in enumerate(range(0, run, order.shuffle_window)):
            part = lanes_LP[lane, start : start + order.shuffle_window]
            if len(part) > 1:
                rng_for(order.seed, epoch, lane, block).shuffle(part)
    return lanes_LP.T.ravel()


def check_readers(order: Order, batch: int, readers: int) -> None:
    """UsageError unless `readers` divides both the batch and the lanes, and an epoch is not empty."""
    samples = sum(order.samples_per_shard)
    if samples == 0:
        raise UsageError("stream: the table holds 0 samples, want at least 1")
    lanes = lane_count(samples, order.lanes)
    if batch % readers or lanes % readers:
        raise UsageError(
            f"stream: {readers} readers, want a number that divides the batch of {batch} and the {lanes} "
            f"lanes of {samples} samples; give data.lanes >= {readers} and at least {8 * readers} samples"
        )


def draws(order: Order, start: StreamPosition, batch: int, reader: int, readers: int) -> Iterator[Draw]:
    """Without end: what `reader` of `readers` takes of each global batch of `batch` samples, from `start` on.

    A batch may cross from one epoch into the next.
    """
    check_readers(order, batch, readers)
    length, (epoch, seen) = epoch_length(order), start
    if not 0 <= seen <= length:
        raise UsageError(
            f"stream: position {seen} of epoch {epoch}, want at most {length}; is this another data set?"
        )
    samples = epoch_samples(order, epoch)
    while True:
        parts: list[np.ndarray] = []
        epochs: list[int] = []
        wanted = batch
        while wanted:
            if seen == length:
                epoch, seen = epoch + 1, 0
                samples = epoch_samples(order, epoch)
            part = samples[seen : seen + wanted]
            parts.append(part)
            epochs += [epoch] * len(part)
            wanted, seen = wanted - len(part), seen + len(part)
        mine = slice(reader, None, readers)
        yield Draw(np.concatenate(parts)[mine], np.asarray(epochs)[mine], StreamPosition(epoch, seen))


def table_draws(samples: int, batch: int, reader: int, readers: int) -> Iterator[tuple[np.ndarray, int]]:
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
