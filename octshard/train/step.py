"""One optimizer step: forward and backward over the micro-batches of a global batch, then the update.

A step whose loss or gradient is not finite changes nothing, nor does any after it until the host has read of
it (`nonfinite`). Nothing here waits for the device.
"""

import torch

from octshard.devices.prefetch import DeviceBatch
from octshard.train import optim, step_stats
from octshard.train.checkpointer import TrainState
from octshard.train.inputs import TrainInputs
from octshard.train.objectives import collapse
from octshard.train.setup import Run
from octshard.train.step_stats import StepOutputs, StepPositions, StepRecord, Sums


def make_step(
    run: Run, state: TrainState, micro_batches: list[DeviceBatch[TrainInputs]], sums: Sums
) -> StepOutputs:
    """One optimizer step over the micro-batches of one global batch; `count_step` counts it."""
    cfg, backend = run.cfg, run.backend
    run.model.train()
    scalars = scalars_after(run, state.updates, state.samples_seen)
    scalars_6 = backend.replicate(scalars.host_tensor())
    mean_loss, losses, spread = torch.zeros((), device=backend.device), [], sums.spread
    context_loss = sums.context_loss
    for number, micro in enumerate(micro_batches, start=1):
        last = number == len(micro_batches)
        batch, params, tokens, places = micro.device
        context, target = run.views(
            batch.voxels_BDHW, batch.mean_B, batch.std_B, batch.valid_B3, params, cfg.model.image_size
        )
        with backend.accumulate(run.wrapped, last=last):
            with backend.autocast():
                out = run.wrapped(context, target, tokens, places, scalars_6[4:5])
            (out.loss / len(micro_batches)).backward()
        mean_loss = mean_loss + out.loss.detach() / len(micro_batches)
        context_loss = context_loss + out.context_loss.float() / len(micro_batches)
        losses.append(out.losses_B)
        spread = collapse.add_volumes(spread, out.pooled_BF)
        if not last:
            backend.mark_step()
    norm = optim.clip(run.model.parameters(), cfg.optim.clip_grad)
    bad = backend.all_reduce_sum(step_stats.nonfinite(mean_loss, norm))  # in any process: all do the same
    skip = (bad + sums.steps_2[1] > 0).float()
    optim.step(state.optimizer, scalars, scalars_6, run.adamw, skip)
    run.model.update(torch.where(skip > 0, torch.ones_like(scalars_6[1:2]), scalars_6[1:2]))
    state.optimizer.zero_grad(set_to_none=True)
    steps_2 = sums.steps_2 + torch.stack([mean_loss, skip])
    losses_B = torch.cat(losses)
    backend.mark_step()
    return StepOutputs(Sums(steps_2, context_loss, spread), norm, out.tokens_RF, losses_B)


def count_step(
    run: Run, state: TrainState, micro_batches: list[DeviceBatch[TrainInputs]], step_outputs: StepOutputs
) -> StepRecord:
    """Adds the step that was made to `state`; what is kept of it."""
    lr, before = scalars_after(run, state.updates, state.samples_seen).lr, state.position
    state.step, state.samples_seen = state.step + 1, state.samples_seen + run.cfg.run.global_batch
    state.position = micro_batches[-1].host.batch.position
    keys = tuple(key for micro in micro_batches for key in micro.host.batch.keys)
    positions = StepPositions(before, state.position)
    return StepRecord(state.step, keys, step_outputs.losses_B, step_outputs.norm, lr, positions)


def scalars_after(run: Run, updates: int, samples_seen: int) -> optim.Scalars:
    """The scalars of the step after `updates` updates and `samples_seen` samples."""
    return optim.scalars_at(updates + 1, samples_seen + run.cfg.run.global_batch, run.plan.length, run.cfg)
