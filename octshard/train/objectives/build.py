"""The objective that a config names: found, checked, made."""

import torch

from octshard.config import fields
from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.models import position
from octshard.rng import seed_for
from octshard.train.objectives import token_counts
from octshard.train.objectives.byol import Byol
from octshard.train.objectives.mae import Mae
from octshard.train.objectives.objective import Objective
from octshard.train.objectives.vjepa2 import VJepa2
from octshard.train.objectives.vjepa2_1 import VJepa21

CLASSES: dict[str, type[Objective]] = {"vjepa2": VJepa2, "vjepa2_1": VJepa21, "byol": Byol, "mae": Mae}


def objective_class(cfg: TrainConfig) -> type[Objective]:
    """That of objective.name, one of the choices of its key."""
    return CLASSES[cfg.objective.name]


def idle_keys(cfg: TrainConfig) -> dict[str, str]:
    """Keys of the config that change nothing with objective.name, and why."""
    names_of = dict[str, list[str]]()
    for name, each in CLASSES.items():
        for key in each.keys:
            names_of.setdefault(key, []).append(name)
    others = {
        key: f"objective.name is {cfg.objective.name}, want {' or '.join(names)}"
        for key, names in names_of.items()
        if cfg.objective.name not in names
    }
    return {**others, **objective_class(cfg).idle}


def build(cfg: TrainConfig) -> Objective:
    """On the CPU, its weights a function of run.seed; all checks run before anything is allocated."""
    check(cfg)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("model", cfg.run.seed))
        return objective_class(cfg)(cfg)  # type: ignore[call-arg]


def weight_shapes(cfg: TrainConfig) -> dict[str, tuple[int, ...]]:
    """Of all that the state of `build(cfg)` holds, by name; no weight is allocated."""
    with torch.device("meta"):
        objective = objective_class(cfg)(cfg)  # type: ignore[call-arg]
    return {name: tuple(tensor.shape) for name, tensor in objective.state_dict().items()}


def check(cfg: TrainConfig) -> None:
    """UsageError for values out of bounds, and for mask sets or model sizes that cannot be built."""
    fields.check(cfg)
    if cfg.model.preset is not None:
        raise UsageError(
            f"model.preset={cfg.model.preset}: `config.load` puts numbers in its place, want these"
        )
    token_counts.check(cfg)
    for group, width in (("model", cfg.model.width), ("predictor", cfg.predictor.width)):
        if int(width * cfg.model.mlp_ratio) < 1:
            raise UsageError(
                f"model.mlp_ratio={cfg.model.mlp_ratio}: {group}.width {width} gives an MLP of no width"
            )
    position.check("model", cfg.model.position, cfg.model.width, cfg.model.heads)
    objective_class(cfg).check(cfg)
