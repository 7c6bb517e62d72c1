"""The control that a careful engineer makes without a network: thickness and reflectance of the retinal band.

Micrometres and grey levels on a coarse grid, in the rings of the ETDRS (Early Treatment Diabetic Retinopathy
Study) around the fovea, and along depth, from the band that prep stored. Left eyes are mirrored, so that
nasal is one side. What cannot be measured is missing, never zero.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from octshard.dataset.tables import SampleRow
from octshard.eval.feature_table import FeatureInfo
from octshard.eval.features import FeatureSource
from octshard.imaging.intensity import nearest_grey
from octshard.imaging.resample import matrix, taps
from octshard.imaging.retina_band import BLOCK, blocks_of, not_found
from octshard.imaging.volume import Spacing, length_mm
from octshard.stream.batch import Batch

VERSION = 2  # of the features
CELLS = (8, 8)  # along D and W
RINGS_MM = (0.0, 0.5, 1.5, 3.0)  # radii between which the ETDRS subfields lie
FOVEA_MM = 1.0  # from the middle of the field to the fovea, at most
BLUR_MM = 0.15  # sigma that thickness is smoothed by to find it
SURFACE_MM = 0.4  # sigma of the smooth surface that roughness is measured from
PARTS = 8  # of the band along depth, of equal height
PERCENTILES = (5, 25, 50, 75, 95)
LEAST_COVER, LEAST_PLACES = 0.25, 4  # share of a cell, and places of a ring, that must have a band
UNKNOWN = (np.nan, np.nan, np.nan)
DARK = 0.5  # of the band's mean grey level: fluid, shadows


@dataclass(frozen=True)
class ScanGeometry:
    """What turns blocks into millimetres. raster False: D is no axis in space, so nothing has a ring."""

    spacing_mm: Spacing
    eye: str
    raster: bool

    @staticmethod
    def of(row: SampleRow) -> "ScanGeometry":
        """By the row of the sample; a scan without a known spacing has no micrometres, and all is missing.

        Slices that are no stack have neighbours, but no step to them.
        """
        spacing = row.lengths(row.spacing_out)
        is_sound = all(math.isnan(mm) or length_mm(mm) is not None for mm in spacing)
        return ScanGeometry(spacing if is_sound else UNKNOWN, row.eye, row.geometry == "raster")


@dataclass(frozen=True, eq=False)
class _Maps:
    """Of each place (B-scan d, block q), nan without a band. Parts are in grey levels."""

    thickness_DQ: np.ndarray  # micrometres
    edges_2DQ: np.ndarray  # micrometres: inner limiting membrane, RPE
    parts_PDQ: np.ndarray
    dark_DQ: np.ndarray  # share of the band
    step_mm: tuple[float, float]  # from place to place along D and Q


def thickness_source(name: str, rows: Iterable[SampleRow], view: str) -> FeatureSource:
    """`values_and_presence` of the scans of `rows`; a scan without a band has nothing present. view: the part
    of a scan that is given.
    """
    geometry_of = {row.key: ScanGeometry.of(row) for row in rows}

    def values_of(batch: Batch) -> np.ndarray:
        values = []
        for i, (key, (d, h, w)) in enumerate(zip(batch.keys, batch.valid_B3.tolist(), strict=True)):
            if batch.band_BDQ2 is None:
                rows_DQ2 = not_found(d, w).rows_DQ2
            else:
                rows_DQ2 = batch.band_BDQ2[i, :d, : blocks_of(w)].numpy()
            voxels_DHW = nearest_grey(batch.voxels_BDHW[i, :d, :h, :w].numpy())
            values.append(values_and_presence(thickness_features(voxels_DHW, rows_DQ2, geometry_of[key])))
        return np.stack(values)

    return FeatureSource(name, f"thickness {VERSION} {view}", values_of, FeatureInfo(name, view=view))


def thickness_features(voxels_DHW: np.ndarray, rows_DQ2: np.ndarray, geometry: ScanGeometry) -> np.ndarray:
    """float64 (F,), nan where missing. rows_DQ2: as RetinaBand.rows_DQ2, of these voxels."""
    maps = _maps(voxels_DHW, rows_DQ2, geometry)
    grey = _mean(maps.parts_PDQ) or np.nan  # a black band has no reflectance
    enface_DQ = maps.parts_PDQ.mean(axis=0) / grey
    parts = [
        _cells(maps.thickness_DQ).ravel(), _summary(maps.thickness_DQ), _cells(enface_DQ).ravel(),
        [grey], _summary(enface_DQ), _gradients(enface_DQ, maps.step_mm),
        [_mean(part_DQ) / grey for part_DQ in maps.parts_PDQ], [_mean(maps.dark_DQ)],
        *(_roughness(edge_DQ, maps.step_mm[1]) for edge_DQ in maps.edges_2DQ),
        *_rings(maps, enface_DQ, geometry),
    ]  # fmt: skip
    return np.concatenate([np.asarray(part, np.float64) for part in parts])


def values_and_presence(values_F: np.ndarray) -> np.ndarray:
    """float32 (2 F,): the values, 0 where missing, and which of them are there (1 or 0)."""
    present_F = np.isfinite(values_F)
    return np.concatenate([np.where(present_F, values_F, 0), present_F]).astype(np.float32)


def filled(values_NG: np.ndarray, train_places: np.ndarray) -> np.ndarray:
    """(N, F) of rows of `values_and_presence`: a missing value is the mean of it in train.

    Features that are nowhere in train are left out.
    """
    values_NF, present_NF = np.split(values_NG, 2, axis=1)
    count_F = present_NF[train_places].sum(axis=0)
    mean_F = values_NF[train_places].sum(axis=0, dtype=np.float64) / np.maximum(count_F, 1)
    return np.where(present_NF > 0, values_NF, mean_F)[:, count_F > 0].astype(np.float32)


def measured(values_NG: np.ndarray) -> np.ndarray:
    """bool (N,): the scan has a band somewhere, and a spacing."""
    return np.asarray(np.split(values_NG, 2, axis=1)[1].any(axis=1))


def _maps(voxels_DHW: np.ndarray, rows_DQ2: np.ndarray, geometry: ScanGeometry) -> _Maps:
    """Means over the columns of each block, then exact means over each part of its band's depth."""
    width = voxels_DHW.shape[2]
    dz, dy, dx = geometry.spacing_mm
    starts_Q = np.arange(blocks_of(width)) * BLOCK
    grey_DHQ = np.add.reduceat(voxels_DHW, starts_Q, axis=2, dtype=np.float32)
    grey_DHQ /= np.diff(starts_Q, append=width).astype(np.float32)
    top_DQ, bottom_DQ = np.moveaxis(np.where(rows_DQ2 < 0, np.nan, rows_DQ2), 2, 0)
    thick_DQ = bottom_DQ - top_DQ
    edges_EDQ = top_DQ + np.linspace(0, 1, PARTS + 1)[:, None, None] * thick_DQ
    parts_PDQ = np.diff(_area_above(grey_DHQ, edges_EDQ), axis=0) / (thick_DQ / PARTS)
    is_dark_DHQ = (grey_DHQ < DARK * _mean(parts_PDQ)).astype(np.float32)
    dark_DQ = np.diff(_area_above(is_dark_DHQ, edges_EDQ[[0, -1]]), axis=0)[0] / thick_DQ
    um = 1000 * dy
    maps = np.stack([thick_DQ * um, top_DQ * um, bottom_DQ * um, dark_DQ, *parts_PDQ])
    maps += 0 * um  # nothing is measured without a spacing
    if geometry.eye == "L":
        maps = maps[..., ::-1]
    return _Maps(maps[0], maps[1:3], maps[4:], maps[3], (dz, dx * BLOCK))


