"""The transfer matrix: a head that is right on one device and wrong on another; cells that have too few."""

import dataclasses

import numpy as np
import pytest

from octshard.eval.robustness.transfer import transfer
from octshard.probes import scores
from octshard.probes.grouped_scans import Scans, people_of
from octshard.rng import rng_for
from tests.support.made_scans import made_scans


def transfer_of(scans: Scans):
    weight_RP = scores.draw_resamples(people_of(scans.split("test")).y_P, 100, rng_for("resamples"))
    result = transfer(scans, (1e-2, 1.0), weight_RP)
    return result, {(cell.train, cell.test): cell for cell in result.cells}


def test_a_sign_that_turns_between_devices():
    scans = made_scans(3, 0, people=120)
    turned = np.where(scans.group_N[:, None] == 1, -1, 1) * scans.values_NF
    result, cells = transfer_of(dataclasses.replace(scans, values_NF=turned))
    assert cells["A", "A"].auroc.value > 0.95
    assert cells["B", "B"].auroc.value > 0.95
    assert cells["A", "B"].auroc.value < 0.05
    assert cells["B", "A"].auroc.value < 0.05
    expected = (cells["A", "B"].auroc.value - cells["B", "B"].auroc.value) / 2
    expected += (cells["B", "A"].auroc.value - cells["A", "A"].auroc.value) / 2
    assert result.loss.value == pytest.approx(expected)
    assert result.loss.high < -0.8
    assert {cell.people for cell in result.cells} == {20}


def test_biology_transfers():
    result, cells = transfer_of(made_scans(30, 5, people=120))
    assert all(cell.auroc.value > 0.97 for cell in cells.values())
    assert result.loss.value == pytest.approx(0, abs=0.03)


def test_cells_with_too_few_people_say_so():
    scans = made_scans(3, 0, people=60)
    people = np.array(scans.participants)
    train_b = (np.array(scans.splits) == "train") & (scans.group_N == 1) & (scans.y_N == 1)
    kept = ~train_b | (people == people[train_b][0])  # one train person of class b on B
    kept &= ~((np.array(scans.splits) == "test") & (scans.group_N == 0) & (scans.y_N == 1))
    result, cells = transfer_of(scans.part(kept))
    assert cells["B", "B"].reason == "1 train people in a class, want at least 2"
    assert cells["A", "A"].reason == "no test person of one class on A"
    assert (cells["A", "B"].reason, cells["A", "B"].people) == ("", 10)
    assert np.isfinite(cells["A", "B"].auroc.value)
    assert np.isnan(result.loss.value)  # nothing to set A -> B against
