"""Tables of settings: a line `{{ settings NAME }}` of a page becomes one, made from the config class."""

import html
import re
from typing import Any

from octshard.cli.config import value_text
from octshard.config.fields import Setting, settings
from octshard.config.load import CLASSES

LINE = re.compile(r"^\{\{ settings (\w+) \}\}$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called for the text of every page."""
    return LINE.sub(lambda match: _table(match.group(1)), markdown)


def _table(name: str) -> str:
    lines = ["| key | default | what may be given | meaning |", "|---|---|---|---|"]
    return "\n".join([*lines, *(_row(setting) for setting in settings(CLASSES[name]))])


def _row(setting: Setting) -> str:
    rule = setting.rule
    kind = "; ".join(part for part in (setting.type, rule.bounds(), rule.unit) if part)
    meaning = html.escape(rule.doc, quote=False) + (" (speed only)" if rule.speed else "")
    cells = (f"`{setting.key}`", f"`{value_text(setting.default)}`", kind, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
