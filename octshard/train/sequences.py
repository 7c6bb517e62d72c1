"""Whether the volumes of a batch are packed into one sequence, and of which length: by formula.

Packed is what `models/packing` makes of the lists of `models/tokens`: the result of a step stays the same.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend
from octshard.models.attention import BLOCK
from octshard.models.flops import Reading
from octshard.models.packing import blocks
from octshard.models.tokens import Tokens, packed_closely, packed_in_blocks
from octshard.stream.batch_shape import BatchShape
from octshard.stream.index import SampleIndex
from octshard.train import flops
from octshard.train.objectives.build import objective_class

MAX_LENGTHS = 4  # lengths, where each is compiled for itself
LEAST_SAVING = 0.05  # of a step's FLOPs: less does not pay for several compiles and slower attention
LENGTH_STEPS = 512  # steps between nothing and the longest sequence


class SequencePlan(NamedTuple):
    """packed: whether volumes are; lengths: of sequences, ascending, None: any. Padding: the share of a
    step's FLOPs spent on it in lists, and packed (None: that cannot be done here).
    """

    packed: bool
    lengths: tuple[int, ...] | None
    listed_padding: float
    packed_padding: float | None

    def apply(self, tokens: Tokens) -> Tokens:
        """The lists of a batch of training, packed if that is the plan."""
        if not self.packed:
            return tokens
        return packed_closely(tokens) if self.lengths is None else packed_in_blocks(tokens, self.lengths)

    @property
    def padding(self) -> float:
        """The share that this run spends."""
        return self.packed_padding if self.packed and self.packed_padding is not None else self.listed_padding


def plan_sequences(cfg: TrainConfig, index: SampleIndex, shape: BatchShape, backend: Backend) -> SequencePlan:
    """As run.packing has it."""
    if cfg.model.attention == "divided":
        share = flops.divided_padding_share(cfg, shape, flops.valid_grids(index, cfg))
        return SequencePlan(False, None, share, None)
    valid, volumes = flops.valid_counts(index, cfg), cfg.run.per_device_batch
    listed_padding = flops.padding_share(cfg, shape.tokens, valid)
    if backend.sequences == "none":
        return SequencePlan(False, None, listed_padding, None)
    counts = clip_counts(valid, shape.tokens)
    lengths, reading, least_saving = None, exact_reading(counts), 0.0
    if backend.sequences == "few lengths":
        (lengths, reading), least_saving = few_lengths(counts, volumes), LEAST_SAVING
    packed_padding = flops.padding_share(cfg, shape.tokens, valid, reading)
    saves = packed_padding + least_saving < listed_padding
    packs = shape.padded and objective_class(cfg).encodes_all
    packed = packs and (saves if cfg.run.packing == "auto" else cfg.run.packing == "on")
    return SequencePlan(packed, lengths, listed_padding, packed_padding)


def start_line(cfg: TrainConfig, shape: BatchShape, plan: SequencePlan) -> str:
    """What a run says of its steps before the first one."""
    way = "volumes in lists of one length"
    if plan.packed_padding is not None and plan.packed_padding < plan.listed_padding:
        way += f", {plan.packed_padding:.1%} if packed"
    if plan.packed:
        lengths = "any length" if plan.lengths is None else " or ".join(f"{n:,}" for n in plan.lengths)
        way = f"volumes packed in sequences of {lengths}, {plan.listed_padding:.1%} in lists"
    cost = flops.text(flops.step_flops(cfg, shape.tokens, shape.most_valid, shape.grid(cfg)).total)
    count = f"at most {shape.tokens:,}" if objective_class(cfg).encodes_all else "context"
    return (
        f"padding: {plan.padding:.1%} of the FLOPs of a step ({way}); {count} tokens of a volume are "
        f"encoded, {cost} a volume"
    )


def clip_counts(valid_counts: Mapping[int, float], most: int) -> dict[int, float]:
    """Tokens that are encoded of a volume -> the share of volumes of which so many are."""
    total, counts = sum(valid_counts.values()), dict[int, float]()
    for valid, often in valid_counts.items():
        count = min(valid, most)
        counts[count] = counts.get(count, 0.0) + often / total
    return counts


def exact_reading(counts: Mapping[int, float]) -> Reading:
    """Sequences as long as the volumes in them."""
    rows, pairs = (sum(p * count**power for count, p in counts.items()) for power in (1, 2))
    return Reading(rows, pairs)


def few_lengths(counts: Mapping[int, float], volumes: int) -> tuple[tuple[int, ...], Reading]:
    """MAX_LENGTHS lengths with the least padding on average, for `volumes` drawn independently; the
    longest holds any of them. And what is computed of a volume then: attention by whole blocks.
    """
    most = max(map(blocks, counts)) * volumes
    sums_S = _sums(counts, volumes)
    unit = -(-most // LENGTH_STEPS)  # of blocks
    steps_S = -(-np.arange(most + 1) // unit)
    chance_U = np.bincount(steps_S, weights=sums_S)
    ends = _least_padding(chance_U)
    mean = chance_U @ ends[np.searchsorted(ends, np.arange(len(chance_U)))]
    pairs = sum(p * (BLOCK * blocks(count)) ** 2 for count, p in counts.items())
    lengths = tuple(BLOCK * unit * int(end) for end in ends)
    return lengths, Reading(BLOCK * unit * float(mean) / volumes, pairs)


def _sums(counts: Mapping[int, float], volumes: int) -> np.ndarray:
    """sums_S: the chance that `volumes` volumes take S blocks together."""
    one = np.zeros(max(map(blocks, counts)) + 1)
    for count, p in counts.items():
        one[blocks(count)] += p
    sums_S = np.ones(1)
    for _ in range(volumes):
        sums_S = np.convolve(sums_S, one)
    return sums_S


def _least_padding(chance_U: np.ndarray) -> np.ndarray:
    """At most MAX_LENGTHS ends, ascending, the last that of chance_U: the mean end at or above U is least."""
    last = len(chance_U) - 1
    below_U = np.concatenate([[0.0], np.cumsum(chance_U)])  # the chance of less than U
    cost_U, before = below_U[1:] * np.arange(last + 1), list[np.ndarray]()  # with a single end at U
    for _ in range(MAX_LENGTHS - 1):
        # [i, j]: an end at j, the one before at i
        total = cost_U[:, None] + np.arange(last + 1) * (below_U[1:] - below_U[1:, None])
        total[np.tril_indices(last + 1, -1)] = np.inf
        before.append(total.argmin(0))
        cost_U = total.min(0)
    ends = [last]
    for previous in reversed(before):
        ends.append(int(previous[ends[-1]]))
    return np.unique([end for end in ends if end > 0])
