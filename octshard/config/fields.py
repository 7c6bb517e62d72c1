"""FIELDS"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import field
from typing import Any, get_type_hints


def speed(default: Any) -> Any:
    """A field that changes the speed or the place of a run, not its result."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"speed": True})
    return field(default=default, metadata={"speed": True})


def several(*values: Any) -> Any:
    """A list-valued default."""
    return field(default_factory=lambda: list(values))


def result_values(cfg: Any) -> dict[str, Any]:
    """Dotted key -> value of every field that changes the result (not those made by `speed`)."""
    return dict(_leaves(cfg, "", with_speed=False))


def digest(cfg: Any) -> str:
    """16 hex digits that change exactly when a value that changes the result does."""
    text = json.dumps(result_values(cfg), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Lines `key: old -> new` between two `result_values`."""
    keys = sorted(set(old) | set(new))
    return [f"{key}: {old.get(key)!r} -> {new.get(key)!r}" for key in keys if old.get(key) != new.get(key)]


def _leaves(value: Any, prefix: str, *, with_speed: bool) -> Iterator[tuple[str, Any]]:
    for item in dataclasses.fields(value):
        if item.metadata.get("speed") and not with_speed:
            continue
        child, name = getattr(value, item.name), f"{prefix}{item.name}"
        if dataclasses.is_dataclass(child):
            yield from _leaves(child, name + ".", with_speed=with_speed)
        elif isinstance(child, list) and child and dataclasses.is_dataclass(child[0]):
            yield name, [dataclasses.asdict(entry) for entry in child]
        else:
            yield name, child


def known_keys(kind: type, prefix: str = "") -> list[str]:
    """Every dotted key of a config class."""
    keys = []
    for name, hint in get_type_hints(kind).items():
        keys.append(prefix + name)
        if dataclasses.is_dataclass(hint):
            keys += known_keys(hint, prefix + name + ".")  # type: ignore[arg-type]
    return keys