def _area_above(value_DHQ: np.ndarray, edges_EDQ: np.ndarray) -> np.ndarray:
    """(E, D, Q): the sum of values above each edge, which may lie within a row; nan where the edge is."""
    sums_DHQ = np.concatenate([np.zeros_like(value_DHQ[:, :1]), np.cumsum(value_DHQ, 1, np.float64)], axis=1)
    known_EDQ = np.nan_to_num(edges_EDQ)
    row_EDQ = np.minimum(known_EDQ.astype(np.int64), value_DHQ.shape[1] - 1)
    d_D1, q_Q = np.arange(len(value_DHQ))[:, None], np.arange(value_DHQ.shape[2])
    within_EDQ = value_DHQ[d_D1, row_EDQ, q_Q] * (known_EDQ - row_EDQ)
    return np.where(np.isnan(edges_EDQ), np.nan, sums_DHQ[d_D1, row_EDQ, q_Q] + within_EDQ)


def _rings(maps: _Maps, enface_DQ: np.ndarray, geometry: ScanGeometry) -> Iterator[np.ndarray]:
    """Of each ring around the fovea: thickness, also of its quadrants, darkness, and reflectance by depth."""
    radius_DQ, angle_DQ = _polar(maps, raster=geometry.raster)
    for inner, outer in itertools.pairwise(RINGS_MM):
        ring_DQ = (radius_DQ >= inner) & (radius_DQ < outer)
        ring = np.where(ring_DQ, maps.thickness_DQ, np.nan)
        yield _summary(ring)
        if inner:
            quadrant_DQ = np.floor((angle_DQ + np.pi / 4) / (np.pi / 2)) % 4
            yield np.array([_mean(np.where(quadrant_DQ == i, ring, np.nan)) for i in range(4)])
        yield np.array([_mean(np.where(ring_DQ, values, np.nan)) for values in (maps.dark_DQ, enface_DQ)])
        grey = _mean(np.where(ring_DQ, maps.parts_PDQ, np.nan)) or np.nan
        yield np.array([_mean(np.where(ring_DQ, part_DQ, np.nan)) / grey for part_DQ in maps.parts_PDQ])


