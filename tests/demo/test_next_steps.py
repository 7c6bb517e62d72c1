"""What to do after the demo: commands on its own folders that the command line takes."""

import html
import re
import shlex

import click

from octshard.cli.main import cli
from octshard.config.eval import EmbedConfig, ReportConfig, RobustnessConfig
from octshard.config.load import load
from octshard.demo import next_steps


def commands(out: str, participants: int) -> list[list[str]]:
    """In words; each is one that the command line takes."""
    blocks = re.findall(r"<code>(.*?)</code>", next_steps.section(out, participants).markup, re.DOTALL)
    texts = [html.unescape(re.sub("</?span>", "", block)) for block in blocks]
    found = [shlex.split(line) for text in texts for line in text.splitlines()]
    for _, *words in found:
        command: click.Command = cli
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        command.make_context(str(command.name), words)
    return found


def test_every_command_is_one_and_names_the_demo_s_own_folders() -> None:
    lines = commands("my demo", 144)
    names = [" ".join(words[1:3]) for words in lines]
    asked = [
        "prep report",
        "preview --config",
        "eval report",
        "eval embed",
        "eval robustness",
        "export my demo/run",
    ]
    assert names == [*asked, "demo --out", "prep unzip", "prep shard", "prep report"]
    assert "my demo/run/config.yaml" in lines[1]
    for words, kind in zip(lines[2:5], (ReportConfig, EmbedConfig, RobustnessConfig), strict=True):
        assert load(kind, (), words[3:]).participants == "my demo/release/participants.tsv"
    assert "shards=my demo/shards" in lines[2]
    assert lines[6][2:] == ["--out", "my demo-288", "--participants", "288"]


def test_who_has_enough_people_is_not_asked_for_more() -> None:
    assert not any(words[1] == "demo" for words in commands("demo", 288))
