"""`${...}` in settings: `${run.seed}` points at another key, `${oc.env:NAME}` calls a resolver.

A resolver reads what lies outside of the config, such as the environment, and configs are written into run
folders, checkpoints and W&B. So only keys that are places (`Rule.place`) may call one, and what it gives
reaches no other key and no error line. A saved config holds plain values: nothing in it is resolved.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser as Grammar
from omegaconf.grammar_parser import parse

from octshard.errors import UsageError

START = re.compile(r"(\\*)\$\{")
MASK = "\N{FULL BLOCK}"  # stands for what a resolver gave, to see where it goes


def escape(value: Any) -> Any:
    """`value` with every text such that OmegaConf gives it back as it is, also where it holds `${`."""
    if isinstance(value, Mapping):
        return {name: escape(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [escape(item) for item in value]
    return START.sub(r"\1\1\\${", value) if isinstance(value, str) else value


def check_plain(values: Any, origin: str) -> None:
    """UsageError if a saved config holds an interpolation; its value is not shown."""
    for key, text in _texts(values):
        if _contexts(text, Grammar.InterpolationContext):
            raise UsageError(
                f"{origin}: {key} is an interpolation, want the plain values that octshard saves"
            )


def check_resolvers(layer: Any, places: Collection[str], origin: str) -> None:
    """UsageError for the first key that calls a resolver and is none of `places`."""
    for key, text in _texts(layer):
        if _setting(key) not in places and _calls_resolver(text):
            raise UsageError(
                f"config {origin}: {key} calls a resolver, which only {_listed(places)} may; "
                f"want the value itself"
            )


def resolve_places(merged: DictConfig, places: Mapping[str, str]) -> None:
    """Puts what resolvers give into `merged`; places: key -> type in words.

    UsageError if a resolver fails, or if another key points at what one gave.
    """
    plain: Any = OmegaConf.create(OmegaConf.to_container(merged))  # without types, whose errors show values
    masked = plain.copy()
    for key, text in _texts(plain):
        if _calls_resolver(text):
            in_list = places[_setting(key)].startswith("list") and key in places
            try:
                value = OmegaConf.select(plain, key)
                items = OmegaConf.to_container(value, resolve=True) if isinstance(value, Container) else value
                several = [items] if in_list and not isinstance(items, list) else items
                OmegaConf.update(merged, key, escape(several))
            except OmegaConfBaseException:
                raise UsageError(
                    f"config: {key}={text}: gives no {places[_setting(key)]}; is what it names set?"
                ) from None
            OmegaConf.update(masked, key, [MASK] if in_list else MASK)
    for key, text in _texts(masked):
        if _setting(key) not in places and MASK in _outcome(masked, key):
            raise UsageError(
                f"config: {key}={text}: points at what a resolver gives, which only {_listed(places)} may"
            )


def _outcome(values: Any, key: str) -> str:
    """The value of a key, or the error that it gives."""
    try:
        return repr(OmegaConf.select(values, key))
    except OmegaConfBaseException as error:
        return str(error)


def _texts(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, text as it is written) of every text in a container."""
    value = node._value() if isinstance(node, Node) else node
    if isinstance(value, str):
        yield key, value
    elif isinstance(node, DictConfig) and value is not None:
        for name in map(str, node):
            yield from _texts(node._get_node(name), f"{key}.{name}" if key else name)
    elif isinstance(node, ListConfig) and value is not None:
        for i in range(len(node)):
            yield from _texts(node._get_node(i), f"{key}[{i}]")


def _calls_resolver(text: str) -> bool:
    return _contexts(text, Grammar.InterpolationResolverContext)


def _contexts(text: str, kind: type) -> bool:
    """Whether the text holds a part of this kind of OmegaConf's grammar, which knows escapes and nesting."""
    nodes = [parse(text)] if "${" in text else []
    while nodes:
        node = nodes.pop()
        if isinstance(node, kind):
            return True
        nodes += getattr(node, "children", None) or []
    return False


def _setting(key: str) -> str:
    return key.partition("[")[0]


def _listed(places: Collection[str]) -> str:
    *others, last = places
    return f"{', '.join(others)} and {last}" if others else last
