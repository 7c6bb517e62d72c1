"""AdamW and the numbers that change from step to step, as pure functions of the samples seen.

A step uses the numbers after it: with warm-up from 0 the first step already moves, and the last one uses
final_lr and ema_end. On XLA they enter the graph as slices of one tensor: as Python
numbers they recompile.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from octshard.config.objective import ObjectiveConfig
from octshard.config.train import OptimConfig, TrainConfig


class Length(NamedTuple):
    """The warm-up and the whole length of a run, in samples."""

    warmup: int
    total: int


class Scalars(NamedTuple):
    """What changes from step to step. progress: the share of the budget that is spent; correction1,
    correction2: 1 - beta ** step of the two moments.
    """

    lr: float
    weight_decay: float
    ema: float
    progress: float
    correction1: float
    correction2: float

    def host_tensor(self) -> Tensor:
        """float32 (6,): lr, ema, lr / correction1, 1 / sqrt(correction2), progress, lr * weight_decay: the
        order of `step`.
        """
        moments = [self.lr / self.correction1, self.correction2**-0.5]
        return torch.tensor([self.lr, self.ema, *moments, self.progress, self.lr * self.weight_decay])


class AdamWState(NamedTuple):
    """Weights that are trained, and their first and second moments."""

    weights: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]


class AdamWSettings(NamedTuple):
    """What AdamW keeps for a whole run."""

    beta1: float
    beta2: float
    eps: float
    decayed: bool


AdamW = Callable[[AdamWState, list[Tensor], Tensor, AdamWSettings, Tensor], AdamWState]


def scalars_at(step: int, samples_seen: int, length: Length, cfg: TrainConfig) -> Scalars:
    """The numbers of optimizer step `step`, counted from 1; samples_seen: after it."""
    return Scalars(
        lr_at(samples_seen, length, cfg.optim),
        weight_decay_at(samples_seen, length, cfg.optim),
        ema_at(samples_seen, length, cfg.objective),
        samples_seen / length.total,
        1.0 - cfg.optim.beta1**step,
        1.0 - cfg.optim.beta2**step,
    )


def lr_at(samples_seen: int, length: Length, cfg: OptimConfig) -> float:
    """Linear from 0 to base_lr over the warm-up; then down to final_lr at the end, by half a cosine, or,
    with the constant schedule, by a line from `cooldown_start` on.
    """
    if samples_seen < length.warmup:
        return cfg.base_lr * samples_seen / length.warmup
    if cfg.schedule == "constant":
        start, seen = cooldown_start(length, cfg), min(samples_seen, length.total)
        spent = _share(seen, start, length.total) if seen > start else 0.0
        return cfg.base_lr + (cfg.final_lr - cfg.base_lr) * spent
    return _half_cosine(cfg.base_lr, cfg.final_lr, _share(samples_seen, length.warmup, length.total))


def cooldown_start(length: Length, cfg: OptimConfig) -> int:
    """Samples seen where a constant rate begins to go down: not before the warm-up ends."""
    return max(length.warmup, length.total - round(cfg.cooldown * length.total))


def warmup_line(length: Length, cfg: OptimConfig) -> str:
    """Says that the warm-up leaves no time for what comes after it; empty if it does."""
    if length.warmup > length.total:
        return f"warm-up of {length.warmup} samples is longer than the run: base_lr is never reached"
    cooldown = round(cfg.cooldown * length.total) if cfg.schedule == "constant" else 0
    rest = length.total - cooldown_start(length, cfg)
    if rest < cooldown / 2:
        return f"warm-up of {length.warmup} samples leaves {rest} of {cooldown} samples of the cooldown"
    return ""


def weight_decay_at(samples_seen: int, length: Length, cfg: OptimConfig) -> float:
    """From weight_decay to final_weight_decay by half a cosine over the run (DINO, Caron et al. 2021)."""
    if cfg.final_weight_decay is None:
        return cfg.weight_decay
    return _half_cosine(cfg.weight_decay, cfg.final_weight_decay, _share(samples_seen, 0, length.total))


def ema_at(samples_seen: int, length: Length, cfg: ObjectiveConfig) -> float:
    """From ema_start to ema_end by half a cosine over the whole run (BYOL, Grill et al. 2020)."""
    return _half_cosine(cfg.ema_start, cfg.ema_end, _share(samples_seen, 0, length.total))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))


def _share(samples_seen: int, start: int, end: int) -> float:
    """Of the way from `start` to `end`, at most 1."""
    return min(1.0, (samples_seen - start) / max(1, end - start))


def build(model: nn.Module, cfg: OptimConfig) -> torch.optim.AdamW:
    """AdamW over what requires a gradient; tensors of one axis (biases, norms) are not decayed. Fused on
    CUDA.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": cfg.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = all(p.device.type == "cuda" for p in parameters)
    adamw = torch.optim.AdamW(groups, lr=cfg.base_lr, betas=(cfg.beta1, cfg.beta2), eps=cfg.eps, fused=fused)
    for parameter in parameters:
        if parameter.device.type == "xla":  # moments that exist before the first step save a second compile
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            adamw.state[parameter] = {"step": torch.zeros(()), **moments}
    return adamw


