"""Steps: a list with commands that a shell takes as they are."""

import html
import re
import shlex

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