def _polar(maps: _Maps, *, raster: bool) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the fovea (mm) and direction (rad) of each place; nan where there is no fovea.

    The fovea is the thinnest place near the middle of the field.
    """
    thick_DQ = maps.thickness_DQ
    present_DQ = np.isfinite(thick_DQ)
    nowhere_DQ = np.full(thick_DQ.shape, np.nan)
    if not raster or not present_DQ.any():
        return nowhere_DQ, nowhere_DQ
    y_D, x_Q = (
        (np.arange(n) - (n - 1) / 2) * step for n, step in zip(thick_DQ.shape, maps.step_mm, strict=True)
    )
    near_DQ = present_DQ & (np.hypot(y_D[:, None], x_Q) <= FOVEA_MM)
    if not near_DQ.any():
        return nowhere_DQ, nowhere_DQ
    smooth_DQ = _blurred(thick_DQ, [BLUR_MM / step for step in maps.step_mm])
    d, q = np.unravel_index(np.where(near_DQ, smooth_DQ, np.inf).argmin(), smooth_DQ.shape)
    y_D, x_Q = y_D - y_D[d], x_Q - x_Q[q]
    return np.hypot(y_D[:, None], x_Q), np.arctan2(y_D[:, None], x_Q)


def _blurred(value_DQ: np.ndarray, sigma: Sequence[float]) -> np.ndarray:
    """Smoothed over the places that have a value; nan at the others."""
    present_DQ = np.isfinite(value_DQ)
    sigma = np.minimum(sigma, value_DQ.shape).tolist()  # more is the mean, at the cost of a long kernel
    value, weight = (
        ndimage.gaussian_filter(array_DQ, sigma, mode="constant")
        for array_DQ in (np.where(present_DQ, value_DQ, 0.0), present_DQ.astype(np.float64))
    )
    return np.where(present_DQ, value / np.maximum(weight, 1e-12), np.nan)


def _roughness(edge_DQ: np.ndarray, step_mm: float) -> np.ndarray:
    """Micrometres from a surface to its smooth course along each B-scan: SD, 95th and 99th percentile."""
    if not np.isfinite(edge_DQ).any():
        return np.full(3, np.nan)
    off_DQ = edge_DQ - _blurred(edge_DQ, [0.0, SURFACE_MM / step_mm])
    values = off_DQ[np.isfinite(off_DQ)]
    return np.array([values.std(), *np.percentile(np.abs(values), (95, 99))])


def _gradients(enface_DQ: np.ndarray, step_mm: tuple[float, float]) -> np.ndarray:
    """Steps of reflectance between neighbours along D and along Q, per mm: mean size and 95th percentile."""
    found = []
    for axis, step in enumerate(step_mm):
        steps = np.abs(np.diff(enface_DQ, axis=axis)) / step
        steps = steps[np.isfinite(steps)]
        found += [steps.mean(), np.percentile(steps, 95)] if len(steps) else [np.nan] * 2
    return np.array(found)


def _cells(value_DQ: np.ndarray) -> np.ndarray:
    """Means on CELLS, area-averaged over the places that have a value."""
    present_DQ = np.isfinite(value_DQ)
    rows, columns = (matrix(taps(n, m), n) for n, m in zip(value_DQ.shape, CELLS, strict=True))
    value, cover = (
        rows @ array_DQ @ columns.T for array_DQ in (np.where(present_DQ, value_DQ, 0), present_DQ * 1.0)
    )
    return np.where(cover >= LEAST_COVER, value / np.maximum(cover, LEAST_COVER), np.nan)


def _summary(values: np.ndarray) -> np.ndarray:
    """Mean, SD, percentiles of what is there; nan where that is too little."""
    values = values[np.isfinite(values)]
    if len(values) < LEAST_PLACES:
        return np.full(2 + len(PERCENTILES), np.nan)
    return np.array([values.mean(), values.std(), *np.percentile(values, PERCENTILES)])


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) >= LEAST_PLACES else float("nan")
