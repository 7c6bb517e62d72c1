"""Validation: the loss over the same volumes in the same way at every checkpoint, and what it is worth.

Two losses stand beside it: that of the best predictor that knows the position of a token alone, and the
model's with the context of another volume.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from octshard.devices.prefetch import DeviceBatch
from octshard.models import normalize
from octshard.models.checkpoint_info import SKILL, CheckpointScore, skill_score
from octshard.train import val_tokens
from octshard.train.augment import cross_resolution
from octshard.train.inputs import ValInputs
from octshard.train.objectives import position_only
from octshard.train.objectives.objective import mean_errors
from octshard.train.objectives.position_only import Losses
from octshard.train.run_batches import val_count
from octshard.train.setup import Run

LEAST_LOSS = 1e-3  # of features whose own scale is 1: a predictor that errs less leaves nothing to learn
PLACE_ONLY = 0.05  # of the loss of a constant is left to the position-only predictor


@dataclass(frozen=True)
class Validation:
    """loss_other_context: None with a single volume; references: None with too few volumes for halves;
    volumes: a digest of what it was measured on.
    """

    loss: float
    loss_other_context: float | None
    references: Losses | None
    volumes: str

    @property
    def skill(self) -> float | None:
        """1 - loss / loss of the best predictor that does not see the volume, over the same tokens: 1 is
        perfect, 0 no better. None if there is no such predictor, or nothing for it to get wrong.
        """
        if self.references is None or self.references.volume_blind < LEAST_LOSS:
            return None
        return 1 - self.references.model / self.references.volume_blind

    @property
    def score(self) -> CheckpointScore | None:
        """That of the checkpoint."""
        return None if self.skill is None else skill_score(self.volumes, self.skill)

    def metrics(self) -> Mapping[str, float]:
        """What there is, by the names of the log."""
        values = {
            "val_loss": self.loss,
            "val_loss_other_context": self.loss_other_context,
            "val_loss_position_only": self.references and self.references.volume_blind,
            SKILL: self.skill,
        }
        return {name: value for name, value in values.items() if value is not None}

    def collapse_line(self, step: int) -> str | None:
        """A warning if nothing, or only its position, tells one target token from another; else None."""
        if self.references is None:
            return None
        constant, position_only = self.references.constant, self.references.position_only
        if constant < LEAST_LOSS:
            problem = f"are the same for all tokens (loss of a constant {constant:.2g})"
        elif position_only < PLACE_ONLY * constant:
            problem = f"say only where a token lies (loss of the position-only predictor {position_only:.2g})"
        else:
            return None
        return (
            f"step {step}: target features of the validation volumes have collapsed: they {problem}; "
            f"lower optim.base_lr or raise objective.ema_start"
        )


def validate(
    run: Run, batches: Iterator[DeviceBatch[ValInputs]], cut_short: Callable[[], bool]
) -> Validation | None:
    """Over the validation volumes, each once: centre crops, no flips, no noise, always one mask.

    All shapes are fixed, so the last batch is filled up with repeats, which weigh nothing. None without any
    volumes, and in all processes if one of them was cut short.
    """
    backend, val, cfg = run.backend, run.inputs.val_set, run.cfg
    if len(val.numbers_V) == 0:
        return None
    run.model.eval()
    total_4, count = backend.replicate(torch.zeros(4)), val_count(run.inputs)
    sums = val_tokens.no_tokens(val, run.model.target_width(cfg), backend)
    with torch.no_grad():
        for device_batch in itertools.islice(batches, count):
            (batch, tokens, places, sites, weight_B), other = device_batch.device
            x, other_x = (
                normalize.normalize(b.voxels_BDHW, b.mean_B, b.std_B, b.valid_B3) for b in (batch, other)
            )
            with backend.autocast():
                target_BVX = run.model.targets(x, tokens)
                x, other_x = (
                    cross_resolution.of_context(view, b.valid_B3, cfg)
                    for view, b in ((x, batch), (other_x, other))
                )
                errors = run.model.errors(x, target_BVX, tokens, places)
                other_errors = run.model.errors(other_x, target_BVX, tokens, places)
            losses = [mean_errors(e, places).mean(0) for e in (errors, other_errors)]
            weighted = [(loss_B * weight_B).sum() for loss_B in losses]
            total_4 = total_4 + torch.stack([*weighted, weight_B.sum(), torch.ones_like(weighted[0])])
            sums = val_tokens.add(sums, sites, run.model.distance, target_BVX, errors, places)
            backend.mark_step()
            if cut_short():
                break
    total_5 = torch.cat([total_4, backend.replicate(torch.ones(1))])  # one for each process
    totals = backend.to_host(backend.all_reduce_sum(total_5))  # waits
    loss, other_loss, volumes, batch_count, processes = totals.tolist()
    if batch_count < count * processes:
        return None
    tokens_of_all = val_tokens.to_host(sums, backend)  # waits
    references = None
    if val.has_skill:
        references = position_only.losses(tokens_of_all, val.second_R, run.model.distance)
    of_others = float(other_loss / volumes) if len(val.numbers_V) > 1 else None
    return Validation(float(loss / volumes), of_others, references, val.digest)
