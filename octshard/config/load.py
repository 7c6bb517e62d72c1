"""YAML files and KEY=VALUE words over the defaults of a config class, strictly.

An unknown key, a wrong type or a value out of bounds is a UsageError that names the key, what was found and
what is wanted. A default lives in the config classes, once.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from omegaconf import DictConfig, ListConfig, Node, OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException
from yaml import AliasEvent, YAMLError

import octshard
from octshard.config import presets
from octshard.config.fields import check, element_class, known_keys, settings, type_name
from octshard.config.interpolation import check_plain, check_resolvers, escape, resolve_places
from octshard.config.kinds import CLASSES
from octshard.config.train import TrainConfig
from octshard.config.translation import foreign
from octshard.errors import UsageError

Config = TypeVar("Config")

# what octshard 0.1 called otherwise: an error says the new name, an old checkpoint is read in the new words
RENAMED_KEYS = {"data.shuffle_window": "data.shuffle_block_size"}
RENAMED_VALUES = {("objective.name", "seed"): "byol"}
EXACT = 2**53  # up to here every whole number is a float of its own
_NOT_YAML = re.compile(r"\s*(\{|('[^']*'|\"[^\"]*\")\s*[^\s'\"])")  # {key}.npy; 'word' in flags
_WHOLE = re.compile(r"[+-]?\d+(\.\d*)?[eE][+]?\d+")
BOOLEANS = ("true", "false", "yes", "no", "on", "off", "1", "0")


def load(kind: type[Config], files: Sequence[str | Path] = (), overrides: Sequence[str] = ()) -> Config:
    """Defaults < files in order < KEY=VALUE overrides, then `fields.check`.

    A file is a path, or the name of a shipped config without `.yaml`. One value where a list is wanted is a
    list of one. A preset replaces what earlier files say; a word or a later file that denies it is an error.
    """
    return _merge(kind, _layers(kind, files, overrides))


def load_saved(kind: type[Config], text: str, origin: str) -> Config:
    """The config that `save` wrote: plain values, nothing is resolved. origin: names it in errors."""
    return _merge(kind, [(origin, _saved(text, origin))])


def save(cfg: Any) -> str:
    """`cfg` as YAML text, every key written."""
    return OmegaConf.to_yaml(OmegaConf.create(escape(dataclasses.asdict(cfg))))


def upgrade(text: str, origin: str) -> str:
    """The YAML text of a config that octshard 0.1 saved, in today's keys and values."""
    values = _saved(text, origin)
    for old, new in RENAMED_KEYS.items():
        if (value := OmegaConf.select(values, old)) is not None:
            parent, _, name = old.rpartition(".")
            OmegaConf.select(values, parent).pop(name)
            OmegaConf.update(values, new, value)
    for (key, old), new in RENAMED_VALUES.items():
        if OmegaConf.select(values, key) == old:
            OmegaConf.update(values, key, new)
    return OmegaConf.to_yaml(values)


def _merge(kind: type[Config], layers: Iterable[tuple[str, Any]]) -> Config:
    merged = OmegaConf.structured(kind)
    places = {setting.key: setting.type for setting in settings(kind) if setting.rule.place}
    for origin, layer in layers:
        if not isinstance(layer, DictConfig):
            raise UsageError(f"config {origin}: found a {type(layer).__name__}, want key: value pairs")
        try:
            check_resolvers(layer, places, origin)
            _check_words(kind, layer, origin)
            _check_layer(kind, layer, origin)
            presets.expand(layer)
            merged = OmegaConf.merge(merged, layer)
        except OmegaConfBaseException as error:
            raise UsageError(f"config {origin}: {_one_line(error)}") from error
    resolve_places(merged, places)
    try:
        presets.settle(merged)
        cfg: Config = OmegaConf.to_object(merged)  # type: ignore[assignment]
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere
        raise UsageError(f"config: {_one_line(error)}") from error
    check(cfg)
    return cfg


def _check_words(kind: type, layer: DictConfig, origin: str) -> None:
    """UsageError if a layer of `train` speaks of settings as other projects do: all such keys at once."""
    lines = foreign(layer) if kind is TrainConfig else []
    if lines:
        advice = "" if "=" in origin else f"; octshard config --translate {origin} writes it with our keys"
        raise UsageError(f"config {origin}: {'; '.join(lines)}{advice}")


