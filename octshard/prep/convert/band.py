"""Where the retina lies in a stored volume: the inner limiting membrane and the RPE, by grey levels alone.

Blocks of columns are averaged to profiles along depth. In each the retina begins where a profile rises out of
the dark and stays bright; its brightest sample below is the RPE. A smooth curve through the RPE of each
B-scan, and then the neighbours of each block, decide what is believed. Deterministic; no setting.
"""

import math
from dataclasses import dataclass

import numpy as np

from octshard.imaging.retina_band import BLOCK, MOST_ROWS, NOT_FOUND, RetinaBand, not_found
from octshard.imaging.volume import Shape, Spacing
from octshard.prep.convert import axial_profiles, neighbourhood

SAMPLE_MM = 0.013  # rows are averaged to samples of about this height, so that the cost is that of the scan's
SCAN_MM, DEPTHS_MM = (2.3, 6.0), (0.3, 8.0)  # depth and width of a scan whose spacing gives no such depth
DARK_PERCENTILE, EVERY = 10, 23  # of every so manieth sample: the grey level of the vitreous
MOST_BLACK = 0.3  # of all samples, that pads a scan
RISE = 0.3  # of the way from there to the brightest sample: the inner limiting membrane
STEADY_UM, RPE_BELOW_UM = 80.0, 90.0  # below it the mean of so much is as bright; the RPE is not nearer
GAP_UM = 400.0  # of dark between what floats in the vitreous and the retina; fluid in a retina is less
RPE_HALF_UM = 10.0  # from the middle of the RPE to its lower edge
ALIKE, LAYER_UM, STEEPEST = (
    0.35,
    100.0,
    0.3,
)  # correlation of a profile's steps of that length with those beside it
CONTRAST, FAINT = 8.0, 0.25  # grey levels from dark to bright, at least; share of the volume's usual contrast
FIT_UM = (400.0, 200.0, 100.0, 60.0, 60.0)  # at this distance an RPE counts half, fit by fit
STIFF = (1e-6, 0.05, 0.5)  # against slope and curvature that few places would make up
ON_CURVE_UM, ON_CURVE = 100.0, 0.5  # from the curve; share of a B-scan's places that are so near
NEAR_CURVE_UM = 150.0  # where the RPE is looked for then
LEAST_UM = 25.0  # thickness of a retina
BESIDE_UM, SLOPE = 80.0, 0.1  # from the median of the neighbours, and more for blocks far apart
BLOCKS_BESIDE, PLANES_MM = 2, 0.2  # neighbours: blocks on each side, and B-scans so near


@dataclass(frozen=True)
class _Scale:
    """Of the samples of a volume. rows: in one; um: its height; planes: neighbours on each side; block_um."""

    rows: int
    um: float
    planes: int
    block_um: float

    @staticmethod
    def of(shape: Shape, spacing_mm: Spacing | None) -> "_Scale":
        """By the spacing, unless it gives no depth that a scan of an eye can have."""
        _, height, width = shape
        dz, dy, dx = spacing_mm or (math.inf, 0.0, 0.0)
        if not DEPTHS_MM[0] <= dy * height <= DEPTHS_MM[1]:
            dz, dy, dx = math.inf, SCAN_MM[0] / height, SCAN_MM[1] / width
        rows = min(max(1, round(SAMPLE_MM / dy)), axial_profiles.MOST_ROWS)
        return _Scale(rows, 1000 * dy * rows, int(dz <= PLANES_MM), 1000 * dx * BLOCK)

    def samples(self, um: float) -> int:
        """At least one."""
        return max(1, round(um / self.um))


def find(voxels_DHW: np.ndarray, spacing_mm: Spacing | None) -> RetinaBand:
    """The retinal band of uint8 voxels; None: their spacing is not known, and a usual scan is taken."""
    depth, height, width = voxels_DHW.shape
    if height > MOST_ROWS:
        return not_found(depth, width)
    scale = _Scale.of((depth, height, width), spacing_mm)
    top_DQ, bottom_DQ = _surfaces(axial_profiles.average(voxels_DHW, scale.rows), scale)
    top_DQ, bottom_DQ = (_steadied(place_DQ, scale) for place_DQ in (top_DQ, bottom_DQ))
    seen_DQ = bottom_DQ - top_DQ >= LEAST_UM / scale.um  # False where one is NaN
    first_DQ = np.clip(np.rint(np.where(seen_DQ, top_DQ, 0) * scale.rows), 0, height - 1)
    last_DQ = np.clip(np.rint(np.where(seen_DQ, bottom_DQ, 0) * scale.rows), first_DQ + 1, height)
    rows_DQ2 = np.where(seen_DQ[..., None], np.stack([first_DQ, last_DQ], axis=2), NOT_FOUND)
    return RetinaBand(rows_DQ2.astype(np.int16))


