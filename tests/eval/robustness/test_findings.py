"""Findings: what is named, and what keeps it from being named."""

import dataclasses
import math

import pytest

from octshard.eval.robustness.association import Association
from octshard.eval.robustness.findings import Names, drop_finding, neighbours_finding, shortcut_finding
from octshard.eval.robustness.performance_drop import PerformanceDrop
from octshard.eval.robustness.within_group import WithinGroup
from octshard.probes.neighbours import RobustnessIndex
from octshard.probes.scores import Estimate

NAMES = Names("state", "device", 20)
FEW = Names("state", "device", 9)
NAN = Estimate(math.nan, math.nan, math.nan)
GOES = Association(0.8, 0.001, ((18, 2), (2, 18)))
NONE = Estimate(0.1, -0.1, 0.3)
READ = WithinGroup(Estimate(0.9, 0.8, 0.95), Estimate(0.55, 0.4, 0.7), Estimate(0.35, 0.2, 0.5))


def test_a_shortcut_is_named_with_its_numbers():
    finding = shortcut_finding(GOES, READ, NAMES)
    assert finding.verdict == "shortcut"
    assert finding.text == (
        "Shortcut: state goes with device (Cramér's V 0.80 over people, p = 0.001), and the head reads "
        "device: macro AUROC 0.900 [0.800, 0.950] over all, 0.550 [0.400, 0.700] within one device, so that "
        "0.350 [0.200, 0.500] of it comes from device."
    )


@pytest.mark.parametrize(
    ("table", "score", "names", "verdict", "text"),
    [
        (dataclasses.replace(GOES, p=0.06), READ, NAMES, "uncorrelated", "No shortcut to take: state"),
        (dataclasses.replace(GOES, cramers_v=1.0), READ, NAMES, "inseparable", "Inseparable: device"),
        (GOES, READ, FEW, "cannot tell", "fewer than 10 people in a class of state (9)"),
        (GOES, dataclasses.replace(READ, reason="nobody"), NAMES, "cannot tell", "if it is read: nob"),
        (GOES, dataclasses.replace(READ, given=NONE), NAMES, "none seen", "No shortcut seen"),
    ],
)  # fmt: skip
def test_why_a_shortcut_is_not_named(table, score, names, verdict, text):
    finding = shortcut_finding(table, score, names)
    assert finding.verdict == verdict
    assert text in finding.text


@pytest.mark.parametrize(
    ("low", "high", "chance", "names", "verdict"),
    [
        (0.6, 0.9, 0.5, NAMES, "biology"),
        (0.1, 0.4, 0.5, NAMES, "nuisance"),
        (0.1, 0.6, 0.5, NAMES, "cannot tell"),
        (0.6, 0.9, 0.5, FEW, "cannot tell"),
        (0.6, 0.9, math.nan, NAMES, "cannot tell"),
        (math.nan, math.nan, 0.5, NAMES, "cannot tell"),
    ],
)
def test_what_neighbours_go_by(low, high, chance, names, verdict):
    index = Estimate((low + high) / 2, low, high)
    finding = neighbours_finding(RobustnessIndex(index, chance, 10), names)
    assert finding.verdict == verdict
    assert "nan" not in finding.text


@pytest.mark.parametrize(
    ("low", "high", "test", "reason", "verdict", "text"),
    [
        (-0.2, -0.05, 20, "", "drops", "average performance drop −12.5 % [−20.0, −5.0]"),
        (-0.2, 0.05, 20, "", "none seen", "No drop seen"),
        (-0.2, -0.05, 9, "", "cannot tell", "fewer than 10 balanced test people a class (9)"),
        (math.nan, math.nan, 0, "too few people", "cannot tell", "too few people"),
    ],
)
def test_whether_a_head_would_read_it(low, high, test, reason, verdict, text):
    result = PerformanceDrop({}, Estimate((low + high) / 2, low, high), NAN, 20, test, reason)
    finding = drop_finding(result, NAMES)
    assert finding.verdict == verdict
    assert text in finding.text
