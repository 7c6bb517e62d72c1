"""Features in a plane, to look at: principal components, or neighbours kept together by t-SNE.

A picture, not evidence: distances between far points of a t-SNE mean nothing.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from octshard.probes.linear import standardisation
from octshard.report.chart import Chart
from octshard.report.plots import scatter_plot

AXES = {"pca": ("component 1", "component 2"), "tsne": ("t-SNE 1", "t-SNE 2")}
LEAST = 4  # points; with fewer there is no picture
COMPONENTS = 50  # that t-SNE starts from (van der Maaten and Hinton 2008)
PERPLEXITY = 30.0  # at most; a third of the points where they are few
OTHERS = "other"
FLAT = 1e-6  # standard deviations; rows that differ by less are one point


def project(values_NF: np.ndarray, method: str, seed: int) -> np.ndarray:
    """(N, 2) of standardised features, zeros where none varies. method: pca or tsne. ValueError for fewer
    than LEAST rows.
    """
    if len(values_NF) < LEAST:
        raise ValueError(f"projection: {len(values_NF)} rows, want at least {LEAST}")
    mean_F, scale_F = standardisation(values_NF)
    z_NF = ((values_NF - mean_F) / scale_F).astype(np.float32)
    if np.allclose(z_NF, z_NF[0], atol=FLAT):  # t-SNE would start from 0 / 0, and end the process
        return np.zeros((len(z_NF), 2), np.float32)
    count = min(2 if method == "pca" else COMPONENTS, *z_NF.shape)
    z_NF = PCA(count, svd_solver="full").fit_transform(z_NF)
    z_NF = np.pad(z_NF, ((0, 0), (0, max(0, 2 - count))))
    if method == "pca":
        return z_NF
    perplexity = min(PERPLEXITY, (len(z_NF) - 1) / 3)
    xy_N2: np.ndarray = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(z_NF)
    return xy_N2


def projection_chart(xy_N2: np.ndarray, groups: Sequence[str], method: str, most: int) -> Chart:
    """Points coloured by group: the `most` largest have a colour of their own, the rest share one."""
    names, counts = np.unique(np.asarray(groups), return_counts=True)
    shown = [str(name) for name in names[np.argsort(-counts, kind="stable")][:most]]
    group_N = np.array([group if group in shown else OTHERS for group in groups])
    order = [*shown, OTHERS] if len(names) > most else shown
    points = {name: tuple(xy_N2[group_N == name].T.tolist()) for name in order}
    return scatter_plot(points, *AXES[method])  # type: ignore[arg-type]
