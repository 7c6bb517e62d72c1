"""The probe's page and JSON: honest sentences, escaped names, nothing undefined printed as a number."""

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from octshard.dataset.splits import SPLITS
from octshard.eval import probe_report, probe_result, score_tables
from octshard.eval.controls.provenance_reading import Reading
from octshard.eval.controls.shuffled import Control
from octshard.eval.probe_result import Arm, ProbeResult, ScoredCheckpoint
from octshard.eval.verdict import Verdict
from octshard.probes.head import Trial
from octshard.probes.labels import SplitCounts
from octshard.probes.scores import METRICS, Estimate, Score
from tests.support.chromium_page import Page, browser

NAN = Estimate(math.nan, math.nan, math.nan)


def made_up(**changes) -> ProbeResult:
    """A result of two classes, one with a name that must be escaped."""
    classes = ("<b>evil</b>", "oral_medication")
    metrics = dict.fromkeys(METRICS["classes"], Estimate(0.5, 0.4, 0.61))
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
        headline="Pretrained is not to be told from random-init.",
        verdicts=("Cannot tell pretrained from random-init.",),
        readings=(Reading("device", ("a", "b"), 9, Estimate(0.9, 0.8, 1.0)),),
        provenance=(
            "Warning: the device can be read off <b>.",
            "The site as read off the pretrained features: at chance.",
        ),
        notes=("Few test participants: <b>evil</b> (4).",),
        config={"pooling": "mean_std", "view": "whole", "seed": 0, "head": "linear"},
    )
    return dataclasses.replace(result, **changes)


def test_the_page_holds_every_arm_and_escapes_names():
    text = probe_report.render(made_up())
    for word in ("pretrained", "random-init", "raw-intensity", "shuffled labels", "not to be told from"):
        assert word in text
    assert "<b>evil" not in text
    assert "runs/a&amp;b/checkpoints/step-00000007.pt: step 7, 56 samples seen" in text
    assert "oral medication" in text
    assert "study group" in text
    assert not re.search(r"\bnan\b", text)
    assert "3 of 20 deals" in text


def test_the_verdict_comes_first_and_warnings_stand_out():
    text = probe_report.render(made_up())
    boxes = re.findall(r"<h2>(.*?)</h2>", text)
    assert boxes[:3] == ["Verdict", "Scores on test participants", "Notes"]
    assert '<p class="banner unsure">Pretrained is not to be told from random-init.</p>' in text
    assert '<p class="banner bad">Warning: the device can be read off &lt;b&gt;.</p>' in text
    assert "<p>The site as read off the pretrained features: at chance.</p>" in text
    row = re.search(r"<tr><td[^>]*>random-init</td>.*?</tr>", text, re.DOTALL)
    assert row
    assert "0.500<br><small>[0.400, 0.610]</small>" in row[0]
    assert "cannot tell" in row[0]
    assert "the interval holds 0" in row[0]


@pytest.mark.parametrize(
    ("verdict", "tone"), [("better", "good"), ("worse", "bad"), ("cannot tell", "unsure")]
)
def test_the_colour_is_that_of_the_verdict(verdict, tone):
    result = made_up(comparisons={"random-init": Verdict(verdict, {}, 0.01)}, provenance=())
    assert f'<p class="banner {tone}">' in probe_report.render(result)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("linear", "Features are the mean and the standard deviation over the tokens that hold part of"),
        ("attentive", "Features are all the tokens that hold part of the scan (all of it,"),
    ],
)
def test_the_page_says_what_features_are(head, words):
    result = made_up()
    result = dataclasses.replace(result, config={**result.config, "head": head})
    assert words in probe_report.render(result)


def test_scores_by_scan_stand_beside_those_by_participant_where_there_are_any():
    result = made_up()
    assert "by scan" not in result.text()
    assert "By scan" not in probe_report.render(result)
    by_scan = dict.fromkeys(METRICS["classes"], Estimate(0.321, 0.3, 0.35))
    arms = tuple(
        dataclasses.replace(arm, score=dataclasses.replace(arm.score, by_scan=by_scan, scans=12))
        for arm in result.arms
    )
    result = dataclasses.replace(result, arms=arms)
    assert "macro AUROC by scan" in result.text()
    assert result.text().count("0.321 [0.300, 0.350]") == 3
    text = probe_report.render(result)
    assert "Each of the 12 scans counts once" in text
    assert "0.321<br><small>[0.300, 0.350]</small>" in text
    stored = json.loads(probe_result.as_json(result))["arms"][0]["score"]
    assert (stored["scans"], stored["by_scan"]["brier"]["value"]) == (12, 0.321)


def test_draws_are_counted_and_listed():
    result = made_up()
    arms = tuple(
        dataclasses.replace(
            arm,
            score=dataclasses.replace(
                arm.score, of_runs=(0.53, 0.7) if arm.name == "random-init" else (0.5,)
            ),
        )
        for arm in result.arms
    )
    text = probe_report.render(dataclasses.replace(result, arms=arms))
    assert "random-init (2 draws)" in text
    assert "random-init: macro AUROC of its draws 0.530, 0.700." in text
    assert "raw-intensity (1" not in text
    assert "random-init (2 draws) " in dataclasses.replace(result, arms=arms).text()


