"""How many tokens of a volume are context (K) and target (T), by the config and by its valid tokens.

A share is one of the valid tokens of each volume, so that all devices use the same part of theirs; a count
is the same for all. Lists are as long as the largest volume asks for.
"""

import bisect
import math
from typing import NamedTuple

from octshard.config.objective import MaskSet
from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.imaging.volume import product
from octshard.models import position
from octshard.stream.batch_shape import BatchShape
from octshard.train.objectives import curriculum, footprints


class TokenCounts(NamedTuple):
    """How many tokens of a volume are context (K) and target (T) in one mask set, and how many tokens of the
    image one of the context covers.
    """

    K: int
    T: int
    covers: int = 1

    @property
    def needed(self) -> int:
        """Valid tokens that a volume needs: so many leave T behind whichever K are seen."""
        return self.K * self.covers + self.T

    @property
    def text(self) -> str:
        """`needed` and its parts."""
        if self.covers == 1:
            return f"K + T = {self.K} + {self.T}"
        return f"{self.covers} K + T = {self.covers} x {self.K} + {self.T}"


class ListLengths(NamedTuple):
    """Of the lists of one draw of a mask set: K and T of the largest volume of a run, and of the smallest."""

    most: TokenCounts
    least: TokenCounts


def counts_of(cfg: TrainConfig, valid: int) -> tuple[TokenCounts, ...]:
    """K and T of every draw of every mask set, of a volume of `valid` tokens that hold a voxel of it. With a
    `ratio_end` cfg is that of a stage.
    """
    covers = product(cfg.objective.context_scale)
    counts = (_counts_of_set(mask_set, covers, valid) for mask_set in cfg.objective.masks)
    return tuple(K_T for K_T, number in zip(counts, draws_of_sets(cfg), strict=True) for _ in range(number))


def counts_of_set(cfg: TrainConfig, i: int, valid: int) -> TokenCounts:
    """As `counts_of`, of mask set i."""
    return _counts_of_set(cfg.objective.masks[i], product(cfg.objective.context_scale), valid)


def draws_of_sets(cfg: TrainConfig) -> list[int]:
    """How often each mask set is drawn for one target forward."""
    return [mask_set.draws for mask_set in cfg.objective.masks]


def list_lengths(cfg: TrainConfig, shape: BatchShape) -> tuple[ListLengths, ...]:
    """Those of every draw in batches of this shape."""
    pairs = zip(counts_of(cfg, shape.most_valid), counts_of(cfg, shape.least_valid), strict=True)
    return tuple(ListLengths(most, least) for most, least in pairs)


def needed_tokens(cfg: TrainConfig) -> int:
    """Valid tokens that a volume needs for all its mask sets; the stream leaves smaller ones out."""
    tokens, covers = product(position.grid_of(cfg.model)), product(cfg.objective.context_scale)
    return max(
        _needed_of_set(mask_set, covers, tokens)
        for stage in curriculum.stages(cfg)
        for mask_set in stage.objective.masks
    )


def has_shares(cfg: TrainConfig) -> bool:
    """True if K and T differ between volumes."""
    return any(
        value <= 1 for mask_set in cfg.objective.masks for value in (mask_set.context, mask_set.target)
    )


def check(cfg: TrainConfig) -> None:
    """UsageError names the key that is wrong, whatever the volumes are."""
    tokens, covers = product(position.grid_of(cfg.model)), product(footprints.scale_of(cfg))
    if not cfg.objective.masks:
        raise UsageError("objective.masks: found none, want at least one mask set")
    for i, mask_set in enumerate(cfg.objective.masks):
        name = f"objective.masks[{i}]"
        if mask_set.aspect[0] > mask_set.aspect[1]:
            raise UsageError(f"{name}.aspect={list(mask_set.aspect)}: want [least, greatest]")
        for key in ("context", "target"):
            _check_count(f"{name}.{key}", getattr(mask_set, key), tokens)
        if mask_set.kind == "retina" and covers > 1:
            raise UsageError(
                f"{name}.kind=retina: it knows no objective.context_scale, want [1, 1, 1] or cubes"
            )
    curriculum.check(cfg)
    for stage in curriculum.stages(cfg):
        for i, mask_set in enumerate(stage.objective.masks):
            counts = _counts_of_set(mask_set, covers, tokens)
            if tokens < counts.needed:
                times = f" x {covers}" if covers > 1 else ""
                raise UsageError(
                    f"objective.masks[{i}]: context {counts.K}{times} + target {counts.T} tokens, want at "
                    f"most the grid's {tokens}"
                )
    if not has_shares(cfg):
        check_max_tokens(cfg, tokens)


def check_max_tokens(cfg: TrainConfig, valid: int) -> None:
    """UsageError if the mask sets of the largest volume, of `valid` tokens, name more than are read of it."""
    fine = not footprints.is_coarse(cfg)  # a coarser context is not among the tokens of the image
    named = max(
        min(valid, sum(counts.T + fine * counts.K for counts in counts_of(stage, valid)))
        for stage in curriculum.stages(cfg)
    )
    max_tokens = cfg.objective.max_tokens
    if max_tokens is not None and max_tokens < named:
        raise UsageError(
            f"objective.max_tokens={max_tokens}: the mask sets name up to {named} tokens of a volume, want "
            "at least as many"
        )


def _needed_of_set(mask_set: MaskSet, covers: int, tokens: int) -> int:
    def fits(valid: int) -> bool:
        return _counts_of_set(mask_set, covers, valid).needed <= valid

    first = bisect.bisect_left(range(tokens), True, key=fits)
    if covers == 1 or mask_set.context >= 1:
        return first
    # K grows by whole tokens of the context, so that a little beyond `first` some volumes may not fit
    last = min(tokens, first + math.ceil(covers / (1 - mask_set.context)))
    return next((valid + 1 for valid in range(last, first, -1) if not fits(valid)), first)


def _counts_of_set(mask_set: MaskSet, covers: int, valid: int) -> TokenCounts:
    counts = TokenCounts(_tokens(mask_set.context, valid), _tokens(mask_set.target, valid), covers)
    if covers > 1:
        # a share of the volume, not of its tokens; rounded down, so that T fits
        share = mask_set.context <= 1
        return counts._replace(K=max(1, int(mask_set.context * valid / covers))) if share else counts
    if counts.needed == valid + 1 and max(mask_set.context, mask_set.target) <= 1:
        # both were rounded up; in a volume of one token they do not fit
        K = counts.K if counts.T > 1 else max(1, counts.K - 1)
        return TokenCounts(K, max(1, counts.T - 1))
    return counts


def _tokens(value: float, valid: int) -> int:
    return int(value) if value > 1 else max(1, round(value * valid))


def _check_count(name: str, value: float, tokens: int) -> None:
    if value <= 0 or (value > 1 and value != int(value)):
        raise UsageError(
            f"{name}: found {value}, want a share in (0, 1] of a volume's valid tokens (at most "
            f"{tokens}), or a whole number > 1"
        )
