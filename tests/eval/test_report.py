"""The probe's page and JSON: honest sentences, escaped names, nothing undefined printed as a number."""

import dataclasses
import json
import math
import re

import pytest

from octshard.eval import report
from octshard.eval.labels import SplitCounts
from octshard.eval.report import Arm, Control, ProbeResult
from octshard.eval.scores import METRICS, Estimate, Score

NAN = Estimate(math.nan, math.nan, math.nan)


def made_up(**changes) -> ProbeResult:
    """A result of two classes, one with a name that must be escaped."""
    classes = ("<b>evil</b>", "oral_medication")
    metrics = dict.fromkeys(METRICS, Estimate(0.5, 0.4, 0.61))
    scored = Score(9, classes[:1], {**metrics, "kappa": NAN}, {classes[0]: metrics["ece"]}, ((3, 1), (2, 3)))
    arms = tuple(
        Arm(name, 24, 0.1, ((0.1, 0.7), (1.0, 0.6)), True, scored)
        for name in ("pretrained", "random-init", "raw-intensity")
    )
    count = SplitCounts("test", 12, 9, dict.fromkeys(classes, 4))
    result = ProbeResult(
        label="study_group",
        classes=classes,
        counts=(count,),
        dropped={"no value": 3},
        checkpoint="runs/a&b",
        checkpoint_digest="f" * 64,
        arms=arms,
        shuffled=Control(20, metrics, 3, 4 / 21),
        differences={"random-init": metrics},
        verdicts=("Pretrained is better.",),
        notes=("Few test participants: <b>evil</b> (4).",),
        config={"seed": 0},
    )
    return dataclasses.replace(result, **changes)


@pytest.mark.parametrize(
    ("gain", "sentence"),
    [
        ((0.05, -0.02, 0.11), "better than x by 0.050 [−0.020, 0.110] macro AUROC: not distinguishable."),
        ((0.05, 0.01, 0.11), "better than x by 0.050 [0.010, 0.110] macro AUROC."),
        ((-0.05, -0.11, -0.01), "worse than x by 0.050 [0.010, 0.110] macro AUROC."),
        ((-0.05, -0.11, 0.02), "worse than x by 0.050 [−0.020, 0.110] macro AUROC: not distinguishable."),
        ((0.05, 0.0, 0.11), "better than x by 0.050 [0.000, 0.110] macro AUROC: not distinguishable."),
    ],
)
def test_a_winner_is_named_only_if_the_interval_leaves_out_zero(gain, sentence):
    assert report.verdict("x", Estimate(*gain)) == f"Pretrained is {sentence}"


def test_what_is_not_defined_is_said():
    assert "cannot be compared" in report.verdict("x", NAN)


def test_brackets():
    assert report.bracketed(Estimate(-0.5, -0.61, 0.4)) == "−0.500 [−0.610, 0.400]"
    assert report.bracketed(NAN) == "–"
    assert report.bracketed(Estimate(0.5, math.nan, math.nan)) == "0.500"


def test_the_page_holds_every_arm_and_escapes_names():
    text = report.render(made_up())
    for word in ("pretrained", "random-init", "raw-intensity", "shuffled labels", "Pretrained is better."):
        assert word in text
    assert "<b>evil" not in text
    assert "runs/a&amp;b" in text
    assert "oral medication" in text
    assert "study group" in text
    assert not re.search(r"\bnan\b", text)
    assert "3 of 20 deals" in text


def test_json_writes_null_for_what_is_not_defined_and_goes_round():
    text = report.as_json(made_up())
    data = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert data["arms"][0]["score"]["metrics"]["kappa"] == {"value": None, "low": None, "high": None}
    assert data["arms"][0]["score"]["confusion"] == [[3, 1], [2, 3]]
    assert data["shuffled"]["p_value"] == pytest.approx(4 / 21)


def test_the_text_for_a_terminal_holds_every_arm_and_verdict():
    lines = made_up().text().splitlines()
    assert lines[0].split() == ["study_group", "macro", "AUROC", "balanced", "accuracy"]
    assert lines[1].split() == ["pretrained", "0.500", "[0.400,", "0.610]", "0.500", "[0.400,", "0.610]"]
    assert lines[4].startswith("shuffled labels ")
    assert lines[5] == "Pretrained is better."