def test_json_writes_null_for_what_is_not_defined_and_goes_round():
    text = probe_result.as_json(made_up())
    data = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert data["arms"][0]["score"]["metrics"]["kappa"] == {
        "value": None,
        "low": None,
        "high": None,
        "seed_share": 0.0,
    }
    assert data["arms"][0]["score"]["confusion"] == [[3, 1], [2, 3]]
    assert data["shuffled"]["p_value"] == pytest.approx(4 / 21)
    assert data["comparisons"] == {
        "random-init": {
            "verdict": "cannot tell",
            "reasons": {"holds_zero": "the interval holds 0"},
            "swap_p": 0.5,
            "metric": "macro AUROC",
        }
    }
    path = "runs/a&b/checkpoints/step-00000007.pt"
    assert data["scored"] == {"path": path, "step": 7, "samples_seen": 56, "seen_people": 3}


def test_the_text_for_a_terminal_holds_every_arm_and_verdict():
    lines = made_up().text().splitlines()
    assert lines[0] == "Pretrained is not to be told from random-init."
    assert lines[1].split() == ["study_group", "macro", "AUROC", "balanced", "accuracy"]
    assert lines[2].split() == ["pretrained", "0.500", "[0.400,", "0.610]", "0.500", "[0.400,", "0.610]"]
    assert lines[5].startswith("shuffled labels ")
    assert lines[6] == "Cannot tell pretrained from random-init."
    assert lines[7].startswith("Warning: the device can be read")
    assert lines[-1] == "Checkpoint runs/a&b/checkpoints/step-00000007.pt: step 7, 56 samples seen."


def wide() -> ProbeResult:
    """Every control, long names, several draws, numbers with a minus sign."""
    slices = "timm:vit_large_patch16_224.augreg_in21k_ft_in1k"
    classes = ("healthy", "oral_medication_and_or_non_insulin_injectable_medication_controlled", "c", "d")
    result = made_up(classes=classes)
    metrics = dict.fromkeys(METRICS["classes"], Estimate(-0.512, -0.634, -0.401))
    each = dataclasses.replace(
        result.arms[0].score,
        metrics=metrics,
        auroc_of=dict.fromkeys(classes, metrics["ece"]),
        confusion=((10, 2, 3, 4),) * 4,
    )
    names = ("pretrained", "random-init", "raw-intensity", "thickness", slices, "site-and-device")
    arms = tuple(
        dataclasses.replace(
            result.arms[0],
            name=name,
            score=dataclasses.replace(each, of_runs=(0.5,) * (5 if i == 1 else 1)),
        )
        for i, name in enumerate(names)
    )
    untold = Verdict("cannot tell", {"holds_zero": "the interval holds 0", "swap_p": "p = 0.512"}, 0.5)
    return dataclasses.replace(
        result,
        arms=arms,
        counts=tuple(SplitCounts(split, 1200, 900, dict.fromkeys(classes, 225)) for split in SPLITS),
        differences=dict.fromkeys(names[1:], metrics),
        comparisons=dict.fromkeys(names[1:], untold),
        shuffled=Control(20, metrics, 3, 4 / 21),
        headline=f"Pretrained is not to be told from {', '.join(names[1:])}.",
    )


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_no_table_and_no_word_is_cut(chromium: Page, tmp_path: Path, width: int) -> None:
    path = tmp_path / "probe.html"
    path.write_text(probe_report.render(wide()))
    chromium.open(path, width)
    assert chromium.errors == []
    assert chromium.value("document.documentElement.scrollWidth") <= width
    too_wide = """[...document.querySelectorAll(".wide")].filter(box => box.scrollWidth > box.clientWidth)
      .map(box => box.textContent.slice(0, 60))"""
    assert chromium.value(too_wide) == []
    outside = """[...document.querySelectorAll("svg text")].filter(t => {
      const box = t.getBoundingClientRect(), svg = t.ownerSVGElement.getBoundingClientRect();
      return box.left < svg.left - 1 || box.right > svg.right + 1;
    }).map(t => t.textContent)"""
    assert chromium.value(outside) == []


@pytest.mark.parametrize(
    ("join", "word"),
    [("participant", "participants"), ("eye", "eyes"), ("key", "scans"), ("mrn", "participants")],
)
def test_the_confusion_says_what_it_counts(join: str, word: str) -> None:
    arm = made_up().arms[0]
    thrice = dataclasses.replace(arm, score=dataclasses.replace(arm.score, of_runs=(0.5, 0.5, 0.6)))
    one, three = (score_tables.confusion(("a", "b"), each, {"join": join}).markup for each in (arm, thrice))
    assert (
        f"pretrained: test {word} by true class (row, by which it is shaded) and most probable class." in one
    )
    assert (
        f"test {word} by true class (row, by which it is shaded) and most probable class, summed over 3"
        in three
    )
