"""All that a run reads, in one stream: batches of training, and those of validation where one is due.

So validation has no threads and no memory of its own beside training's, and none stands still for the other.
"""

import contextlib
import itertools
from collections.abc import Generator, Iterator
from typing import Any

from octshard.devices.backend import Backend
from octshard.stream import loader
from octshard.stream.collate import BatchSpec
from octshard.stream.loader import Part
from octshard.train import plan
from octshard.train.checkpointer import TrainState
from octshard.train.inputs import (
    RunInputs,
    TrainInputs,
    ValBatch,
    ValInputs,
    train_part,
    train_specs,
    val_part,
    val_specs,
)


def run_batches(
    inputs: RunInputs, backend: Backend, state: TrainState
) -> Generator[TrainInputs | ValInputs, None, None]:
    """From `state` to the end of the run: of each step its micro-batches, and, if a validation is due after
    it, the batches of that; of a validation that is owed first.
    """
    batches: Generator[Any, None, None] = loader.batches(_specs(inputs, backend, state), inputs.cfg)
    with contextlib.closing(batches):
        for batch in batches:
            yield ValInputs(batch, next(batches).batch) if isinstance(batch, ValBatch) else batch


def val_count(inputs: RunInputs) -> int:
    """Batches of a validation."""
    return -(-len(inputs.val_set.numbers_V) // inputs.plan.rank_slice.global_batch)


def _specs(inputs: RunInputs, backend: Backend, state: TrainState) -> Iterator[tuple[BatchSpec, Part[Any]]]:
    run_plan, seen = inputs.plan, state.samples_seen
    train, val = train_part(inputs, backend, state.position, seen), val_part(inputs, backend)
    specs = train_specs(inputs, backend, state.position)
    due = state.owes_validation
    while True:
        if due and val_count(inputs):
            yield from ((spec, val) for spec in val_specs(inputs))
        if seen >= run_plan.length.total:
            return
        yield from ((spec, train) for spec in itertools.islice(specs, run_plan.accumulation))
        before, seen = seen, seen + inputs.cfg.run.global_batch
        due = plan.checkpoint_due(run_plan, before, seen)
