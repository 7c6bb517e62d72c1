"""Where a run goes on: its last checkpoint, with the settings it was made with, or with accepted changes.

A change is recorded in every later checkpoint and in changes.json.
"""

import dataclasses
import json
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from octshard.config import fields, on_resume
from octshard.config.objective import MaskSet
from octshard.config.train import TrainConfig
from octshard.dataset import participant_digests
from octshard.devices.backend import Backend
from octshard.errors import UsageError
from octshard.models import checkpoint
from octshard.storage import store
from octshard.stream.sampler import StreamPosition
from octshard.train import checkpointer, plan
from octshard.train.checkpointer import TrainState
from octshard.train.extension import find_extension
from octshard.train.inputs import RunInputs
from octshard.train.objectives.build import objective_class

logger = logging.getLogger(__name__)

CHANGES = "changes.json"
# of the fingerprint: encoders of octshard 0.1 read padding, shares were of the grid, byol's MLP had ReLU
NO_SETTING = {"padding", "mask shares", "activation"}
_WAYS_TO_EXTEND = "say --extend to go on so, set the length back, or begin a new run with run.init_from="


class Consent(NamedTuple):
    """What the command allows: changes of what decides the result, or only a longer run."""

    accept_changes: bool = False
    extend: bool = False


def payload_to_resume(
    cfg: TrainConfig, inputs: RunInputs, backend: Backend, consent: Consent
) -> Mapping[str, Any] | None:
    """The payload to go on from; None for a new run; UsageError if config or data were others then, unless
    the changes are accepted, or make the run longer. What killed runs left half-written in run.out goes.
    """
    if backend.process_index == 0:
        checkpointer.remove_incomplete(cfg.run.out)
    latest = checkpoint.latest(cfg.run.out)
    if latest is None:
        return None
    if backend.process_index == 0:
        for line in latest.damaged:
            logger.warning("%s; going on from %s", line, latest.info.name)
    # a setting that the checkpoint does not know was as by default
    before = {
        **fields.result_values(TrainConfig()),
        **latest.payload["result_values"],
        **latest.payload["data"],
    }
    mask_set = dataclasses.asdict(MaskSet())
    before["objective.masks"] = [{**mask_set, **values} for values in before["objective.masks"]]
    changes = fields.changes(before, {**fields.result_values(cfg), **inputs.fingerprint()})
    payload = {**latest.payload, "val_loss": latest.info.val_loss}
    if not changes:
        return payload
    extension = find_extension(cfg, inputs.plan, latest.payload, changes)
    if extension is None:
        check(cfg, changes, accept_changes=consent.accept_changes)
    elif extension.jumps and not any(consent):
        raise UsageError(f"{cfg.run.out}: {extension.text()}; {_WAYS_TO_EXTEND}{cfg.run.out}")
    change = {
        "step": latest.payload["step"],
        "changes": {key: list(pair) for key, pair in changes.items()},
        **({"extension": extension.record()} if extension else {}),
    }
    return {**payload, "changes": [*latest.payload.get("changes", ()), change]}


def restore(payload: Mapping[str, Any], state: TrainState, inputs: RunInputs) -> None:
    """Puts a payload into `state`. After a change of the data an epoch that is over by now ends. Who was
    trained on before it, or before the run (`run.init_from`), is remembered.
    """
    checkpointer.restore(payload, state)
    state.owes_validation = owes_validation(payload, inputs)
    epoch, samples_seen = state.position
    if state.changes and samples_seen > inputs.plan.samples_per_epoch:
        state.position = StreamPosition(epoch + 1, 0)
    if state.init_from or any("data.digest" in change["changes"] for change in state.changes):
        before = participant_digests.from_payload(payload.get("participants"))
        people = (sample.row.participant for sample in inputs.index.samples)
        state.participants = before.including(people) if before else None  # None: nobody knows


def owes_validation(payload: Mapping[str, Any], inputs: RunInputs) -> bool:
    """True if a validation was due at the step of the payload, and a signal cut it short."""
    after = payload["samples_seen"]
    due = plan.checkpoint_due(inputs.plan, after - inputs.cfg.run.global_batch, after)
    return due and payload.get("val_loss") is None and len(inputs.val_set.numbers_V) > 0


def record(cfg: TrainConfig, state: TrainState) -> None:
    """Logs the last change if the run goes on from it, and writes changes.json. First process only."""
    if not state.changes:
        return
    last = state.changes[-1]
    if last["step"] == state.step:
        lines = "; ".join(f"{key}: {old!r} -> {new!r}" for key, (old, new) in last["changes"].items())
        for name, (old, new) in last.get("extension", {}).get("jumps", {}).items():
            lines += f"; {name} jumps from {old:.4g} to {new:.4g}"
        logger.warning("step %d: goes on with other values: %s", state.step, lines)
    text = json.dumps(list(state.changes), indent=1)
    store.write(store.join(cfg.run.out, CHANGES), text.encode() + b"\n")


def check(cfg: TrainConfig, changes: Mapping[str, tuple[Any, Any]], *, accept_changes: bool) -> None:
    """UsageError unless the changes are accepted and can be made on the way."""
    lines = fields.change_lines(changes)
    for key, (old, new) in changes.items():
        reason = on_resume.fixed_reason(key)
        if key == "objective.masks" and len(old) != len(new) and objective_class(cfg).token_per_set:
            reason = on_resume.MASK_SETS
        if reason:
            raise UsageError(
                f"{cfg.run.out}: its checkpoints were made with other values: {'; '.join(lines)}; {key} "
                f"cannot change on the way ({reason}): set it back, or give run.out another folder"
            )
    if not accept_changes:
        raise UsageError(
            f"{cfg.run.out}: its checkpoints were made with other values, want the same to go on: "
            f"{'; '.join(lines)}; {_way_back(changes)}give run.out another folder, or say --accept-changes"
        )


def _way_back(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """Of the advice. What octshard 0.1 computed otherwise, no setting brings back."""
    return "" if changes.keys() & NO_SETTING else "set them back, "
