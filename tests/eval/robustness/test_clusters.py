"""Clusters: scikit-learn's numbers on the same features, and who they are of."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from octshard.eval.robustness.clusters import adjusted_rand, clusters
from octshard.probes import scores
from octshard.probes.grouped_scans import Scans, people_of, unit_rows
from octshard.rng import rng_for
from tests.support.made_scans import made_scans


def clusters_of(scans: Scans, part_N: np.ndarray):
    weight_RP = scores.draw_resamples(people_of(scans).y_P, 100, rng_for("resamples"))
    return clusters(scans, part_N, weight_RP, 1)


def test_device_alone_groups_by_device():
    scans = made_scans(0, 30)
    device, label = clusters_of(scans, scans.group_N), clusters_of(scans, scans.y_N)
    assert device.adjusted_rand.value == 1
    assert label.adjusted_rand.low < 0.01
    assert device.silhouette.low > 0.3
    assert abs(label.silhouette.value) < 0.02


def test_the_silhouette_is_scikit_learns():
    scans = made_scans(2, 2)  # two scans each, so that the mean over people is that over scans
    expected = silhouette_score(unit_rows(scans.values_NF), scans.y_N, metric="cosine")
    result = clusters_of(scans, scans.y_N).silhouette
    assert result.value == pytest.approx(expected, abs=1e-6)
    assert result.low < expected < result.high


def test_one_part_is_nothing():
    scans = made_scans(1, 1, people=20)
    assert np.isnan(clusters_of(scans, np.zeros_like(scans.y_N)).silhouette.value)


@pytest.mark.parametrize("seed", range(4))
def test_the_adjusted_rand_index_is_scikit_learns(seed):
    rng = rng_for("partitions", seed)
    part, cluster = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    cluster = np.where(rng.random(60) < seed / 3, part, cluster)
    table = np.zeros((1, 3, 3))
    np.add.at(table[0], (part, cluster), 1)
    assert adjusted_rand(table)[0] == pytest.approx(adjusted_rand_score(part, cluster))
