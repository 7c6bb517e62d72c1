"""The probe's page and JSON: honest sentences, escaped names, nothing undefined printed as a number."""

import dataclasses
import json
import math
import re

import pytest

from octshard.eval import report
from octshard.eval.report import Arm, Control, ProbeResult, ScoredCheckpoint
from octshard.eval.verdict import Verdict
from octshard.probes.head import Trial
from octshard.probes.labels import SplitCounts
from octshard.probes.scores import METRICS, Estimate, Score

NAN = Estimate(math.nan, math.nan, math.nan)


def made_up(**changes) -> ProbeResult:
    """A result of two classes, one with a name that must be escaped."""
    classes = ("<b>evil</b>", "oral_medication")
    metrics = dict.fromkeys(METRICS, Estimate(0.5, 0.4, 0.61))
    scored = Score(9, classes[:1], {**metrics, "kappa": NAN}, {classes[0]: metrics["ece"]}, ((3, 1), (2, 3)))
    arms = tuple(
        Arm(name, 24, {"C": 0.1}, (Trial({"C": 0.1}, 0.7), Trial({"C": 1.0}, 0.6)), True, scored)
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
        scored=ScoredCheckpoint("runs/a&b/checkpoints/step-00000007.pt", 7, 56, 3),
        arms=arms,
        shuffled=Control(20, metrics, 3, 4 / 21),
        differences={"random-init": metrics},
        comparisons={"random-init": Verdict("cannot tell", {"holds_zero": "the interval holds 0"}, 0.5)},
        verdicts=("Pretrained is better.",),
        notes=("Few test participants: <b>evil</b> (4).",),
        config={"seed": 0, "head": "linear"},
    )
    return dataclasses.replace(result, **changes)


def test_the_page_holds_every_arm_and_escapes_names():
    text = report.render(made_up())
    for word in ("pretrained", "random-init", "raw-intensity", "shuffled labels", "Pretrained is better."):
        assert word in text
    assert "<b>evil" not in text
    assert "runs/a&amp;b/checkpoints/step-00000007.pt: step 7, 56 samples seen" in text
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
    assert data["comparisons"] == {
        "random-init": {
            "verdict": "cannot tell",
            "reasons": {"holds_zero": "the interval holds 0"},
            "swap_p": 0.5,
        }
    }
    path = "runs/a&b/checkpoints/step-00000007.pt"
    assert data["scored"] == {"path": path, "step": 7, "samples_seen": 56, "seen_people": 3}


def test_the_text_for_a_terminal_holds_every_arm_and_verdict():
    lines = made_up().text().splitlines()
    assert lines[0].split() == ["study_group", "macro", "AUROC", "balanced", "accuracy"]
    assert lines[1].split() == ["pretrained", "0.500", "[0.400,", "0.610]", "0.500", "[0.400,", "0.610]"]
    assert lines[4].startswith("shuffled labels ")
    assert lines[5] == "Pretrained is better."
    assert lines[-1] == "Checkpoint runs/a&b/checkpoints/step-00000007.pt: step 7, 56 samples seen."
