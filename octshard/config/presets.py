"""Encoders whose size has a name. A preset stands for its numbers alone: these are what is saved."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from octshard.config.model import PRESETS
from octshard.errors import UsageError


def names_one(layer: Any) -> bool:
    """Whether this layer of a config names a preset."""
    return _name_in(layer) is not None


def expand(layer: Any) -> None:
    """Puts the numbers of the preset that `layer` names beside it, where it does not give them itself."""
    name = _name_in(layer)
    if name is not None and OmegaConf.is_interpolation(layer.model, "preset"):
        raise UsageError(f"model.preset={name} is an interpolation, want {', '.join(PRESETS)}")
    for key, value in PRESETS.get(str(name), {}).items():
        if key not in layer.model:
            layer.model[key] = value


def settle(merged: Any) -> None:
    """UsageError where a number was given beside or after the preset that is not its own; else the preset has
    done its work, and goes.
    """
    name = _name_in(merged)
    for key, value in PRESETS.get(str(name), {}).items():
        given = OmegaConf.select(merged, f"model.{key}")
        if given != value:
            raise UsageError(
                f"model.preset={name} is model.{key}={value}, and model.{key}={given} is given too: want one "
                "of them"
            )
    if name in PRESETS:
        merged.model.preset = None


def _name_in(values: Any) -> Any:
    """As it is written."""
    model = values._get_node("model") if isinstance(values, DictConfig) and "model" in values else None
    node = model._get_node("preset") if isinstance(model, DictConfig) and "preset" in model else None
    return None if node is None else node._value()
