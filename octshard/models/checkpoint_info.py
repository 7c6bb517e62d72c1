"""The .json beside a checkpoint, and the score in it that says which checkpoint of a run is the best."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

SKILL = "skill"  # of validation: the name of its score is this, or begins with it and names the volumes


class CheckpointScore(NamedTuple):
    """What says which checkpoint is the best, the higher the better: skill, a probe, or a robustness index.
    Only scores of one name are compared.
    """

    name: str
    value: float


def skill_score(volumes: str, value: float) -> CheckpointScore:
    """A skill; volumes: a digest of those that it was measured on."""
    return CheckpointScore(f"{SKILL}, {volumes}", value)


@dataclass(frozen=True)
class CheckpointInfo:
    """The .json beside a checkpoint. milestone: the first at or past a quarter of the run, never deleted;
    score, score_name: a CheckpointScore, None where there is none, and in what octshard 0.1 wrote;
    robustness, robustness_name: the same of the robustness index.
    """

    name: str
    step: int
    samples_seen: int
    sha256: str
    bytes: int
    val_loss: float | None
    milestone: bool
    score: float | None = None
    score_name: str = ""
    robustness: float | None = None
    robustness_name: str = ""


def with_score(info: CheckpointInfo, score: CheckpointScore | None) -> CheckpointInfo:
    """`info` with `score` in place of what it had, unless that is None or no finite number."""
    if score is None or not math.isfinite(score.value):
        return info
    return dataclasses.replace(info, score=score.value, score_name=score.name)


def with_robustness(info: CheckpointInfo, score: CheckpointScore | None) -> CheckpointInfo:
    """`info` with a robustness index in place of what it had, as `with_score`."""
    if score is None or not math.isfinite(score.value):
        return info
    return dataclasses.replace(info, robustness=score.value, robustness_name=score.name)


def best(infos: Sequence[CheckpointInfo]) -> CheckpointInfo | None:
    """The highest score; None if there is none. infos: oldest first.

    Skills are compared only as long as no probe has judged one; of several names, only that of the newest.
    """
    scored = [info for info in infos if info.score is not None]
    probed = [info for info in scored if info.score_name.split(",")[0] != SKILL] or scored
    same = [info for info in probed if info.score_name == probed[-1].score_name]
    return max(same, key=lambda info: cast(float, info.score), default=None)


def best_robustness(infos: Sequence[CheckpointInfo]) -> CheckpointInfo | None:
    """The highest robustness index of the newest name; None if there is none. infos: oldest first."""
    indexed = [info for info in infos if info.robustness is not None]
    same = [info for info in indexed if info.robustness_name == indexed[-1].robustness_name]
    return max(same, key=lambda info: cast(float, info.robustness), default=None)
