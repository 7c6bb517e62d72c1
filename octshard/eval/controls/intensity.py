"""The control without any network: grey levels of the same voxels, without any notion of a layer."""

import numpy as np

from octshard.eval.feature_table import FeatureInfo
from octshard.eval.features import FeatureSource
from octshard.imaging.intensity import nearest_grey
from octshard.imaging.resample import matrix, taps
from octshard.stream.batch import Batch

EN_FACE = (8, 8)  # cells along D, W of the raw en face picture
B_SCAN = (16, 8)  # cells along H, W of the raw mean B-scan
BINS = 32  # of the raw histogram over 0..255
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


def intensity_source(name: str, view: str = "") -> FeatureSource:
    """The baseline without any network: `intensity_features` of what is given, which is `view`."""

    def values_of(batch: Batch) -> np.ndarray:
        pairs = zip(nearest_grey(batch.voxels_BDHW.numpy()), batch.valid_B3.tolist(), strict=True)
        return np.stack([intensity_features(voxels[:d, :h, :w]) for voxels, (d, h, w) in pairs])

    return FeatureSource(name, f"intensity {view}", values_of, FeatureInfo(name, view=view))


def intensity_features(voxels_DHW: np.ndarray) -> np.ndarray:
    """float32 (F,) of uint8 voxels: intensities alone, without any notion of a layer.

    Fractions in 32 histogram bins; mean, std, skewness, excess kurtosis; 7 percentiles; the en face mean
    (over H) on 8 x 8 cells; the mean B-scan (over D) on 16 x 8 cells. Units: grey levels, fractions.
    Cells are area-averaged.
    """
    counts = np.bincount(voxels_DHW.ravel(), minlength=256) / voxels_DHW.size
    levels = np.arange(256.0)
    mean = float(counts @ levels)
    std = float(np.sqrt(counts @ (levels - mean) ** 2))
    z = (levels - mean) / max(std, 1e-6)
    shape = [mean, std, float(counts @ z**3), float(counts @ z**4) - 3 if std > 0 else 0.0]
    percentiles = np.searchsorted(np.cumsum(counts), np.array(PERCENTILES) / 100 - 1e-12)
    en_face = _cells(voxels_DHW.mean(axis=1), EN_FACE)
    b_scan = _cells(voxels_DHW.mean(axis=0), B_SCAN)
    parts = [counts.reshape(BINS, -1).sum(axis=1), shape, percentiles, en_face.ravel(), b_scan.ravel()]
    return np.concatenate(parts).astype(np.float32)


def _cells(picture_XY: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    """The picture on a coarse grid, area-averaged (stretched where it has fewer pixels than cells)."""
    rows, columns = (matrix(taps(n, m), n) for n, m in zip(picture_XY.shape, cells, strict=True))
    return rows @ picture_XY @ columns.T
