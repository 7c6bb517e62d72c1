"""In lists of which lengths the volumes of a batch stand, or in one sequence of which: by formula.

Packed is what `models/packing` makes of the lists of `models/tokens`, and of those of context and targets
(`Places`): the result of a step stays the same.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend, Sequences
from octshard.models.attention import BLOCK
from octshard.models.packing import blocks
from octshard.models.tokens import Tokens, packed_closely, packed_in_blocks
from octshard.stream.batch_shape import BatchShape
from octshard.stream.index import SampleIndex
from octshard.train import flops
from octshard.train.objectives import places
from octshard.train.objectives.build import objective_class
from octshard.train.objectives.places import Places
from octshard.train.plan import Plan
from octshard.train.sequence_lengths import (
    DrawLengths,
    ListPlan,
    Step,
    exact_readings,
    few_sequences,
    list_plan,
)

LEAST_SAVING = 0.05  # of a step's FLOPs: less does not pay for several compiles and slower attention
LEAST_SAVING_OF_LISTS = 0.02  # less does not pay for several compiles
LEAST_HEAD = 16  # features of a head, that FlexAttention's kernels take


class SequencePlan(NamedTuple):
    """packed: whether volumes are; lengths: of the sequence of all tokens, ascending, None: any. Padding: the
    share of a step's FLOPs spent on it in lists, and packed (None: that cannot be done here). draws: as in
    `FewSequences`. list_lengths: of the lists of valid tokens where there are several and volumes are dealt
    out to them by size; else empty.
    """

    packed: bool
    lengths: tuple[int, ...] | None
    listed_padding: float
    packed_padding: float | None
    draws: tuple[tuple[DrawLengths, ...], ...] = ()
    list_lengths: tuple[int, ...] = ()

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


def plan_sequences(
    cfg: TrainConfig, index: SampleIndex, shape: BatchShape, backend: Backend, plan: Plan
) -> SequencePlan:
    """As run.packing has it."""
    if cfg.model.attention == "divided":
        share = flops.divided_padding_share(cfg, shape, flops.valid_grids(index, cfg))
        return SequencePlan(False, None, share, None)
    valid = flops.valid_counts(index, cfg)
    return plan_of_counts(cfg, shape.tokens, valid, backend.sequences, step_of(plan, backend))


def step_of(plan: Plan, backend: Backend) -> Step:
    """Of a process, or of all that take the same lengths, as they are one program."""
    processes = plan.rank_slice.world_size
    volumes = plan.accumulation * plan.rank_slice.global_batch // processes
    return Step(volumes, plan.accumulation, processes if backend.device.type == "xla" else 1)


def plan_of_counts(
    cfg: TrainConfig, encoded: int, valid_counts: Mapping[int, float], kind: Sequences, step: Step
) -> SequencePlan:
    """Of joint attention, for volumes of so many valid tokens (as `flops.padding_share` has them), of which
    at most `encoded` are read. kind: of the backend.
    """
    padding = flops.padding_share(cfg, encoded, valid_counts)
    lists = ListPlan((), (), padding) if kind == "any length" else _lists(cfg, encoded, valid_counts, step)
    listed = SequencePlan(False, None, lists.padding, None, list_lengths=lists.lengths)
    if kind == "none" or (kind == "few lengths" and not heads_fit(cfg)):
        return listed
    if kind == "few lengths":
        lengths, draws, readings = few_sequences(cfg, encoded, valid_counts, cfg.run.per_device_batch)
        least_saving = LEAST_SAVING
    else:
        lengths, draws, readings = None, (), exact_readings(cfg, encoded, valid_counts)
        least_saving = 0.0
    packed_padding = flops.padding_share(cfg, encoded, valid_counts, readings)
    saves = packed_padding + least_saving < lists.padding
    pads = packed_padding != padding  # else no list that blocks read needs padding
    if pads and (saves if cfg.run.packing == "auto" else cfg.run.packing == "on"):
        return SequencePlan(True, lengths, lists.padding, packed_padding, draws)
    return listed._replace(packed_padding=packed_padding)


def heads_fit(cfg: TrainConfig) -> bool:
    """Can FlexAttention, which volumes that are packed and compiled need, compute so narrow heads?"""
    return min(head_widths(cfg).values()) >= LEAST_HEAD


def head_widths(cfg: TrainConfig) -> dict[str, int]:
    """Features of a head, of each part whose blocks are packed."""
    parts = {"model": cfg.model.width // cfg.model.heads}
    if "predictor.heads" not in objective_class(cfg).idle:
        parts["predictor"] = cfg.predictor.width // cfg.predictor.heads
    return parts


def _lists(cfg: TrainConfig, encoded: int, valid_counts: Mapping[int, float], step: Step) -> ListPlan:
    """Of several lengths, where that is worth it and the loss of a volume does not depend on the others of
    its micro-batch; else `lengths` is empty.
    """
    padding = flops.padding_share(cfg, encoded, valid_counts)
    if cfg.run.packing == "auto" and not objective_class(cfg).batch_statistics:
        lists = list_plan(cfg, encoded, valid_counts, step)
        if len(lists.lengths) > 1 and lists.padding + LEAST_SAVING_OF_LISTS < padding:
            return lists
    return ListPlan((), (), padding)


def start_line(cfg: TrainConfig, shape: BatchShape, plan: SequencePlan) -> str:
    """What a run says of its steps before the first one."""
    way = "volumes in lists of one length"
    if plan.list_lengths:
        way = f"volumes dealt out by size to lists for {_texts(plan.list_lengths)} valid tokens"
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
        return _texts(plan.lengths)
    return f"{len(plan.lengths)} lengths"


def _texts(lengths: Sequence[int]) -> str:
    return " or ".join(f"{n:,}" for n in lengths)
