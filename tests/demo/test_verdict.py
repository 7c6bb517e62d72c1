"""The demo's verdict: shards, training and probe, each in words and colour, and why the probe cannot tell."""

import dataclasses
import re

import pytest

from octshard.dataset.tables import Dataset, SampleRow
from octshard.demo import verdict
from octshard.eval.verdict import Verdict
from tests.eval.test_probe_report import made_up

ROW = SampleRow("k", "p", "d", "", "", "often", "", "L", "train", "s")
FEW = "fewer than 10 test participants in healthy (6) and 3 more of the classes"
UNTOLD = Verdict("cannot tell", {"few_participants": FEW, "holds_zero": "the interval holds 0"}, 0.5)
OTHER = Verdict("cannot tell", {"few_participants": FEW}, 0.01)


def boxes(*, skill: float | None = 0.4, **comparisons: Verdict) -> tuple[list[tuple[str, str]], str]:
    """((tone, text) of each box, what follows the last one)."""
    refused = dataclasses.replace(ROW, status="refused", reason="duplicate")
    probe = made_up(comparisons=comparisons, provenance=())
    parts = verdict.parts([Dataset("", {}, (ROW, refused), ())], [{}, {"skill": skill}], probe)
    marked = [
        re.fullmatch(r'<p class="banner (\w+)">(.*)</p>', getattr(part, "markup", "")) for part in parts
    ]
    return [(m[1], re.sub("</?b>", "", m[2])) for m in marked if m], "".join(
        p for p in parts if isinstance(p, str)
    )


def test_three_boxes_say_what_came_out() -> None:
    (shards, training, probe), why = boxes(a=Verdict("better", {}, 0.01))
    assert shards[0] == "good"
    assert shards[1].startswith("Shards: in order: 1 of 2 files refused: all explained (1 with nothing to")
    assert training[0] == "good"
    assert training[1].startswith("Training: learned: skill 0.400 on val; at 0 an encoder tells no more than")
    assert probe[0] == "good"
    assert why == ""


@pytest.mark.parametrize(("skill", "tone"), [(-0.1, "bad"), (0.0, "bad")])
def test_no_skill_is_said(skill: float, tone: str) -> None:
    assert boxes(skill=skill, a=UNTOLD)[0][1][0] == tone


def test_training_without_a_skill_has_no_colour() -> None:
    found, text = boxes(skill=None, a=UNTOLD)
    assert len(found) == 2
    assert text.startswith("Training has measured no skill.")


def test_why_the_probe_cannot_tell_is_one_line_of_what_all_share() -> None:
    assert boxes(a=UNTOLD, b=OTHER)[1] == f"Why it cannot tell: {FEW}."
    assert boxes(a=UNTOLD)[1] == f"Why it cannot tell: {FEW}; the interval holds 0."
    apart = Verdict("cannot tell", {"swap_p": "p"}, 0.5)
    assert boxes(a=apart, b=OTHER)[1].startswith("Why it cannot tell: for each control another reason")
    assert boxes(a=OTHER, b=Verdict("worse", {}, 0.01))[0][2][0] == "bad"


def test_the_p_of_one_control_is_not_given_as_that_of_all() -> None:
    one, other = (
        Verdict("cannot tell", {"few_participants": FEW, "swap_p": f"p = {p}"}, p) for p in (0.2, 0.7)
    )
    assert boxes(a=one, b=other)[1] == f"Why it cannot tell: {FEW}."
