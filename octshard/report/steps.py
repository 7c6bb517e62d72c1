"""What to do next: sentences with the commands that do it, as a numbered list."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from octshard.report.page import Html, escaped


@dataclass(frozen=True)
class Step:
    """One thing to do, and the commands for it, ready to be pasted into a shell."""

    text: str
    commands: tuple[str, ...] = ()


def command(*words: str) -> str:
    """The words as a line of a shell, each quoted where it must be."""
    return shlex.join(words)


def setting(key: str, place: str) -> str:
    """The word KEY=PLACE of a path or URL; in quotes of YAML where it would be read as something else."""
    try:
        is_plain = yaml.safe_load(place) == place
    except yaml.YAMLError:
        is_plain = False
    return f"{key}={place if is_plain else json.dumps(place, ensure_ascii=False)}"


def html(steps: Sequence[Step]) -> Html:
    """The numbered list."""
    items = "".join(f"<li>{escaped(step.text)}{_block(step.commands)}</li>" for step in steps)
    return Html(f'<ol class="steps">{items}</ol>')


def _block(commands: Sequence[str]) -> str:
    lines = "\n".join(
        " ".join(f"<span>{escaped(word)}</span>" for word in line.split(" ")) for line in commands
    )
    return f"<pre><code>{lines}</code></pre>" if commands else ""
