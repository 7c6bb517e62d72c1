"""JSON of results: plain values as text, in which what is not defined (nan) is null."""

import json
import math
from collections.abc import Mapping
from typing import Any


def text_of(value: Any) -> str:
    """As JSON, one field a line."""
    return json.dumps(_plain(value), indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
