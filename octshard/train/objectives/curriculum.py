"""The mask ratio over a run: it goes from `ratio` to `ratio_end` by half a cosine, in stages of equal length.

Within a stage all shapes are fixed. Its ratio is that at its middle; K and T keep their shares of what is
seen and of what is hidden. A stage begins with a step, so that neither the micro-batch nor the number of
processes matters.
"""

import dataclasses
import math

from octshard.config.objective import MaskSet
from octshard.config.train import TrainConfig
from octshard.errors import UsageError


def stages(cfg: TrainConfig) -> tuple[TrainConfig, ...]:
    """The config of each stage, with the mask sets of that stage; `cfg` alone where no ratio changes."""
    if not is_on(cfg):
        return (cfg,)
    count = cfg.objective.mask_stages
    return tuple(_stage(cfg, (stage + 0.5) / count) for stage in range(count))


def is_on(cfg: TrainConfig) -> bool:
    """Does the ratio of some mask set change?"""
    return any(_changes(mask_set) for mask_set in cfg.objective.masks)


def stage_at(samples_seen: int, global_batch: int, total: int, count: int) -> int:
    """Which of `count` stages the step belongs to in which the sample after `samples_seen` of `total` is."""
    first = samples_seen // global_batch * global_batch
    return min(count - 1, first * count // total)


def check(cfg: TrainConfig) -> None:
    """UsageError for shares that leave nothing to change."""
    for i, mask_set in enumerate(cfg.objective.masks):
        if not _changes(mask_set):
            continue
        parts = (("context", 1 - mask_set.ratio, "not hidden"), ("target", mask_set.ratio, "hidden"))
        for key, most, what in parts:
            value = getattr(mask_set, key)
            if most + 1e-9 < value <= 1:
                raise UsageError(
                    f"objective.masks[{i}].{key}={value:g}: with ratio_end, want at most {most:g}, the share "
                    f"that is {what} at ratio={mask_set.ratio:g}"
                )


def _changes(mask_set: MaskSet) -> bool:
    return mask_set.kind != "blocks" and mask_set.ratio_end is not None


def _stage(cfg: TrainConfig, progress: float) -> TrainConfig:
    mask_sets = [_at(mask_set, progress) for mask_set in cfg.objective.masks]
    return dataclasses.replace(cfg, objective=dataclasses.replace(cfg.objective, masks=mask_sets))


def _at(mask_set: MaskSet, progress: float) -> MaskSet:
    if not _changes(mask_set) or mask_set.ratio_end is None:
        return mask_set
    start, end = mask_set.ratio, mask_set.ratio_end
    ratio = start + (end - start) * 0.5 * (1 - math.cos(math.pi * progress))
    return dataclasses.replace(
        mask_set,
        ratio=ratio,
        ratio_end=None,
        context=_scaled(mask_set.context, (1 - ratio) / (1 - start)),
        target=_scaled(mask_set.target, ratio / start),
    )


def _scaled(value: float, factor: float) -> float:
    """A count stays one: what is 1 or less would be read as a share."""
    return min(1.0, value * factor) if value <= 1 else max(2, round(value * factor))