def _surfaces(profiles_DQN: np.ndarray, scale: _Scale) -> tuple[np.ndarray, np.ndarray]:
    """(top, bottom) by each block's own profile and the curve of its B-scan, in samples; NaN: neither."""
    dark = _dark(profiles_DQN)
    bright_DQ, peak_DQ = axial_profiles.peaks(profiles_DQN)
    seen_DQ = _shows_tissue(profiles_DQN, peak_DQ, bright_DQ - dark, scale)
    level_DQ = dark + RISE * (np.minimum(bright_DQ, _usual(bright_DQ, seen_DQ)) - dark)
    gap = scale.samples(GAP_UM)
    top_DQ = axial_profiles.tissue_top(profiles_DQN, level_DQ, scale.samples(STEADY_UM), gap)
    seen_DQ &= ~np.isnan(top_DQ)
    begin_DQ = np.where(seen_DQ, top_DQ, 0).astype(np.int64) + scale.samples(RPE_BELOW_UM)
    first_DQ = axial_profiles.brightest(profiles_DQN, begin_DQ, level_DQ, gap)
    curve_DQ, on_curve_D = _curve(first_DQ, seen_DQ & (first_DQ >= 0), scale)
    near_DQ, reach = np.rint(curve_DQ).astype(np.int64), scale.samples(NEAR_CURVE_UM)
    rpe_DQ = axial_profiles.brightest_near(profiles_DQN, dark, near_DQ, reach)
    rpe_level_DQ = np.take_along_axis(profiles_DQN, np.maximum(rpe_DQ, 0)[..., None], 2)[..., 0]
    bottom_DQ = rpe_DQ + 0.5 + RPE_HALF_UM / scale.um
    seen_DQ &= on_curve_D[:, None] & (rpe_DQ >= 0) & (rpe_level_DQ >= level_DQ)
    seen_DQ &= bottom_DQ - top_DQ >= LEAST_UM / scale.um
    return np.where(seen_DQ, top_DQ, np.nan), np.where(seen_DQ, bottom_DQ, np.nan)


def _dark(profiles_DQN: np.ndarray) -> float:
    """The grey level of the dark. Black that pads a scan is none; so much of it that it is no padding is."""
    some = profiles_DQN.ravel()[::EVERY]
    grey = some[some >= 0.5]
    return (
        float(np.percentile(grey, DARK_PERCENTILE, overwrite_input=True))
        if grey.size > (1 - MOST_BLACK) * some.size
        else 0.0
    )


def _shows_tissue(
    profiles_DQN: np.ndarray, peak_DQ: np.ndarray, contrast_DQ: np.ndarray, scale: _Scale
) -> np.ndarray:
    """bool (D, Q): the profile is like those beside it, and not much fainter than the volume's others."""
    step, steepest = scale.samples(LAYER_UM), int(STEEPEST * scale.block_um / scale.um)
    alike_DQ = axial_profiles.likeness(profiles_DQN, peak_DQ, step, steepest) >= ALIKE
    seen_DQ: np.ndarray = alike_DQ & (contrast_DQ >= CONTRAST)
    if seen_DQ.any():
        seen_DQ &= contrast_DQ >= FAINT * np.median(contrast_DQ[seen_DQ])
    return seen_DQ


def _usual(bright_DQ: np.ndarray, seen_DQ: np.ndarray) -> np.ndarray:
    """(D, 1): the median of what is seen in a B-scan; infinite if nothing is."""
    ordered_DQ = np.sort(np.where(seen_DQ, bright_DQ, np.float32(np.inf)), axis=1)
    return np.take_along_axis(ordered_DQ, seen_DQ.sum(axis=1, keepdims=True) // 2, axis=1)


def _curve(place_DQ: np.ndarray, seen_DQ: np.ndarray, scale: _Scale) -> tuple[np.ndarray, np.ndarray]:
    """A parabola (D, Q) for each B-scan through most of the places seen; bool (D,): most of them lie on it.

    Places far off count less and less (Cauchy's weights), so that a few wrong ones do not bend it.
    """
    blocks, weight_DQ = place_DQ.shape[1], seen_DQ.astype(np.float64)
    for half_um in FIT_UM:
        curve_DQ = axial_profiles.parabola(place_DQ, weight_DQ, STIFF)
        distance_DQ = np.abs(place_DQ - curve_DQ) * scale.um
        weight_DQ = seen_DQ / (1 + (distance_DQ / half_um) ** 2)
    on_DQ = seen_DQ & (distance_DQ <= ON_CURVE_UM)
    least = max(min(blocks, 3), blocks / 8)
    return curve_DQ, on_DQ.sum(axis=1) >= np.maximum(ON_CURVE * seen_DQ.sum(axis=1), least)


def _steadied(place_DQ: np.ndarray, scale: _Scale) -> np.ndarray:
    """Places without those far from their neighbours, which become the neighbours' median; gaps likewise.

    B-scans are compared by what lies above or below their own median, so that a moving eye does no harm.
    Where no neighbour within the B-scan has a place on either side, none is made up.
    """
    usual_D1 = _usual(place_DQ, ~np.isnan(place_DQ))
    level_DQ = place_DQ - np.where(np.isfinite(usual_D1), usual_D1, 0)
    median_DQ, share_DQ = neighbourhood.neighbours(level_DQ, scale.planes, BLOCKS_BESIDE)
    beside_um = BESIDE_UM + SLOPE * scale.block_um
    is_near_DQ = np.abs(level_DQ - median_DQ) * scale.um <= beside_um
    known_DQ = np.pad(is_near_DQ, ((0, 0), (BLOCKS_BESIDE, BLOCKS_BESIDE)))
    blocks = place_DQ.shape[1]
    left_DQ, right_DQ = (
        np.any([known_DQ[:, first + i : first + i + blocks] for i in range(BLOCKS_BESIDE)], axis=0)
        for first in (0, BLOCKS_BESIDE + 1)
    )
    steadied_DQ = np.where(is_near_DQ, place_DQ, np.where(left_DQ & right_DQ, median_DQ + usual_D1, np.nan))
    return np.where(share_DQ >= 0.5, steadied_DQ, np.nan)
