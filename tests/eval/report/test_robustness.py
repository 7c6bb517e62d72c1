"""A planted shortcut stands in the first box of the page; what cannot be measured is said."""

import pytest

from octshard.config.eval import ReportConfig, RobustnessConfig
from octshard.eval.report import robustness
from octshard.eval.robustness import command
from octshard.eval.robustness.result import Nuisance
from tests.support.made_scans import made_scans

CFG = RobustnessConfig(label="state", bootstrap=50, draws=1, regularisation=[0.1])


@pytest.fixture(scope="module")
def planted() -> Nuisance:
    """The features hold the device alone, and most sick people are scanned on one device."""
    return command.measure("device", made_scans(0.0, 4.0, goes_with=0.7), CFG)


def test_a_planted_shortcut_is_a_warning(planted: Nuisance) -> None:
    (text,) = robustness.warnings([planted], "ours")
    assert text.startswith("ours, device: Shortcut: state goes with device")


def test_without_one_there_is_no_warning() -> None:
    nuisance = command.measure("device", made_scans(4.0, 0.0), CFG)
    assert list(robustness.warnings([nuisance], "ours")) == []


def test_the_table_and_every_finding_are_on_the_page(planted: Nuisance) -> None:
    table, *sentences = robustness.parts({"ours": (planted,)})
    assert "robustness index" in table.markup  # type: ignore[union-attr]
    assert sentences == [f"ours, device: {finding.text}" for finding in planted.findings.values()]


def test_its_heads_have_the_grid_of_the_report() -> None:
    assert robustness.settings(ReportConfig(regularisation=[0.3])).regularisation == [0.3]
