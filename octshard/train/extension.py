"""A run that is made longer: which scheduled numbers jump where it goes on.

Schedules are functions of samples seen and the length, so a longer run goes on as if it had been planned so
from its beginning. Where no number jumps, it is that run.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from octshard.config import on_resume
from octshard.config.load import load_saved
from octshard.config.train import TrainConfig
from octshard.train import optim
from octshard.train.objectives import curriculum
from octshard.train.objectives.build import objective_class
from octshard.train.plan import Plan, length_of

SCHEDULED = ("lr", "weight_decay", "ema")


class Extension(NamedTuple):
    """samples: the old length and the new one; jumps: of each number that is another one by the new length,
    both, at the samples that are seen.
    """

    samples: tuple[int, int]
    jumps: Mapping[str, tuple[float, float]]

    def text(self) -> str:
        """Both, in words."""
        jumps = " and ".join(f"{name} from {old:.4g} to {new:.4g}" for name, (old, new) in self.jumps.items())
        length = f"{self.samples[0]} samples are {self.samples[1]} now"
        return f"{length}, which takes {jumps} at once" if jumps else length

    def record(self) -> dict[str, Any]:
        """As changes.json keeps it."""
        return {
            "samples": list(self.samples),
            "jumps": {name: list(pair) for name, pair in self.jumps.items()},
        }


def find_extension(
    cfg: TrainConfig, plan: Plan, payload: Mapping[str, Any], changes: Mapping[str, Any]
) -> Extension | None:
    """None if the length is not all that changed since `payload`, or the run is shorter now."""
    if not changes.keys() <= set(on_resume.LENGTH):
        return None
    before = load_saved(TrainConfig, payload["config"], cfg.run.out)
    old, new = length_of(before, plan.samples_per_epoch), plan.length
    if new.total < old.total:
        return None
    pair = _numbers(before, old, payload), _numbers(cfg, new, payload)
    jumps = {name: (value, pair[1][name]) for name, value in pair[0].items() if value != pair[1][name]}
    return Extension((old.total, new.total), jumps)


def _numbers(cfg: TrainConfig, length: optim.Length, payload: Mapping[str, Any]) -> dict[str, float]:
    """What the length of a run decides, at the samples that are seen; of masks the next step's."""
    samples, stages = payload["samples_seen"], len(curriculum.stages(cfg))
    scalars = optim.scalars_at(payload["step"], samples, length, cfg)
    ramps = objective_class(cfg).ramps(cfg, min(1.0, scalars.progress))
    stage = curriculum.stage_at(samples, cfg.run.global_batch, length.total, stages)
    return {**{name: getattr(scalars, name) for name in SCHEDULED}, **ramps, "mask_stage": stage}
