"""The loop of a fine-tuning: epochs of steps, val after each, until the budget or the patience is spent.

The head is trained alone first; then all layers, each at its own lr. Waits for the device once an epoch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from octshard.config.finetune import FinetuneConfig
from octshard.config.load import save
from octshard.dataset.participant_digests import ParticipantDigests
from octshard.devices import prefetch
from octshard.devices.backend import put
from octshard.errors import OctshardError
from octshard.eval.finetune import history, layer_decay
from octshard.eval.finetune.history import History
from octshard.eval.finetune.layer_decay import Rates
from octshard.eval.finetune.model import FinetuneModel, FinetuneOutput
from octshard.eval.finetune.scans import LabelledBatch, LabelledIndex, ScanReader
from octshard.models import normalize
from octshard.probes import head, scores
from octshard.progress import OnProgress

LEAST_LR = 1e-12  # a step at 0 would be 0 / 0 on XLA


@dataclass(frozen=True, eq=False)
class Job:
    """One encoder to fine-tune in folder `out`. parts: by split; identity: what decides the result;
    participants: who its weights have been trained on in the end, None where that is not known.
    """

    cfg: FinetuneConfig
    model: FinetuneModel
    reader: ScanReader
    parts: Mapping[str, LabelledIndex]
    out: str
    identity: Mapping[str, Any]
    participants: ParticipantDigests | None

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return -(-len(self.parts["train"].index.samples) // self.cfg.batch)


def fit(job: Job, on_progress: OnProgress) -> History:
    """Trains, or goes on, in job.out; the model ends with the weights of the best epoch."""
    backend, model = job.reader.backend, job.model.to(job.reader.backend.device)
    rates = Rates(job.cfg.layer_decay, job.cfg.weight_decay)
    optimizer = layer_decay.build(model, len(model.encoder.blocks), rates)
    past, payload = history.read(job.out, job.identity)
    if payload is not None:
        model.load_state_dict(payload["model"])
        optimizer.load_state_dict(payload["optimizer"])
    stream = job.reader.train(job.parts["train"], job.cfg.batch, past.position)
    wrapped: nn.Module | None = None
    with prefetch.prefetch_to_device(stream, backend) as batches:
        while not past.ended(job.cfg.epochs, job.cfg.patience):
            frozen = past.epochs < job.cfg.unfreeze_epoch
            if wrapped is None or frozen == model.encoder.embed.weight.requires_grad:
                model.encoder.requires_grad_(not frozen)
                wrapped = backend.wrap(model)
            model.train()
            total = torch.zeros((), device=backend.device)
            for step in range(job.steps):
                micro = next(batches)
                _set_lr(job, optimizer, past.epochs * job.steps + step)
                total = total + _step(job, wrapped, optimizer, micro.device)
                on_progress(past.epochs * job.steps + step + 1, job.cfg.epochs * job.steps, "")
            loss = float(backend.to_host(total)) / job.steps  # waits
            if not math.isfinite(loss):
                raise OctshardError(
                    f"{job.out}: the loss of epoch {past.epochs + 1} is not finite; want a lower lr"
                )
            score = _score_on_val(job)
            past = past.with_epoch(score, loss, micro.host.batch.position)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            samples = past.epochs * job.steps * job.cfg.batch
            people = job.participants.payload() if job.participants else None
            more = {"config": save(job.reader.cfg), "samples_seen": samples, "participants": people}
            kept = {**backend.to_host(state), **more}
            history.write(job.out, past, job.identity, kept)  # waits
    if not past.best:
        raise OctshardError(f"{job.out}: no epoch has a score on val, want finite predictions of two classes")
    model.load_state_dict(history.best_weights(job.out, past))
    return past


def predict(job: Job, split: str) -> np.ndarray:
    """values_NC of the labelled scans of a split, in order. Waits for the device."""
    part, backend, model = job.parts[split], job.reader.backend, job.model.eval()
    values_of: dict[str, np.ndarray] = {}
    for labelled in job.reader.all(part, job.cfg.batch):
        on_device = put(backend, labelled)
        with torch.no_grad():
            values_BC = _forward(job, model, on_device).values_BC
        backend.mark_step()
        keys = labelled.batch.keys[: labelled.batch.count]
        values_of.update(zip(keys, backend.to_host(values_BC).double().numpy(), strict=False))  # waits
    values_NC = np.stack([values_of[sample.row.key] for sample in part.index.samples])
    if job.model.target.kind != head.NUMBERS:
        values_NC = values_NC / values_NC.sum(1, keepdims=True)  # float32 sums to 1 but for rounding
    return np.asarray(values_NC)


def predictions_of(job: Job, split: str) -> scores.Predictions:
    """What the model says of each person, eye or scan of a split. Waits for the device."""
    labels, ordered = job.parts[split].labels, job.model.target.kind == head.ORDINAL
    units = labels.units or labels.participants
    return scores.by_unit(predict(job, split), labels.y_N, units, labels.participants, ordered=ordered)


def lr_at(cfg: FinetuneConfig, epochs: float) -> float:
    """After so many epochs: up a line over the warm-up, then down half a cosine to 0."""
    if epochs < cfg.warmup_epochs:
        return cfg.lr * epochs / cfg.warmup_epochs
    share = (epochs - cfg.warmup_epochs) / max(cfg.epochs - cfg.warmup_epochs, 1e-9)
    return cfg.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def _set_lr(job: Job, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Of the step after `step` others."""
    backend, lr = job.reader.backend, lr_at(job.cfg, (step + 1) / job.steps)
    values = [max(LEAST_LR, lr * group["scale"]) for group in optimizer.param_groups]
    if backend.device.type == "xla":
        values = list(backend.replicate(torch.tensor(values)))  # type: ignore[arg-type]
    for group, value in zip(optimizer.param_groups, values, strict=True):
        group["lr"] = value


def _step(job: Job, wrapped: nn.Module, optimizer: torch.optim.Optimizer, labelled: LabelledBatch) -> Tensor:
    """The loss before it."""
    out = _forward(job, wrapped, labelled)
    out.loss.backward()
    if job.cfg.clip_grad:
        trained = [p for p in job.model.parameters() if p.grad is not None]
        nn.utils.clip_grad_norm_(trained, job.cfg.clip_grad, foreach=False)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    loss = out.loss.detach()
    job.reader.backend.mark_step()
    return loss


def _forward(job: Job, model: nn.Module, labelled: LabelledBatch) -> FinetuneOutput:
    batch, tokens, y_B, weight_B = labelled
    x_BCDHW = normalize.normalize(batch.voxels_BDHW, batch.mean_B, batch.std_B, batch.valid_B3)
    with job.reader.backend.autocast():
        out: FinetuneOutput = model(x_BCDHW, tokens, y_B, weight_B)
    return out


def _score_on_val(job: Job) -> float:
    return head.score(predictions_of(job, "val"), job.model.target.kind)
