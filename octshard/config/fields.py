"""What a setting is: its default, meaning, unit and bounds beside each other, and what follows from them.

A setting made with `speed=True` changes how fast a run goes or where it lies, never its result: it stays out
of the digest and may differ on resume.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from octshard.config import expression
from octshard.errors import UsageError

INDENT = "."  # joins the names of a dotted key
# Limits of what has no bound of its own: far beyond any use, so that a slip of the pen is an error at once.
MANY = 10**9  # samples, steps, passes
MANY_BYTES = 2**62
MANY_THREADS = 1024  # or processes, or connections
SEEDS = 2**63  # seeds are below it


@dataclass(frozen=True)
class Rule:
    """What a value may be. Bounds and choices hold for every element of a list."""

    doc: str
    unit: str = ""
    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf  # as least, but itself not allowed
    below: float = math.inf
    limit: float = math.inf  # of the absolute value: beyond it is a slip of the pen; not listed
    choices: tuple[str, ...] = ()
    length: int | None = None  # of a list
    least_length: int = 0
    speed: bool = False
    later: bool = False  # newer than 0.1.0: at its default it is in no digest, so that older folders agree
    place: bool = False  # a path or URL, which may come from a resolver: ${oc.env:NAME}

    def problem(self, value: Any) -> str:
        """What is wanted instead of `value`, or nothing if it may stand."""
        if value is None:
            return ""
        values = value if isinstance(value, list) else [value]
        few = len(values) != self.length if self.length is not None else len(values) < self.least_length
        if not few and all(map(self._allows, values)):
            return ""
        unbounded = self.most == self.below == math.inf
        odd = any(isinstance(item, float) and not math.isfinite(item) for item in values)
        far = not odd and any(self._is_far(item) for item in values)
        parts = [
            "a finite number" if odd and unbounded else "",
            self.bounds(),
            f"no more than {self.limit:g} in size" if far else "",
        ]
        return f"want {', '.join(filter(None, parts))}"

    def _allows(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return (
            self.least <= value <= self.most and self.above < value < self.below and not self._is_far(value)
        )

    def _is_far(self, value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and not abs(value) <= self.limit  # nan is far too

    def bounds(self) -> str:
        """The rule in words, such as `3 numbers, at least 1`; empty if any value of the type will do."""
        if self.length is not None:
            number = {2: "two numbers", 3: "three numbers"}.get(self.length, f"{self.length} numbers")
            parts = [f"{number}, each {self._range()}" if self._range() else number]
        elif self.least_length:
            parts = [f"at least {self.least_length}" + (f", each {self._range()}" if self._range() else "")]
        else:
            parts = [self._range()]
        return parts[0]

    def _range(self) -> str:
        if self.choices:
            *others, last = self.choices
            return f"{', '.join(others)} or {last}" if others else last
        low = f"at least {self.least:g}" if self.least > -math.inf else ""
        low = f"more than {self.above:g}" if self.above > -math.inf else low
        high = f"at most {self.most:g}" if self.most < math.inf else ""
        high = f"less than {self.below:g}" if self.below < math.inf else high
        if self.least > -math.inf and self.most < math.inf:
            return f"{self.least:g} to {self.most:g}"
        return " and ".join(bound for bound in (low, high) if bound)


@dataclass(frozen=True)
class Setting:
    """One dotted key of a config class, as `octshard config` lists it."""

    key: str
    type: str
    default: Any
    rule: Rule


def field(default: Any, doc: str, **rule: Any) -> Any:
    """A dataclass field with a default, a meaning and a `Rule`; a list default is copied."""
    metadata = {"rule": Rule(doc, **rule)}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def group(kind: type, doc: str = "") -> Any:
    """A field that holds another config class."""
    return dataclasses.field(default_factory=kind, metadata={"rule": Rule(doc)})


def ruled(cfg: Any) -> Iterator[tuple[str, Any, Rule]]:
    """Dotted key, value and rule of every field of `cfg`; a list of groups is the values of each."""
    for item in dataclasses.fields(cfg):
        child, rule = getattr(cfg, item.name), rule_of(item)
        if dataclasses.is_dataclass(child):
            yield from ((item.name + INDENT + key, value, inner) for key, value, inner in ruled(child))
        elif _is_group_list(child):
            yield item.name, [dataclasses.asdict(element) for element in child], rule
        else:
            yield item.name, child, rule


def check(cfg: Any, prefix: str = "") -> None:
    """UsageError names the first value of `cfg` that its rule does not allow: key, value, what is wanted.

    prefix: stands before every key, such as `run.` where `cfg` is a group.
    """
    for key, value, rule in _ruled(cfg, prefix):
        if problem := rule.problem(value):
            shown = list(value) if isinstance(value, list) else value
            raise UsageError(f"{key}={shown}: {problem}")


def settings(kind: type, prefix: str = "") -> Iterator[Setting]:
    """Every setting of a config class, groups flattened; of a list of groups the keys of one element."""
    hints = get_type_hints(kind)
    for item in dataclasses.fields(kind):
        hint, key = hints[item.name], prefix + item.name
        inner = element_class(hint)
        if dataclasses.is_dataclass(hint):
            yield from settings(hint, key + INDENT)  # type: ignore[arg-type]
        elif inner is not None:
            yield from settings(inner, f"{key}[i]{INDENT}")
        else:
            make: Any = item.default_factory
            default = make() if item.default is dataclasses.MISSING else item.default
            yield Setting(key, type_name(hint), default, rule_of(item))


def type_name(hint: Any) -> str:
    """A type in words: whole number, number, text, true or false, list of ..."""
    names = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    if hint in names:
        return names[hint]
    arguments: Sequence[Any] = getattr(hint, "__args__", ())
    if getattr(hint, "__origin__", None) is list:
        plurals = {
            "text": "text",
            "true or false": "true or false",
            "group of settings": "groups of settings",
        }
        name = type_name(arguments[0])
        return f"list of {plurals.get(name, name + 's')}"
    if type(None) in arguments:
        return f"{type_name(next(a for a in arguments if a is not type(None)))} or null"
    return "group of settings"


def element_class(hint: Any) -> type | None:
    """MaskSet for list[MaskSet]; None for anything else."""
    for argument in getattr(hint, "__args__", ()):
        if dataclasses.is_dataclass(argument) and isinstance(argument, type):
            return argument
    return None


def rule_of(item: "dataclasses.Field[Any]") -> Rule:
    """The rule of a dataclass field."""
    rule: Rule = item.metadata["rule"]
    return rule


def result_values(cfg: Any) -> dict[str, Any]:
    """Dotted key -> value of every field that changes the result (all but those with `speed`)."""
    return dict(_leaves(cfg, ""))


def digest(cfg: Any) -> str:
    """16 hex digits that change exactly when a value that changes the result does."""
    values = {key: _compared(key, value) for key, value in result_values(cfg).items()}
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Key -> (old, new) of what differs between two `result_values`."""
    keys = sorted(set(old) | set(new))
    pairs = {key: (old.get(key), new.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if _compared(key, pair[0]) != _compared(key, pair[1])}


def _compared(key: str, value: Any) -> Any:
    """An expression in one spelling, any other value as it is."""
    is_expression = isinstance(value, str) and key.rpartition(INDENT)[2] in expression.KEYS
    return expression.canonical(value) if is_expression else value


def change_lines(changes: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Lines `key: old -> new`."""
    return [f"{key}: {old!r} -> {new!r}" for key, (old, new) in changes.items()]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The `change_lines` between two `result_values`."""
    return change_lines(changes(old, new))


def known_keys(kind: type, prefix: str = "") -> list[str]:
    """Every dotted key of a config class, those of groups too."""
    keys = []
    for name, hint in get_type_hints(kind).items():
        keys.append(prefix + name)
        if dataclasses.is_dataclass(hint):
            keys += known_keys(hint, prefix + name + INDENT)  # type: ignore[arg-type]
    return keys


def _ruled(value: Any, prefix: str) -> Iterator[tuple[str, Any, Rule]]:
    for item in dataclasses.fields(value):
        child, key = getattr(value, item.name), prefix + item.name
        if dataclasses.is_dataclass(child):
            yield from _ruled(child, key + INDENT)
            continue
        yield key, child, rule_of(item)
        if _is_group_list(child):
            for i, element in enumerate(child):
                yield from _ruled(element, f"{key}[{i}]{INDENT}")


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for item in dataclasses.fields(value):
        child, key = getattr(value, item.name), prefix + item.name
        if rule_of(item).speed or (rule_of(item).later and child == item.default):
            continue
        if dataclasses.is_dataclass(child):
            yield from _leaves(child, key + INDENT)
        elif _is_group_list(child):
            yield key, [dataclasses.asdict(element) for element in child]
        else:
            yield key, child


def _is_group_list(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and dataclasses.is_dataclass(value[0])
