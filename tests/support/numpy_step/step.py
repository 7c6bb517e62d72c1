"""One whole training step in float64: micro-batches, clipping, AdamW, and the moving average after it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from octshard.config.train import TrainConfig
from tests.support.numpy_step.objective import Sample, backpropagate
from tests.support.numpy_step.weights import Array, Weights


class Moments(NamedTuple):
    """Of AdamW, by the names of the weights; steps: those before."""

    mean: Mapping[str, Array]
    square: Mapping[str, Array]
    steps: int


class Schedule(NamedTuple):
    """In samples: seen at the end of the step, warm-up, whole run."""

    seen: int
    warmup: int
    total: int


@dataclass(frozen=True)
class StepResult:
    """norm: of all gradients, before clipping; gradients: after it; weights: also of the target encoder."""

    loss: float
    losses_B: Array
    norm: float
    gradients: Mapping[str, Array]
    weights: Mapping[str, Array]
    moments: Moments


def step(
    micro_batches: Sequence[list[Sample]],
    cfg: TrainConfig,
    values: Mapping[str, Array],
    moments: Moments,
    schedule: Schedule,
) -> StepResult:
    """The step that `train` makes."""
    weights = Weights({name: np.asarray(value, np.float64) for name, value in values.items()})
    progress = schedule.seen / schedule.total
    losses = [
        backpropagate(samples, cfg, weights, 1 / len(micro_batches), progress) for samples in micro_batches
    ]
    norm = math.sqrt(sum(float((g**2).sum()) for g in weights.gradients.values()))
    shrink = min(1.0, cfg.optim.clip_grad / (norm + 1e-6)) if cfg.optim.clip_grad else 1.0
    gradients = {name: g * shrink for name, g in weights.gradients.items()}
    rates = learning_rate(schedule, cfg), weight_decay(schedule, cfg)
    after, moved = _adamw(weights.values, gradients, moments, cfg, rates)
    momentum = ema(schedule, cfg)
    for name in [name for name in after if name.startswith("target_encoder.")]:
        source = after[name.removeprefix("target_")]
        after[name] = momentum * after[name] + (1 - momentum) * source
    mean_loss = float(np.mean([each.whole for each in losses]))
    losses_B = np.concatenate([each.losses_B for each in losses])
    return StepResult(mean_loss, losses_B, norm, gradients, after, moved)


def learning_rate(schedule: Schedule, cfg: TrainConfig) -> float:
    """Up a line from 0, down half a cosine, or a line over the last share."""
    if schedule.seen < schedule.warmup:
        return cfg.optim.base_lr * schedule.seen / schedule.warmup
    if cfg.optim.schedule == "constant":
        left = (schedule.total - schedule.seen) / (cfg.optim.cooldown * schedule.total)
        return cfg.optim.final_lr + (cfg.optim.base_lr - cfg.optim.final_lr) * min(1, left)
    x = (schedule.seen - schedule.warmup) / (schedule.total - schedule.warmup)
    return cfg.optim.final_lr + (cfg.optim.base_lr - cfg.optim.final_lr) * (1 + math.cos(math.pi * x)) / 2


def weight_decay(schedule: Schedule, cfg: TrainConfig) -> float:
    """Half a cosine between its two settings, if there are two."""
    start, end = cfg.optim.weight_decay, cfg.optim.final_weight_decay
    if end is None:
        return start
    return end - (end - start) * (1 + math.cos(math.pi * schedule.seen / schedule.total)) / 2


def ema(schedule: Schedule, cfg: TrainConfig) -> float:
    """Half a cosine from ema_start to ema_end."""
    start, end = cfg.objective.ema_start, cfg.objective.ema_end
    return end - (end - start) * (1 + math.cos(math.pi * schedule.seen / schedule.total)) / 2


def _adamw(
    values: Mapping[str, Array],
    gradients: Mapping[str, Array],
    moments: Moments,
    cfg: TrainConfig,
    rates: tuple[float, float],
) -> tuple[dict[str, Array], Moments]:
    """Decay first, and of matrices only; then the moments with their corrections. rates: lr, weight decay."""
    optim, count, (lr, decay_of_matrices) = cfg.optim, moments.steps + 1, rates
    after, mean, square = dict(values), dict(moments.mean), dict(moments.square)
    for name, g in gradients.items():
        mean[name] = optim.beta1 * mean[name] + (1 - optim.beta1) * g
        square[name] = optim.beta2 * square[name] + (1 - optim.beta2) * g**2
        unbiased_mean = mean[name] / (1 - optim.beta1**count)
        unbiased_square = square[name] / (1 - optim.beta2**count)
        decay = decay_of_matrices if values[name].ndim > 1 else 0.0
        shrunk = values[name] * (1 - lr * decay)
        after[name] = shrunk - lr * unbiased_mean / (np.sqrt(unbiased_square) + optim.eps)
    return after, Moments(mean, square, count)
