"""Which lengths sequences of packed volumes have where few are compiled, and what is computed of a volume.

By formula, for volumes drawn independently: pure functions of how often volumes of so many valid tokens are
seen.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from octshard.config.train import TrainConfig
from octshard.models.attention import BLOCK
from octshard.models.flops import DrawReading, Reading, StepReading, list_reading
from octshard.models.packing import blocks
from octshard.train import flops
from octshard.train.objectives import curriculum
from octshard.train.objectives.token_counts import TokenCounts, counts_of

MAX_LENGTHS = 4  # lengths, where each is compiled for itself
LENGTH_STEPS = 512  # steps between nothing and the longest sequence


class Step(NamedTuple):
    """How many volumes of a step those processes have that deal theirs out together; micro_batches: in how
    many parts; processes: so many of them take the same lengths.
    """

    volumes: int
    micro_batches: int = 1
    processes: int = 1


class ListPlan(NamedTuple):
    """lengths: of lists of all tokens, ascending, the last one holds any volume; shares: how many of the
    micro-batches need each, on average; padding: the share of a step's FLOPs spent on it.
    """

    lengths: tuple[int, ...]
    shares: tuple[float, ...]
    padding: float


class DrawLengths(NamedTuple):
    """Of a draw of a mask set: of the sequences of its contexts, and of contexts and targets; one for each
    length of the sequence of all tokens, so that a step has no more shapes than that one has lengths.
    """

    context: tuple[int, ...]
    joint: tuple[int, ...]


class FewSequences(NamedTuple):
    """lengths: of the sequence of all tokens, ascending; of each stage of the mask ratio: those of its
    draws, and what is computed of a volume.
    """

    lengths: tuple[int, ...]
    draws: tuple[tuple[DrawLengths, ...], ...]
    readings: tuple[StepReading, ...]


def list_plan(cfg: TrainConfig, encoded: int, valid_counts: Mapping[int, float], step: Step) -> ListPlan:
    """At most MAX_LENGTHS with the least FLOPs, where volumes are dealt out by size (`stream.grouping`).
    encoded: tokens that are read of a volume at most; valid_counts: as `flops.padding_share` has it.
    """
    counts = sorted(valid_counts.items())
    cost_N = [flops.step_flops(cfg, min(valid, encoded), valid).total for valid, _ in counts]
    share_N = np.array([often for _, often in counts]) / sum(valid_counts.values())
    larger_N = np.clip(1 - np.cumsum(share_N), 0, 1)
    larger_N[-1] = 0
    # a part needs more than a length where more volumes are larger than the parts before it hold
    before_M = np.arange(step.micro_batches) * (step.volumes // step.micro_batches)
    above_NM = stats.binom.sf(before_M, step.volumes, larger_N[:, None])
    above_N = (1 - (1 - above_NM) ** step.processes).mean(1)
    needed_N = -np.diff(above_N, prepend=1.0)
    ends = _cheapest_ends(np.concatenate([[0.0], needed_N]), np.array([0.0, *cost_N])) - 1
    shares = -np.diff(above_N[ends], prepend=1.0)
    padding = 1 - float(share_N @ cost_N) / float(shares @ np.array(cost_N)[ends])
    return ListPlan(tuple(counts[end][0] for end in ends), tuple(shares.tolist()), max(0.0, padding))


def clip_counts(valid_counts: Mapping[int, float], most: int) -> dict[int, float]:
    """Tokens that are encoded of a volume -> the share of volumes of which so many are."""
    total, counts = sum(valid_counts.values()), dict[int, float]()
    for valid, often in valid_counts.items():
        count = min(valid, most)
        counts[count] = counts.get(count, 0.0) + often / total
    return counts


def exact_readings(cfg: TrainConfig, most: int, valid_counts: Mapping[int, float]) -> tuple[StepReading, ...]:
    """Sequences as long as the volumes in them, of each stage of the mask ratio. most: tokens that are
    encoded of a volume; valid_counts: as `flops.padding_share` has it.
    """
    shares_N = _shares(valid_counts)
    return tuple(
        StepReading(
            most,
            _exact([min(valid, most) for valid in valid_counts], shares_N),
            tuple(
                _draw_reading(draw_N, _exact(_contexts(draw_N), shares_N), _exact(_joints(draw_N), shares_N))
                for draw_N in draws
            ),
        )
        for draws in _draws_of_stages(cfg, valid_counts)
    )


def few_sequences(
    cfg: TrainConfig, most: int, valid_counts: Mapping[int, float], volumes: int
) -> FewSequences:
    """The lengths of `few_lengths`, and for each of them what the lists of context and targets of so many
    volumes take at most. Arguments as for `exact_readings`.
    """
    counts, shares_N = clip_counts(valid_counts, most), _shares(valid_counts)
    lengths, reading = few_lengths(counts, volumes)
    if len(counts) == 1:
        reading = list_reading(most)  # it needs no padding
    chances_L = _chances(_sums(counts, volumes), lengths)
    all_N = [blocks(min(valid, most)) for valid in valid_counts]

    def longest(count_N: Sequence[int]) -> tuple[int, ...]:
        most_S = np.maximum.accumulate(most_blocks(all_N, list(map(blocks, count_N)), volumes))
        ends = (min(length // BLOCK, len(most_S) - 1) for length in lengths)
        return tuple(BLOCK * int(max(most_S[end], 1)) for end in ends)

    def packed(count_N: Sequence[int], of_lengths: tuple[int, ...]) -> Reading:
        if len(set(count_N)) == 1:
            return list_reading(count_N[0])
        return Reading(float(chances_L @ np.array(of_lengths)) / volumes, _block_pairs(count_N, shares_N))

    draws, readings = [], []
    for stage in _draws_of_stages(cfg, valid_counts):
        draws.append(tuple(DrawLengths(longest(_contexts(d)), longest(_joints(d))) for d in stage))
        draw_readings = (
            _draw_reading(
                draw_N, packed(_contexts(draw_N), each.context), packed(_joints(draw_N), each.joint)
            )
            for draw_N, each in zip(stage, draws[-1], strict=True)
        )
        readings.append(StepReading(most, reading, tuple(draw_readings)))
    return FewSequences(lengths, tuple(draws), tuple(readings))


def most_blocks(all_N: Sequence[int], list_N: Sequence[int], volumes: int) -> np.ndarray:
    """most_S: how many blocks lists of `volumes` volumes take at most, whose tokens take S together; -inf if
    none do. all_N, list_N: blocks of all tokens of each kind of volume, and of its list.
    """
    largest = dict[int, int]()
    for step, more in zip(all_N, list_N, strict=True):
        largest[step] = max(more, largest.get(step, 0))
    most_S = np.zeros(1)
    for _ in range(volumes):
        longer_S = np.full(len(most_S) + max(largest), -np.inf)
        for step, more in largest.items():
            part = longer_S[step : step + len(most_S)]
            np.maximum(part, most_S + more, out=part)
        most_S = longer_S
    return most_S


def few_lengths(counts: Mapping[int, float], volumes: int) -> tuple[tuple[int, ...], Reading]:
    """MAX_LENGTHS lengths with the least padding on average, for `volumes` drawn independently; the
    longest holds any of them. And what is computed of a volume then: attention by whole blocks.
    """
    most = max(map(blocks, counts)) * volumes
    sums_S = _sums(counts, volumes)
    unit = -(-most // LENGTH_STEPS)  # of blocks
    steps_S = -(-np.arange(most + 1) // unit)
    chance_U = np.bincount(steps_S, weights=sums_S)
    ends = _cheapest_ends(chance_U, np.arange(len(chance_U)))
    lengths = tuple(BLOCK * unit * int(end) for end in ends)
    rows = float(_chances(sums_S, lengths) @ np.array(lengths)) / volumes
    return lengths, Reading(rows, _block_pairs(list(counts), list(counts.values())))


def _shares(valid_counts: Mapping[int, float]) -> list[float]:
    total = sum(valid_counts.values())
    return [often / total for often in valid_counts.values()]


def _draws_of_stages(cfg: TrainConfig, valid: Iterable[int]) -> list[list[tuple[TokenCounts, ...]]]:
    """Of each stage of the mask ratio, and each draw: the counts of volumes of so many valid tokens."""
    valid_N = list(valid)
    return [
        list(zip(*(counts_of(stage, valid) for valid in valid_N), strict=True))
        for stage in curriculum.stages(cfg)
    ]


def _contexts(draw_N: Sequence[TokenCounts]) -> list[int]:
    return [counts.K for counts in draw_N]


def _joints(draw_N: Sequence[TokenCounts]) -> list[int]:
    return [counts.K + counts.T for counts in draw_N]


def _draw_reading(draw_N: Sequence[TokenCounts], context: Reading, joint: Reading) -> DrawReading:
    return DrawReading(max(counts.K for counts in draw_N), max(counts.T for counts in draw_N), context, joint)


def _exact(count_N: Sequence[int], shares_N: Sequence[float]) -> Reading:
    if len(set(count_N)) == 1:
        return list_reading(count_N[0])
    often = list(zip(count_N, shares_N, strict=True))
    rows, pairs = (sum(p * count**power for count, p in often) for power in (1, 2))
    return Reading(rows, pairs)


def _block_pairs(count_N: Sequence[int], shares_N: Sequence[float]) -> float:
    """Of tokens, on average: attention by whole blocks."""
    return sum(p * (BLOCK * blocks(count)) ** 2 for count, p in zip(count_N, shares_N, strict=True))


def _chances(sums_S: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """chances_L: that a length is the first which holds all."""
    first_S = np.searchsorted(np.array(lengths), BLOCK * np.arange(len(sums_S)))
    return np.bincount(first_S, weights=sums_S, minlength=len(lengths))


def _sums(counts: Mapping[int, float], volumes: int) -> np.ndarray:
    """sums_S: the chance that `volumes` volumes take S blocks together."""
    one = np.zeros(max(map(blocks, counts)) + 1)
    for count, p in counts.items():
        one[blocks(count)] += p
    sums_S = np.ones(1)
    for _ in range(volumes):
        sums_S = np.convolve(sums_S, one)
    return sums_S


def _cheapest_ends(chance_U: np.ndarray, price_U: np.ndarray) -> np.ndarray:
    """At most MAX_LENGTHS ends, ascending, the last that of chance_U: the mean price of the end at or above U
    is least. No end is 0, which costs nothing.
    """
    last = len(chance_U) - 1
    below_U = np.concatenate([[0.0], np.cumsum(chance_U)])  # the chance of less than U
    cost_U, before = below_U[1:] * price_U, list[np.ndarray]()  # with a single end at U
    for _ in range(MAX_LENGTHS - 1):
        # [i, j]: an end at j, the one before at i
        total = cost_U[:, None] + price_U * (below_U[1:] - below_U[1:, None])
        total[np.tril_indices(last + 1, -1)] = np.inf
        before.append(total.argmin(0))
        cost_U = total.min(0)
    ends = [last]
    for previous in reversed(before):
        ends.append(int(previous[ends[-1]]))
    return np.unique([end for end in ends if end > 0])
