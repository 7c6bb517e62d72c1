"""Statistics of steps: what a step leaves on the device, and how it becomes one line of metrics.

The host reads it only when it logs and before a save; functions that wait for the device say so.
"""

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from octshard.devices.backend import Backend, map_tensors
from octshard.stream.sampler import StreamPosition
from octshard.train.objectives import collapse
from octshard.train.objectives.collapse import VolumeSpread

NAMED_KEYS = 8  # most keys that one line names
COLLAPSED_STD = 1e-3  # of layer-normed features, whose own scale is 1
SPEEDS = (
    "volumes_per_s_per_device",
    "data_wait",
    "data_wait_worst_s",
    "data_wait_worst_step",
)  # by the clock
# Between volumes of N tokens with contents of their own a mean keeps 1 / sqrt(N) of their spread: 0.017 of
# 3,500 tokens. Features of which a tenth is content, and nothing of it common to a volume, would keep 0.0017.
PLACE_ONLY = 0.002
MIN_PAIRS = 4  # of volumes since the last read, before their spread is a number


class Sums(NamedTuple):
    """What is summed on the device since the last read. steps_2: losses, and steps that changed nothing: the
    first that was not finite, and all after it. context_loss: 0-d, as in `ObjectiveOutput`.
    """

    steps_2: Tensor
    context_loss: Tensor
    spread: VolumeSpread


class StepOutputs(NamedTuple):
    """What a step leaves on the device."""

    sums: Sums
    norm: Tensor  # of the gradient, before clipping
    tokens_RF: Tensor
    losses_B: Tensor  # of the volumes of this process, in the order of its keys


class StepPositions(NamedTuple):
    """Those of the stream before and after a step."""

    before: StreamPosition
    after: StreamPosition


class StepRecord(NamedTuple):
    """What is kept of a step until the next read, in case that it was not finite."""

    step: int
    keys: tuple[str, ...]
    losses_B: Tensor
    norm: Tensor
    lr: float
    positions: StepPositions


class LogWindow:
    """The steps since the last read: how many, which volumes, and how long the loop waited for data.

    The longest wait of a single step shows a spike that the mean of many steps hides.
    """

    def __init__(self, max_steps: int) -> None:
        self._start = self._mark = time.perf_counter()
        self._waited, self._last_wait, self.steps = 0.0, 0.0, 0
        self._worst = (0.0, 0)  # seconds, step
        self._records: deque[StepRecord] = deque(maxlen=max_steps)

    def waiting(self) -> None:
        """The loop begins to wait for data."""
        self._mark = time.perf_counter()

    def working(self) -> None:
        """The loop has its data."""
        self._last_wait = time.perf_counter() - self._mark
        self._waited += self._last_wait

    def add(self, record: StepRecord) -> None:
        """Adds a step, whose data the loop waited for last."""
        self.steps += 1
        self._worst = max(self._worst, (self._last_wait, record.step), key=lambda wait: wait[0])
        self._records.append(record)

    def record_of(self, step: int) -> StepRecord | None:
        """That of `step`; None for a step before the last `max_steps`."""
        return next((record for record in self._records if record.step == step), None)

    def speed(self, batch: int, devices: int) -> dict[str, float]:
        """volumes_per_s_per_device; data_wait: the share of the time that the loop waited for data; the
        longest wait of one step and which step it was. Names: SPEEDS.
        """
        seconds = max(1e-9, time.perf_counter() - self._start)
        return {
            "volumes_per_s_per_device": self.steps * batch / seconds / devices,
            "data_wait": self._waited / seconds,
            "data_wait_worst_s": self._worst[0],
            "data_wait_worst_step": self._worst[1],
        }


def zero_sums(backend: Backend, width: int) -> Sums:
    """Those of a new window, for features of that width."""
    zeros = Sums(torch.zeros(2), torch.zeros(()), collapse.no_spread(width))
    return map_tensors(zeros, backend.replicate)  # type: ignore[no-any-return]


def nonfinite(loss: Tensor, norm: Tensor) -> Tensor:
    """1.0 if either is not finite, else 0.0; 0-d on the device."""
    return 1.0 - (torch.isfinite(loss) & torch.isfinite(norm)).float()


def read(
    outputs: StepOutputs, steps: int, backend: Backend, *, has_context_loss: bool = False
) -> dict[str, float]:
    """Losses (mean over `steps` steps and all processes) and the collapse statistics. Waits for the device.

    pooled_std is there once MIN_PAIRS of volumes, of all processes, were compared; context_loss where the
    objective has one.
    """
    steps_2, context_loss, spread = outputs.sums
    processes = torch.ones_like(spread.pairs)
    parts = [steps_2, torch.stack([processes, spread.pairs, context_loss]), spread.squares_F]
    total, host = backend.to_host((backend.all_reduce_sum(torch.cat(parts)), outputs))
    (loss, _, process_count, pairs, of_context), squares_F = total[:5].tolist(), total[5:]
    pooled_std = float((squares_F / (2 * max(1.0, pairs))).sqrt().mean())
    return {
        "loss": loss / process_count / steps,
        **({"context_loss": of_context / process_count / steps} if has_context_loss else {}),
        "grad_norm": float(host.norm),
        "feature_std": float(collapse.feature_std(host.tokens_RF)),
        **({"pooled_std": pooled_std} if pairs >= MIN_PAIRS else {}),
        "rank": float(collapse.rankme(host.tokens_RF)),
    }


def compile_counts(backend: Backend) -> dict[str, int]:
    """XLA's compiles and operators that fell back to the host, since the process began; {} elsewhere."""
    counters = backend.counters()
    fallbacks = sum(n for name, n in counters.items() if name.startswith("aten::"))
    return {"compiles": counters["compiles"], "fallbacks": fallbacks} if counters else {}


def collapse_line(metrics: Mapping[str, Any], advice: str) -> str | None:
    """A warning, with the objective's advice, if the features are nearly equal for all tokens, or for all
    volumes; else None.
    """
    std, pooled_std = metrics["feature_std"], metrics.get("pooled_std", math.inf)
    if std < COLLAPSED_STD:
        problem = f"are the same for all tokens (std {std:.2g})"
    elif pooled_std < PLACE_ONLY * std:
        problem = f"say only where a token lies (std {std:.2g}, of whole volumes {pooled_std:.2g})"
    else:
        return None
    return f"step {metrics['step']}: features have collapsed: they {problem}; {advice}"


def summary(metrics: Mapping[str, Any]) -> str:
    """The few metrics that a progress line has room for."""
    names = {
        "loss": "loss",
        "val_loss": "val_loss",
        "skill": "skill",
        "volumes_per_s_per_device": "volumes/s/device",
    }
    return "  ".join(f"{text} {metrics[name]:.3g}" for name, text in names.items() if name in metrics)


def shorten_keys(keys: Sequence[str]) -> str:
    """At most NAMED_KEYS of them, and how many more there are."""
    more = f" and {len(keys) - NAMED_KEYS} more" if len(keys) > NAMED_KEYS else ""
    return ", ".join(keys[:NAMED_KEYS]) + more
