"""Whether the volumes of a batch are packed into one sequence, and of which length: by formula.

Packed is what `models/packing` makes of the lists of `models/tokens`, and of those of context and targets
(`Places`): the result of a step stays the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend
from octshard.models.attention import BLOCK
from octshard.models.packing import blocks
from octshard.models.tokens import Tokens, packed_closely, packed_in_blocks
from octshard.stream.batch_shape import BatchShape
from octshard.stream.index import SampleIndex
from octshard.train import flops
from octshard.train.objectives import places
from octshard.train.objectives.build import objective_class
from octshard.train.objectives.places import Places
from octshard.train.sequence_lengths import DrawLengths, exact_readings, few_sequences

LEAST_SAVING = 0.05  # of a step's FLOPs: less does not pay for several compiles and slower attention


class SequencePlan(NamedTuple):
    """packed: whether volumes are; lengths: of the sequence of all tokens, ascending, None: any. Padding: the
    share of a step's FLOPs spent on it in lists, and packed (None: that cannot be done here). draws: as in
    `FewSequences`.
    """

    packed: bool
    lengths: tuple[int, ...] | None
    listed_padding: float
    packed_padding: float | None
    draws: tuple[tuple[DrawLengths, ...], ...] = ()

    def apply(
        self, tokens: Tokens, place_sets: Sequence[Places], stage: int = 0
    ) -> tuple[Tokens, list[Places]]:
        """The lists of a batch of training, packed if that is the plan. stage: of the mask ratio."""
        if not self.packed:
            return tokens, list(place_sets)
        if self.lengths is None:
            return packed_closely(tokens), [places.packed_closely(each) for each in place_sets]
        number = _number_of(self.lengths, tokens)
        packed = [
            places.packed_in_blocks(each, draw.context[number], draw.joint[number])
            for each, draw in zip(place_sets, self.draws[stage], strict=True)
        ]
        return packed_in_blocks(tokens, self.lengths[number : number + 1]), packed

    @property
    def padding(self) -> float:
        """The share that this run spends."""
        return self.packed_padding if self.packed and self.packed_padding is not None else self.listed_padding


def plan_sequences(cfg: TrainConfig, index: SampleIndex, shape: BatchShape, backend: Backend) -> SequencePlan:
    """As run.packing has it."""
    if cfg.model.attention == "divided":
        share = flops.divided_padding_share(cfg, shape, flops.valid_grids(index, cfg))
        return SequencePlan(False, None, share, None)
    valid = flops.valid_counts(index, cfg)
    listed_padding = flops.padding_share(cfg, shape.tokens, valid)
    if backend.sequences == "none":
        return SequencePlan(False, None, listed_padding, None)
    if backend.sequences == "few lengths":
        lengths, draws, readings = few_sequences(cfg, shape.tokens, valid, cfg.run.per_device_batch)
        least_saving = LEAST_SAVING
    else:
        lengths, draws, readings = None, (), exact_readings(cfg, shape.tokens, valid)
        least_saving = 0.0
    packed_padding = flops.padding_share(cfg, shape.tokens, valid, readings)
    saves = packed_padding + least_saving < listed_padding
    pads = packed_padding != listed_padding  # else no list that blocks read needs padding
    packed = pads and (saves if cfg.run.packing == "auto" else cfg.run.packing == "on")
    return SequencePlan(packed, lengths, listed_padding, packed_padding, draws)


def start_line(cfg: TrainConfig, shape: BatchShape, plan: SequencePlan) -> str:
    """What a run says of its steps before the first one."""
    way = "volumes in lists of one length"
    if plan.packed_padding is not None and plan.packed_padding < plan.listed_padding:
        way += f", {plan.packed_padding:.1%} if packed"
    if plan.packed:
        way = f"volumes packed in sequences of {_text(cfg, plan)}, {plan.listed_padding:.1%} in lists"
    cost = flops.text(flops.step_flops(cfg, shape.tokens, shape.most_valid, shape.grid(cfg)).total)
    count = f"at most {shape.tokens:,}" if objective_class(cfg).encodes_all else "context"
    return (
        f"padding: {plan.padding:.1%} of the FLOPs of a step ({way}); {count} tokens of a volume are "
        f"encoded, {cost} a volume"
    )


def _number_of(lengths: Sequence[int], tokens: Tokens) -> int:
    """Which of the lengths the first is that holds all tokens of a batch, in blocks of their own."""
    count_B = [tokens.index_BV.shape[1]] * len(tokens.index_BV)
    if tokens.padding_BV is not None:
        count_B = (~tokens.padding_BV).sum(1).tolist()
    needed = BLOCK * sum(map(blocks, count_B))
    return next(number for number, length in enumerate(lengths) if length >= needed)


def _text(cfg: TrainConfig, plan: SequencePlan) -> str:
    """Lengths of the plan."""
    if plan.lengths is None:
        return "any length"
    if objective_class(cfg).encodes_all:
        return " or ".join(f"{n:,}" for n in plan.lengths)
    return f"{len(plan.lengths)} lengths"
