"""Clusters: do scans group by class or by device? Silhouettes, and k-means against the known partitions.

On features standardised over the scans and scaled to length 1.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_samples

from octshard.probes.grouped_scans import Scans, people_of, unit_rows
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
    _, part_N = np.unique(part_N, return_inverse=True)
    parts, people = int(part_N.max()) + 1, int(owner_N.max()) + 1
    cluster_N = KMeans(parts, n_init=STARTS, random_state=seed % 2**32).fit_predict(unit_NF)
    scans_PXX = np.zeros((people, parts, parts))
    np.add.at(scans_PXX, (owner_N, part_N, cluster_N), 1)
    total_XX = scans_PXX.sum(axis=0)
    value, without_P = float(adjusted_rand(total_XX[None])[0]), adjusted_rand(total_XX - scans_PXX)
    error = np.sqrt((people - 1) / people * ((without_P - without_P.mean()) ** 2).sum())
    return Estimate(value, value - Z * float(error), value + Z * float(error))


def adjusted_rand(scans_BXX: np.ndarray) -> np.ndarray:
    """The adjusted Rand index (B,) of tables of scans by part and cluster (Hubert and Arabie 1985)."""
    together_B, of_parts_B, of_clusters_B, all_B = (
        (counts * (counts - 1) / 2).reshape(len(scans_BXX), -1).sum(axis=1)
        for counts in (scans_BXX, scans_BXX.sum(axis=2), scans_BXX.sum(axis=1), scans_BXX.sum(axis=(1, 2)))
    )
    chance_B, most_B = of_parts_B * of_clusters_B / all_B, (of_parts_B + of_clusters_B) / 2
    alike = most_B == chance_B  # one part in one cluster, or every scan alone
    return np.where(alike, 1.0, (together_B - chance_B) / np.where(alike, 1.0, most_B - chance_B))
