"""Every knob, its unit and its default: PrepConfig, TrainConfig, ProbeConfig. A default lives here, once.

`load(TrainConfig, files, overrides)` merges YAML files and KEY=VALUE words over the defaults, strictly: an
unknown key or a wrong type is a UsageError with a suggestion. Fields made by `speed(...)` change how fast
a run goes, never its result: they stay out of the digest and may differ on resume.
"""

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

import octshard
from octshard.config.fields import known_keys
from octshard.errors import UsageError

if TYPE_CHECKING:
    pass


Config = TypeVar("Config")


# what octshard 0.1 called otherwise: an error says the new name, an old checkpoint is read in the new words
RENAMED_KEYS = {"data.shuffle_window": "data.shuffle_block_size"}
RENAMED_VALUES = {("objective.name", "seed"): "byol"}


def load(kind: type[Config], files: Sequence[str | Path] = (), overrides: Sequence[str] = ()) -> Config:
    """Defaults < files in order < KEY=VALUE overrides; unknown keys and wrong types are UsageErrors."""
    merged = OmegaConf.structured(kind)
    layers: list[tuple[str, Any]] = []
    for file in files:
        try:
            layers.append((str(file), OmegaConf.load(file)))
        except FileNotFoundError:
            raise UsageError(f"config {file}: no such file") from None
        except (YAMLError, UnicodeDecodeError, OSError) as error:
            raise UsageError(f"config {file}: not YAML: {' '.join(str(error).split())}") from error
    for word in overrides:
        if "=" not in word:
            raise UsageError(f"{word!r}: want KEY=VALUE, for example run.seed=1")
        try:
            layers.append((word, OmegaConf.from_dotlist([word])))
        except YAMLError as error:
            raise UsageError(f"config {word}: not YAML: {' '.join(str(error).split())}") from error
    for origin, layer in layers:
        if not isinstance(layer, DictConfig):
            raise UsageError(f"config {origin}: found a {type(layer).__name__}, want key: value pairs")
        _reject_unknown(kind, layer, origin)
        _reject_renamed_values(layer, origin)
        try:
            merged = OmegaConf.merge(merged, layer)
        except OmegaConfBaseException as error:
            raise UsageError(f"config {origin}: {str(error).splitlines()[0]}") from error
    try:
        return OmegaConf.to_object(merged)  # type: ignore[return-value]
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere
        raise UsageError(f"config: {str(error).splitlines()[0]}") from error


def save(cfg: Any) -> str:
    """`cfg` as YAML text, every key written."""
    return OmegaConf.to_yaml(OmegaConf.structured(cfg))


def upgrade(text: str) -> str:
    """The YAML text of a config that octshard 0.1 saved, in today's keys and values."""
    values = OmegaConf.create(text)
    for old, new in RENAMED_KEYS.items():
        if (value := OmegaConf.select(values, old)) is not None:
            parent, _, name = old.rpartition(".")
            OmegaConf.select(values, parent).pop(name)
            OmegaConf.update(values, new, value)
    for (key, old), new in RENAMED_VALUES.items():
        if OmegaConf.select(values, key) == old:
            OmegaConf.update(values, key, new)
    return OmegaConf.to_yaml(values)


def _reject_renamed_values(layer: DictConfig, origin: str) -> None:
    for (key, old), new in RENAMED_VALUES.items():
        if OmegaConf.select(layer, key) == old:
            raise UsageError(f"config {origin}: {key}={old} is called {key}={new} now")


def _reject_unknown(
    kind: type, layer: DictConfig, origin: str, prefix: str = "", root: type | None = None
) -> None:
    hints, root = get_type_hints(kind), root or kind
    for name in layer:
        key = f"{prefix}{name!s}"
        if key in RENAMED_KEYS:
            raise UsageError(f"config {origin}: {key} is called {RENAMED_KEYS[key]} now")
        if name not in hints:
            everything = known_keys(root)
            last = {known.rsplit(".", 1)[-1]: known for known in reversed(everything)}
            close = difflib.get_close_matches(key, everything, 1) or [
                last[match] for match in difflib.get_close_matches(str(name), list(last), 1)
            ]
            advice = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(hints))}"
            raise UsageError(f"config {origin}: unknown key {key}; {advice}")
        child = layer._get_node(name)
        inner = _item_class(hints[name])
        if isinstance(child, DictConfig) and dataclasses.is_dataclass(hints[name]):
            _reject_unknown(hints[name], child, origin, key + ".", root)
        elif isinstance(child, ListConfig) and inner is not None:
            for i in range(len(child)):
                if isinstance(child[i], DictConfig):
                    _reject_unknown(inner, child[i], origin, f"{key}[{i}].", inner)


def _item_class(hint: Any) -> type | None:
    """MaskSet for list[MaskSet]; None for anything else."""
    for argument in getattr(hint, "__args__", ()):
        if dataclasses.is_dataclass(argument) and isinstance(argument, type):
            return argument
    return None


def shipped_config(name: str) -> Path:
    """A YAML file of configs/, from a checkout or from an installed wheel."""
    package = Path(octshard.__file__).parent
    folder = package / "configs" if (package / "configs").is_dir() else package.parent / "configs"
    return folder / name
