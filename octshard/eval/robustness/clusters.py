"""Clusters: do scans group by class or by device? Silhouettes, and k-means against the known partitions.

Both by scikit-learn, on features standardised over the scans and scaled to length 1.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_samples

from octshard.eval.robustness.scans import Scans, people_of, unit_rows
from octshard.probes.scores import Estimate, estimate

Z = 1.959964  # of the normal distribution: 95 %
STARTS = 4  # of k-means


@dataclass(frozen=True)
class Clusters:
    """silhouette: mean over people, cosine distance, with a bootstrap interval over people; adjusted_rand: of
    k-means with as many clusters as the partition has parts, 0 by chance, with a jackknife interval over
    people.
    """

    silhouette: Estimate
    adjusted_rand: Estimate


def clusters(scans: Scans, part_N: np.ndarray, weight_RP: np.ndarray, seed: int) -> Clusters:
    """Of the partition part_N (an index of each scan)."""
    owner_N = people_of(scans).owner_N
    unit_NF = unit_rows(scans.values_NF)
    parts = len(np.unique(part_N))
    if not 1 < parts < len(part_N):
        nothing = Estimate(float("nan"), float("nan"), float("nan"))
        return Clusters(nothing, nothing)
    return Clusters(
        _silhouette(unit_NF, part_N, owner_N, weight_RP), _adjusted_rand(unit_NF, part_N, owner_N, seed)
    )


def _silhouette(
    unit_NF: np.ndarray, part_N: np.ndarray, owner_N: np.ndarray, weight_RP: np.ndarray
) -> Estimate:
    value_N = silhouette_samples(unit_NF, part_N, metric="cosine")
    value_P = np.bincount(owner_N, value_N) / np.bincount(owner_N)
    return estimate(float(value_P.mean()), weight_RP @ value_P / weight_RP.sum(axis=1))


def _adjusted_rand(unit_NF: np.ndarray, part_N: np.ndarray, owner_N: np.ndarray, seed: int) -> Estimate:
    """Jackknife: a resample would hold a scan twice, which always agrees with itself."""
    means = KMeans(len(np.unique(part_N)), n_init=STARTS, random_state=seed % 2**32)
    cluster_N = means.fit_predict(unit_NF)
    value = float(adjusted_rand_score(part_N, cluster_N))
    people = int(owner_N.max()) + 1
    without_P = np.array([
        adjusted_rand_score(part_N[owner_N != p], cluster_N[owner_N != p]) for p in range(people)
    ])  # fmt: skip
    error = np.sqrt((people - 1) / people * ((without_P - without_P.mean()) ** 2).sum())
    return Estimate(value, value - Z * float(error), value + Z * float(error))
