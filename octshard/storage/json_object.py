"""JSON objects as octshard writes them beside its data: read back, or one line on what is damaged."""

import dataclasses
import json
from typing import Any, TypeVar, get_type_hints

from octshard.errors import OctshardError
from octshard.storage import store

Kind = TypeVar("Kind")


class DamagedJson(OctshardError):
    """Not the JSON object that was written; the message names the file and what it is instead."""


def read(url: str) -> dict[str, Any]:
    """The object in the file `url`; FileNotFoundError if there is none, DamagedJson if it holds no object."""
    return parse(store.read(url), url)


def parse(data: bytes | str, name: str) -> dict[str, Any]:
    """The object in the text `data`, which errors call `name`."""
    if not data.strip():
        raise DamagedJson(f"{name}: empty, want a JSON object")
    try:
        value = json.loads(data)
        if (b"\\ud" if isinstance(data, bytes) else "\\ud") in data.lower():  # type: ignore[operator]
            json.dumps(value, ensure_ascii=False).encode()  # half a character is no text, and no path
    except RecursionError:
        raise DamagedJson(f"{name}: brackets in brackets without end, want a JSON object") from None
    except ValueError as error:
        raise DamagedJson(f"{name}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise DamagedJson(f"{name}: JSON of a {type(value).__name__}, want an object")
    return value


def as_record(values: dict[str, Any], kind: type[Kind], name: str) -> Kind:
    """The dataclass `kind` of an object that has its fields, each of its type; else DamagedJson.

    A field with a default may be missing: files from before there was one stay readable.
    """
    hints, fields = get_type_hints(kind), dataclasses.fields(kind)  # type: ignore[arg-type]
    required = {field.name for field in fields if field.default is dataclasses.MISSING}
    if different := sorted((required - {*values}) | ({*values} - {*hints})):
        raise DamagedJson(f"{name}: missing or unknown fields {different}, want {sorted(hints)}")
    for field in fields:
        if field.name not in values:
            continue
        value, hint = values[field.name], hints[field.name]
        if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
            raise DamagedJson(f"{name}: {field.name} = {value!r}, want {getattr(hint, '__name__', hint)}")
    return kind(**values)
