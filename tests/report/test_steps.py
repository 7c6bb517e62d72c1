"""Steps: a list with commands that a shell takes as they are."""

import html
import re
import shlex

import pytest

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.report import steps
from octshard.report.steps import Step


def test_commands_go_into_a_shell_as_they_are():
    words = ("octshard", "prep", "verify", "my shards/it's <here>", "a=[1, 2]")
    look = Step("Look & see:", (steps.command(*words), "octshard doctor"))
    markup = steps.html([look, Step("Then")]).markup
    assert "<li>Look &amp; see:<pre><code><span>octshard</span> " in markup
    assert markup.endswith("<li>Then</li></ol>")
    block = re.search(r"<code>(.*?)</code>", markup, re.DOTALL)[1]
    shown = html.unescape(re.sub(r"</?span>", "", block)).splitlines()
    assert [shlex.split(line) for line in shown] == [list(words), ["octshard", "doctor"]]


@pytest.mark.parametrize(
    "place",
    ["shards", "my data/it's", "gs://bucket/a", "/a #1/b", "a: b", "[x]/y", "{a}", "ä b", "x: y: z", "007"],
)
def test_a_place_comes_back_from_its_setting_as_it_was(place: str) -> None:
    assert load(TrainConfig, ["demo"], [steps.setting("data.shards", place)]).data.shards == [place]
    assert load(TrainConfig, ["demo"], [steps.setting("run.out", place)]).run.out == place
