"""Docstrings are plain text: `SHARDS/<device>` in one is no HTML tag."""

import re
from typing import Any

import griffe

CODE = re.compile(r"(`[^`]*`)")  # keeps its angle brackets as they are


class PlainText(griffe.Extension):
    """Escapes angle brackets outside of code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            parts = CODE.split(obj.docstring.value)
            obj.docstring.value = "".join(
                part if part.startswith("`") else part.replace("<", "&lt;") for part in parts
            )
