"""docs/prep.md says of reasons, flags, commands and keys what the code says."""

import re
import shlex
from pathlib import Path

import click
import pytest

from octshard.cli.main import cli
from octshard.config.fields import known_keys
from octshard.config.prep import PrepConfig
from octshard.prep.refusals import FLAG_MEANS, REASON_MEANS
from octshard.prep.report.remedies import HARMLESS

PAGE = (Path(__file__).parents[2] / "docs" / "prep.md").read_text()
COMMANDS = [
    line[line.index("octshard prep") :].split("  #")[0]
    for block in PAGE.split("```")[1::2]
    for line in block.splitlines()
    if "octshard prep" in line
]


def section(heading: str) -> str:
    return PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize(("heading", "means"), [("Every refusal", REASON_MEANS), ("Every flag", FLAG_MEANS)])
def test_the_tables_carry_the_code_s_own_sentences(heading: str, means: dict[str, str]) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", section(heading), re.MULTILINE)
    assert {name: text for name, text, _ in rows} == means
    assert len(rows) == len(means)


def test_the_report_takes_for_harmless_what_the_page_takes_for_it() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .+? \| (.+?) \|$", section("Every flag"), re.MULTILINE)
    assert {name for name, advice in rows if advice.startswith("Nothing")} == HARMLESS


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_exist_with_these_options(line: str) -> None:
    _, group, name, *words = shlex.split(line)
    folder = cli.commands[group]
    assert isinstance(folder, click.Group)
    folder.commands[name].make_context(name, words)


def test_keys_named_in_the_text_are_keys() -> None:
    known = set(known_keys(PrepConfig))
    for text in (section("Presets"), *re.findall(r"--set (\w+)=", PAGE)):
        words = re.findall(r"`([a-z_]+)`", text) if " " in text else [text]
        assert {word for word in words if "_" in word} - {
            "decoded_level",
            "fast_psnr_db",
            "pixel_array",
        } <= known


def test_the_presets_are_there() -> None:
    for name in re.findall(r"`(configs/prep/\w+\.yaml)`", PAGE):
        assert (Path(__file__).parents[2] / name).exists(), name