def clip(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scales gradients to a global norm of at most `limit` (0: never). Returns the norm before; no host
    wait.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack(torch._foreach_norm(gradients)).norm()
    if limit > 0:
        torch._foreach_mul_(gradients, torch.clamp(limit / (norm + 1e-6), max=1.0))
    return norm


def step(
    optimizer: torch.optim.Optimizer, scalars: Scalars, device_scalars_6: Tensor, adamw: AdamW, skip: Tensor
) -> None:
    """One AdamW step (Loshchilov and Hutter 2019). `device_scalars_6` is `host_tensor` on the parameters'
    device, `adamw` the function below as the device runs it. skip: 1.0 if nothing is to change, else 0.0; 0-d
    on the device, which alone looks at it.
    """
    decayed, spared = optimizer.param_groups  # as `build` makes them
    decayed["weight_decay"] = scalars.weight_decay
    decayed["lr"] = spared["lr"] = scalars.lr
    if device_scalars_6.device.type == "xla":
        _step_by_tensors(optimizer, device_scalars_6, adamw, skip)
        return
    if decayed["fused"]:
        # as torch's GradScaler has it: the kernel leaves all as it is
        optimizer.grad_scale, optimizer.found_inf = None, skip  # type: ignore[attr-defined]
    elif skip:  # on the host, which is the device
        return
    optimizer.step()


@torch.no_grad()
def _step_by_tensors(optimizer: torch.optim.Optimizer, scalars_6: Tensor, adamw: AdamW, skip: Tensor) -> None:
    """The same step in tensor arithmetic alone; the state is the same, so a checkpoint fits every backend."""
    decayed, _ = optimizer.param_groups
    for group in optimizer.param_groups:
        parameters = [p for p in group["params"] if p.grad is not None]
        states = [optimizer.state[p] for p in parameters]
        for state in states:
            state["step"] += 1  # on the host: it never enters the graph
        means, squares = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
        before = AdamWState([p.detach() for p in parameters], means, squares)
        beta1, beta2 = group["betas"]
        settings = AdamWSettings(beta1, beta2, group["eps"], group is decayed)
        after = adamw(before, [p.grad for p in parameters], scalars_6, settings, skip)
        for old, new in zip(before, after, strict=True):
            torch._foreach_copy_(old, new)


def adamw(
    state: AdamWState, gradients: list[Tensor], scalars_6: Tensor, settings: AdamWSettings, skip: Tensor
) -> AdamWState:
    """`state` after one step, or as it is where `skip` is 1. torch's own `capturable` form divides by lr,
    which is 0/0 at lr = 0.
    """
    corrected_lr, inverse_root, shrinkage = scalars_6[2:3], scalars_6[3:4], scalars_6[5:6]
    weights = [w * (1.0 - shrinkage) if settings.decayed else w for w in state.weights]
    means = [
        (m * settings.beta1).add_(g, alpha=1.0 - settings.beta1)
        for m, g in zip(state.means, gradients, strict=True)
    ]
    squares = [
        (s * settings.beta2).addcmul_(g, g, value=1.0 - settings.beta2)
        for s, g in zip(state.squares, gradients, strict=True)
    ]
    weights = [
        w - corrected_lr * m / (s.sqrt() * inverse_root + settings.eps)
        for w, m, s in zip(weights, means, squares, strict=True)
    ]
    after = AdamWState(weights, means, squares)
    return AdamWState(
        *(
            [torch.where(skip > 0, old, new) for old, new in zip(*pair, strict=True)]
            for pair in zip(state, after, strict=True)
        )
    )
