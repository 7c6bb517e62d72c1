"""docs/roads.md: its commands are run as they stand, and print what stands below them.

In CI the stages up to the shards, with few and small scans, numbers aside; as a slow test all of it.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from octshard.cli.main import cli
from octshard.errors import UsageError

PAGE = (Path(__file__).parents[2] / "docs/roads.md").read_text()
ROADS = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)[:-1]
BOM = "\ufeff"
HERE = "/home/me"  # the empty folder, on the page
SMALL = ("--participants 160 --scale 0.12", "--participants 4 --scale 0.04")
LONG = re.compile(r"octshard (prep report|view|train|eval)")
SCORES = re.compile(r"Pretrained is|.* macro AUROC|\S.*\[\d")


class Block(NamedTuple):
    """Commands, and what they print."""

    commands: str
    lines: list[str]


def blocks(road: str) -> Iterator[Block]:
    section = PAGE.split(f"## {road}\n", 1)[1].split("\n## ", 1)[0]
    for commands, text in re.findall(r"```bash\n(.*?)```\n\n```text\n(.*?)```", section, re.DOTALL):
        yield Block(commands, text.splitlines())


def printed(commands: str, folder: Path) -> list[str]:
    """What a shell shows, standard error too; a command that fails must print one line that says why."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", commands],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = done.stdout.replace(BOM, "").replace(str(folder), HERE).splitlines()
    assert done.returncode == (2 if lines[-1].startswith("octshard: ") else 0), done.stdout
    return [line.rstrip() for line in lines]


def shown_here(line: str) -> str:
    """What a command prints that is run in this process, or by a shell where it is not ours."""
    program, *words = shlex.split(line)
    if program != "octshard" or "|" in words:
        return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout
    more = ["--workers", "1"] if words[:2] == ["prep", "shard"] else []
    result = CliRunner().invoke(cli, [*words, *more])
    assert result.exit_code == 0 or isinstance(result.exception, UsageError), result.output
    return result.output + (f"octshard: {result.exception}" if result.exit_code else "")


def check(lines: list[str], shown: list[str], form: Callable[[str], str]) -> None:
    """Every line of the page was printed, in this order. form: of a line, what must be the same."""
    rest = iter([form(line) for line in shown])
    for line in lines:
        assert line == "..." or form(line) in rest, f"{line}\nis not in\n{shown}"


def exact(line: str) -> str:
    """Scores, and what follows from them, differ between machines."""
    return line.split("  ")[0].split(" is ")[0] if SCORES.match(line) else line


def begin(line: str) -> str:
    """Up to the first colon or number: what is counted differs."""
    return re.split(r":|\d", line.replace(os.getcwd(), HERE))[0]


def test_every_command_has_its_output() -> None:
    for road in ROADS:
        section = PAGE.split(f"## {road}\n", 1)[1].split("\n## ", 1)[0]
        assert len(list(blocks(road))) == section.count("```bash") == section.count("```text") > 2


@pytest.mark.parametrize("road", ROADS)
def test_a_road_to_the_shards_with_few_and_small_scans(
    road: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(road):
        lines = block.commands.replace(*SMALL).splitlines()
        shown = "".join(shown_here(line) for line in lines if not LONG.match(line)).replace(BOM, "")
        if not LONG.search(block.commands):
            check(block.lines, shown.splitlines(), begin)
    assert list(tmp_path.glob("shards/*/*.tar"))


@pytest.mark.slow
@pytest.mark.parametrize("road", ROADS)
def test_a_road_as_it_stands(road: str, tmp_path: Path) -> None:
    for block in blocks(road):
        check(block.lines, printed(block.commands, tmp_path), exact)
