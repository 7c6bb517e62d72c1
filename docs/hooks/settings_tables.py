"""Tables of settings: a line `{{ settings NAME }}` of a page becomes one, made from the config class."""

import html
import re
from typing import Any

from octshard.cli.config import value_text
from octshard.config import on_resume
from octshard.config.fields import Setting, settings
from octshard.config.kinds import CLASSES

LINE = re.compile(r"^\{\{ settings (\w+) \}\}$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called for the text of every page."""
    return LINE.sub(lambda match: _table(match.group(1)), markdown)


def _table(name: str) -> str:
    heads = ["key", "default", "what may be given", "meaning", *(["on resume"] if name == "train" else [])]
    rows = (_row(name, setting) for setting in settings(CLASSES[name]))
    return "\n".join([_line(heads), "|---" * len(heads) + "|", *rows])


def _row(name: str, setting: Setting) -> str:
    rule = setting.rule
    kind = "; ".join(part for part in (setting.type, rule.bounds(), rule.unit) if part)
    meaning = html.escape(rule.doc, quote=False)
    cells = [f"`{setting.key}`", f"`{value_text(setting.default)}`", kind, meaning]
    if name == "train":
        return _line([*cells, on_resume.mark(setting)])
    return _line([*cells[:-1], meaning + (" (speed only)" if rule.speed else "")])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