def shipped_configs(name: str = "train") -> dict[str, Path]:
    """Name -> path of the YAML files that come with octshard for one of `kinds`; none for `eval`."""
    folder = "" if name == "train" else name
    package = Path(octshard.__file__).parent
    root = package / "configs" if (package / "configs").is_dir() else package.parent / "configs"
    return {path.stem: path for path in sorted((root / folder).glob("*.yaml"))}


def _layers(kind: type, files: Sequence[str | Path], overrides: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """(origin, values) of every file and word, whose order says nothing: one that names a preset first."""
    for file in files:
        yield str(file), read_layer(kind, file)
    yield from sorted(_parsed(kind, overrides), key=lambda word: not presets.names_one(word[1]))


def _parsed(kind: type, words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for word in words:
        if "=" not in word:
            raise UsageError(f"{word!r}: want KEY=VALUE, for example run.seed=1")
        try:
            yield word, _parse_word(kind, word)
        except (YAMLError, GrammarParseError) as error:
            raise UsageError(f"config {word}: not YAML: {' '.join(str(error).split())}") from error


def _saved(text: str, origin: str) -> Any:
    try:
        if any(isinstance(event, AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise UsageError(f"{origin}: its config holds a YAML alias, want what octshard saves")
        values = OmegaConf.create(text)
        check_plain(values, origin)
    except (YAMLError, OmegaConfBaseException, RecursionError) as error:
        raise UsageError(f"{origin}: its config is not YAML: {' '.join(str(error).split())}") from error
    return values


def _parse_word(kind: type, word: str) -> DictConfig:
    """The values of one KEY=VALUE. Text stays as it is written: run.out=007, run.wandb=off, {key}.npy."""
    key, text = word.split("=", 1)
    types = {setting.key: setting.type for setting in settings(kind)}
    if types.get(key) == "text" and _NOT_YAML.match(text):
        as_written = OmegaConf.create({})
        OmegaConf.update(as_written, key, text.strip())
        return as_written
    layer = OmegaConf.from_dotlist([word])
    if types.get(key) in ("text", "list of text"):
        value = OmegaConf.select(layer, key, throw_on_resolution_failure=False)
        if isinstance(value, int | float):
            OmegaConf.update(layer, key, text.strip())
    return layer


def read_layer(kind: type, file: str | Path) -> Any:
    """The values of a YAML file, or of a shipped config, as they are written; UsageError if it is neither."""
    try:
        return OmegaConf.load(file)
    except (FileNotFoundError, IsADirectoryError) as error:  # a run folder may be called like a config
        shipped = next((shipped_configs(name) for name, known in CLASSES.items() if known is kind), {})
        if str(file) in shipped:
            return OmegaConf.load(shipped[str(file)])
        problem = "a folder" if isinstance(error, IsADirectoryError) else "no such file"
        names = f" or one of {', '.join(shipped)}" if shipped else ""
        raise UsageError(f"config {file}: {problem}, want a path{names}") from None
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"config {file}: not YAML: {' '.join(str(error).split())}") from error


def _check_layer(
    kind: type, layer: DictConfig, origin: str, prefix: str = "", root: type | None = None
) -> None:
    """UsageError for the first key that `kind` does not have and the first value of a wrong type."""
    hints, root = get_type_hints(kind), root or kind
    for name in list(layer):
        key = f"{prefix}{name!s}"
        if name not in hints:
            raise UsageError(f"config {origin}: {_unknown(key, str(name), hints, root)}")
        node, hint = layer._get_node(name), hints[name]
        if OmegaConf.is_missing(layer, name):
            raise _type_error(node, hint, key, origin)
        if dataclasses.is_dataclass(hint) and isinstance(node, DictConfig):
            _check_layer(hint, node, origin, key + ".", root)  # type: ignore[arg-type]
            continue
        if (
            _is_list(hint)
            and not isinstance(node, ListConfig)
            and not (_is_interpolation(node) or layer[name] is None)
        ):
            layer[name] = [layer[name]]  # one folder where a list of folders is wanted
            node = layer._get_node(name)
        inner = element_class(hint)
        if inner is not None and isinstance(node, ListConfig):
            for i in range(len(node)):
                element = node._get_node(i)
                if not isinstance(element, DictConfig):
                    raise UsageError(
                        f"config {origin}: {key}[{i}] is {_shown(element)}, want key: value pairs"
                    )
                _check_layer(inner, element, origin, f"{key}[{i}].", inner)
            continue
        _check_type(node, hint, key, origin)
        _set_whole(layer, name, hint)
        value = None if _is_interpolation(node) else layer[name]
        if isinstance(value, str) and (new := RENAMED_VALUES.get((key, value))):
            raise UsageError(f"config {origin}: {key}={value} is called {key}={new} now")


def _unknown(key: str, name: str, hints: dict[str, Any], root: type) -> str:
    if key in RENAMED_KEYS:
        return f"{key} is called {RENAMED_KEYS[key]} now"
    everything = known_keys(root)
    by_last = {known.rsplit(".", 1)[-1]: known for known in reversed(everything)}
    close = difflib.get_close_matches(key, everything, 1) or [
        by_last[match] for match in difflib.get_close_matches(name, list(by_last), 1)
    ]
    advice = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(hints))}"
    return f"unknown key {key}; {advice}"


def _check_type(node: Any, hint: Any, key: str, origin: str) -> None:
    """UsageError unless the value of `node` is of type `hint`, or a text that says one."""
    if _is_interpolation(node):
        return  # known only when all layers are merged
    if _is_list(hint) and isinstance(node, ListConfig):
        for i in range(len(node)):
            _check_type(node._get_node(i), hint.__args__[0], f"{key}[{i}]", origin)
        return
    plain = next((kind for kind in getattr(hint, "__args__", (hint,)) if kind is not type(None)), hint)
    value = node._value() if isinstance(node, Node) else node
    optional = type(None) in getattr(hint, "__args__", ())
    if (value is None and optional) or (value is not None and _fits(value, plain)):
        return
    raise _type_error(node, hint, key, origin)


def _type_error(node: Any, hint: Any, key: str, origin: str) -> UsageError:
    name = type_name(hint)
    article = "a " if name.startswith(("whole", "number", "list", "group")) else ""
    quotes = " in quotes, as YAML reads off, no, on and yes as truth values"
    advice = quotes if name == "text" and _shown(node) in ("True", "False") else ""
    return UsageError(f"config {origin}: {key} is {_shown(node)}, want {article}{name}{advice}")


def _fits(value: Any, plain: Any) -> bool:
    if isinstance(value, dict | list) or dataclasses.is_dataclass(plain):
        return False
    if plain is str:
        return not isinstance(value, bool)
    if plain is bool:
        return isinstance(value, bool) or str(value).lower() in BOOLEANS
    if isinstance(value, bool):
        return False
    if plain is int and _whole(value) is not None:
        return True
    if plain is int and isinstance(value, float):
        return False
    try:
        plain(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _whole(value: Any) -> int | None:
    """The whole number that `1e6` or `16.0` is, exactly; None if it is none."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        return int(value)
    return _whole(float(value)) if isinstance(value, str) and _WHOLE.fullmatch(value) else None


def _set_whole(container: Any, key: Any, hint: Any) -> None:
    """Puts a whole number in place of one that is written as 1e6, where `hint` wants such, in lists too."""
    node = container._get_node(key)
    if _is_list(hint) and isinstance(node, ListConfig):
        for i in range(len(node)):
            _set_whole(node, i, hint.__args__[0])
        return
    whole = _whole(node._value()) if isinstance(node, Node) else None
    if whole is not None and int in (hint, *getattr(hint, "__args__", ())):
        container[key] = whole


def _is_list(hint: Any) -> bool:
    return getattr(hint, "__origin__", None) is list


def _is_interpolation(node: Any) -> bool:
    return isinstance(node, Node) and node._is_interpolation()


def _one_line(error: OmegaConfBaseException) -> str:
    """OmegaConf's error without the values of whole groups, after the key that it is about."""
    text = str(error).splitlines()[0].split(". value: ")[0]
    return f"{error.full_key}: {text}" if error.full_key else text


def _shown(node: Any) -> str:
    value = OmegaConf.to_container(node) if isinstance(node, DictConfig | ListConfig) else node._value()
    return "nothing" if value is None else repr(value)
