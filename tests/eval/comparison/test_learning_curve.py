"""Learning curves: all labels are the probe itself, more labels score higher, too few are said."""

import math

import numpy as np
import pytest

from octshard.config.head import HeadConfig
from octshard.eval import head_probe
from octshard.eval.arms import FeatureArm
from octshard.eval.comparison.learning_curve import LabelDraws, learning_curve
from octshard.probes import scores
from octshard.probes.head import CLASSES, HeadSpec
from octshard.probes.labels import LabelledScans, SplitCounts, Subset
from octshard.rng import rng_for

SPEC = HeadSpec(HeadConfig(regularisation=[0.01, 1.0]), CLASSES, 0)


def labelled(people: int) -> tuple[np.ndarray, LabelledScans]:
    """Two classes, `people` of each in every split, one scan each; 30 features of which few matter."""
    rng, values, subsets, counts = rng_for("curve"), [], {}, []
    for split in ("train", "val", "test"):
        y_N = np.arange(2 * people) % 2
        places_N = len(values) * 2 * people + np.arange(2 * people)
        values.append(rng.normal(size=(2 * people, 30)) + 0.35 * y_N[:, None] * (np.arange(30) < 8))
        names = tuple(f"{split}{n:03}" for n in range(2 * people))
        subsets[split] = Subset(places_N, y_N, names)
        counts.append(SplitCounts(split, 2 * people, 2 * people, {"a": people, "b": people}))
    return np.concatenate(values).astype(np.float32), LabelledScans(("a", "b"), subsets, tuple(counts), {})


def curve(values_NF, scans, fractions, draws=4, seeds=1):
    arm = FeatureArm("x", (values_NF,) * seeds)
    first = head_probe.probed(FeatureArm("x", (values_NF,)), scans, SPEC).predictions[0]
    resamples = scores.resample(first, 100, rng_for("bootstrap"))
    return learning_curve(arm, scans, SPEC, LabelDraws(fractions, draws, 0), resamples)


def test_all_labels_are_the_probe_itself_and_few_score_less():
    values_NF, scans = labelled(100)
    tenth, whole = curve(values_NF, scans, [1.0, 0.1], seeds=2)
    assert (tenth.fraction, tenth.people, tenth.draws) == (0.1, 20, 8)
    assert (whole.fraction, whole.people, whole.draws) == (1.0, 200, 2)
    probed = head_probe.probed(FeatureArm("x", (values_NF,)), scans, SPEC)
    assert whole.score.value == pytest.approx(scores.macro_auroc(probed.predictions[0]))
    assert tenth.score.value < whole.score.value - 0.05
    assert tenth.score.seed_share > 0.1  # the luck of the draw is part of its interval
    assert whole.score.seed_share == 0


def test_fewer_than_two_people_a_class_are_said_not_computed():
    values_NF, scans = labelled(20)
    few, tenth = curve(values_NF, scans, [0.01, 0.1], draws=1)
    assert few.reason == "1 % of 20 train people of a are 0, want at least 2"
    assert (few.draws, math.isnan(few.score.value)) == (0, True)
    assert (tenth.reason, tenth.people) == ("", 4)
