"""AdamW and the numbers that change from step to step, as pure functions of the samples seen.

A step uses the numbers after it: with warm-up from 0 the first step already moves, and the last one uses
final_lr and ema_end. On XLA they enter the graph as slices of one tensor: as Python
numbers they recompile.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from octshard.config.train import ObjectiveConfig, OptimConfig


class Length(NamedTuple):
    """The warm-up and the whole length of a run, in samples."""

    warmup: int
    total: int


class Scalars(NamedTuple):
    """What changes from step to step. `correction1`, `correction2`: 1 - beta ** step of the two moments."""

    lr: float
    ema: float
    correction1: float
    correction2: float

    def host_tensor(self) -> Tensor:
        """float32 (4,): lr, ema, lr / correction1, 1 / sqrt(correction2): the order that `step` expects."""
        return torch.tensor([self.lr, self.ema, self.lr / self.correction1, self.correction2**-0.5])


def lr_at(samples_seen: int, length: Length, cfg: OptimConfig) -> float:
    """Linear from 0 to base_lr over the warm-up, then half a cosine down to final_lr at the end."""
    if samples_seen < length.warmup:
        return cfg.base_lr * samples_seen / length.warmup
    fraction = (samples_seen - length.warmup) / max(1, length.total - length.warmup)
    return cfg.final_lr + (cfg.base_lr - cfg.final_lr) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, fraction)))


def ema_at(samples_seen: int, length: Length, cfg: ObjectiveConfig) -> float:
    """From ema_start to ema_end by half a cosine over the whole run (BYOL, Grill et al. 2020)."""
    fraction = min(1.0, samples_seen / max(1, length.total))
    return cfg.ema_end - (cfg.ema_end - cfg.ema_start) * 0.5 * (1.0 + math.cos(math.pi * fraction))


def scalars_at(lr: float, ema: float, step: int, cfg: OptimConfig) -> Scalars:
    """The numbers of optimizer step `step`, counted from 1."""
    return Scalars(lr, ema, 1.0 - cfg.beta1**step, 1.0 - cfg.beta2**step)


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


def step(optimizer: torch.optim.Optimizer, scalars: Scalars, device_scalars_4: Tensor) -> None:
    """One AdamW step (Loshchilov and Hutter 2019). `device_scalars_4` is `host_tensor` on the parameters'
    device.
    """
    if device_scalars_4.device.type == "xla":
        _step_by_tensors(optimizer, device_scalars_4)
        return
    for group in optimizer.param_groups:
        group["lr"] = scalars.lr
    optimizer.step()


@torch.no_grad()
def _step_by_tensors(optimizer: torch.optim.Optimizer, scalars_4: Tensor) -> None:
    """The same step in tensor arithmetic only, with the same state, so that a checkpoint fits every backend.

    torch's own `capturable` form divides by lr, which is 0/0 at lr = 0.
    """
    lr, corrected_lr, inverse_root = scalars_4[0:1], scalars_4[2:3], scalars_4[3:4]
    for group in optimizer.param_groups:
        (beta1, beta2), eps, decay = group["betas"], group["eps"], group["weight_decay"]
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = optimizer.state[parameter]
            state["step"] += 1  # on the host: it never enters the graph
            mean, square, gradient = state["exp_avg"], state["exp_avg_sq"], parameter.grad
            if decay:
                parameter.mul_(1.0 - lr * decay)
            mean.mul_(beta1).add_(gradient, alpha=1.0 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
            parameter.sub_(corrected_lr * mean / (square.sqrt() * inverse_root + eps))
