"""Settings that change nothing beside the others of a run, and are not as by default.

What would make a run another than it says is refused; the rest is said at the start.
"""

from collections.abc import Iterator
from typing import Any

from octshard.config.objective import MaskSet
from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend
from octshard.errors import UsageError
from octshard.train import sequences
from octshard.train.objectives import curriculum
from octshard.train.objectives.build import idle_keys

DIVIDED = "model.attention is divided: volumes stand in planes and columns of one box"
_CUBES = ("ratio", "cube", "ratio_end")
OF_KIND = {  # keys of a mask set
    "blocks": ("blocks", "scale", "aspect"),
    "cubes": _CUBES,
    "retina": (*_CUBES, "band"),
}


def refuse(cfg: TrainConfig, backend: Backend) -> None:
    """UsageError for torch.compile without a GPU, packing without its kernels, or patience without probes: a
    run would be another than it says.
    """
    if cfg.run.compile and backend.device.type == "cpu":
        raise UsageError(
            "run.compile=true: torch.compile is for cuda alone, this run is on the cpu; want false"
        )
    if cfg.run.packing == "on" and cfg.model.attention == "divided":
        raise UsageError(f"run.packing=on: {DIVIDED}; want auto")
    if cfg.run.packing == "on" and backend.sequences == "none":
        raise UsageError(
            f"run.packing=on: {backend.device.type} computes attention between all volumes of a "
            f"sequence, which costs what it saves; want auto"
        )
    if cfg.run.packing == "on" and backend.sequences == "few lengths" and not sequences.heads_fit(cfg):
        group, width = min(sequences.head_widths(cfg).items(), key=lambda item: item[1])
        raise UsageError(
            f"run.packing=on: {group}.heads={getattr(cfg, group).heads} have {width} features each, and "
            f"compiled that needs at least {sequences.LEAST_HEAD}; want fewer heads, or auto"
        )
    if cfg.run.patience and not cfg.run.probe_every:
        raise UsageError(
            f"run.patience={cfg.run.patience}: it counts scores of probes, and run.probe_every is 0; want "
            f"probes, or run.patience=0"
        )


def lines(cfg: TrainConfig, backend: Backend) -> Iterator[str]:
    """`key=value has no effect: why` for each such setting."""
    default = TrainConfig()
    for key, idle, why in _conditions(cfg, backend):
        value, by_default = (_value(each, key) for each in (cfg, default))
        if idle and value != by_default:
            text = str(value).lower() if isinstance(value, bool) else value
            yield f"{key}={text} has no effect: {why}"
    for number, mask_set in enumerate(cfg.objective.masks):
        for name in dict.fromkeys(name for names in OF_KIND.values() for name in names):
            value, kinds = getattr(mask_set, name), [kind for kind in OF_KIND if name in OF_KIND[kind]]
            if mask_set.kind not in kinds and value != getattr(MaskSet(), name):
                key = f"objective.masks[{number}].{name}"
                yield f"{key}={value} has no effect: kind is {mask_set.kind}, want {' or '.join(kinds)}"


def _conditions(cfg: TrainConfig, backend: Backend) -> list[tuple[str, bool, str]]:
    """(key, is it idle?, why)"""
    device = backend.device.type
    return [
        ("objective.mask_stages", not curriculum.is_on(cfg), "no mask set has a ratio_end"),
        ("run.compile", device != "cuda", f"torch.compile is for cuda alone, this run is on {device}"),
        ("run.deterministic", device != "cuda", f"it is for cuda alone, this run is on {device}"),
        ("run.cpu_threads", device != "cpu", f"it is for the cpu alone, this run is on {device}"),
        ("run.packing", cfg.model.attention == "divided", DIVIDED),
        ("run.wandb_project", cfg.run.wandb == "off", "run.wandb is off"),
        ("run.wandb_artifacts", cfg.run.wandb == "off", "run.wandb is off"),
        *(
            (f"run.probe_{name}", not cfg.run.probe_every, "run.probe_every is 0")
            for name in ("participants", "target", "samples", "device", "threads", "timeout_s")
        ),
        ("optim.cooldown", cfg.optim.schedule != "constant", f"optim.schedule is {cfg.optim.schedule}"),
        ("data.cache_bytes", not cfg.data.cache_dir, "data.cache_dir is empty"),
        ("data.max_substitutes", cfg.data.on_bad_sample == "raise", "data.on_bad_sample is raise"),
        *((key, True, why) for key, why in idle_keys(cfg).items()),
    ]


def _value(cfg: TrainConfig, key: str) -> Any:
    group, name = key.split(".")
    return getattr(getattr(cfg, group), name)
