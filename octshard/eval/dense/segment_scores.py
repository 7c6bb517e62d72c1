"""How well labels agree with true ones in one scan: Dice, places of layer boundaries, distance of surfaces.

Letters besides those of volume.py: C classes, K boundaries between layers.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.eval.dense import monai_parts
from octshard.eval.dense.target_store import PADDING
from octshard.imaging.volume import Spacing, product


@dataclass(frozen=True)
class Anatomy:
    """names of the classes; layers: numbers of those that follow each other in depth, from the top."""

    names: tuple[str, ...]
    layers: tuple[int, ...]

    @property
    def lesions(self) -> tuple[int, ...]:
        """Classes that are no layers."""
        return tuple(c for c in range(len(self.names)) if c not in self.layers)

    @property
    def boundaries(self) -> tuple[str, ...]:
        """Names of the boundaries between layers."""
        names = [self.names[c] for c in self.layers]
        return tuple(f"{above}/{below}" for above, below in itertools.pairwise(names))


def score(
    true_DHW: np.ndarray, predicted_DHW: np.ndarray, anatomy: Anatomy, spacing_mm: Spacing
) -> dict[str, float]:
    """Every score of a scan by its name; nan where it is not defined. spacing_mm: nan where it is not known.

    dice, dice NAME: of classes that the scan has; dice is their mean. boundary_um, boundary_um A/B: mean
    distance in depth over A-scans, over all boundaries and of one. surface_um NAME: mean distance of the
    surfaces of a lesion, where both have it. false_mm3 NAME: predicted of a lesion that the scan has not.
    """
    predicted_DHW = np.where(true_DHW == PADDING, PADDING, predicted_DHW)
    scores = _dice(true_DHW, predicted_DHW, anatomy)
    voxel_mm3 = float(np.prod(spacing_mm))
    for c in anatomy.lesions:
        name, lesion, guess = anatomy.names[c], true_DHW == c, predicted_DHW == c
        is_known = np.isfinite(voxel_mm3)
        distance_mm = monai_parts.surface_distance(guess, lesion, spacing_mm) if is_known else float("nan")
        scores[f"surface_um {name}"] = 1000 * distance_mm
        scores[f"false_mm3 {name}"] = float("nan") if lesion.any() else float(guess.sum()) * voxel_mm3
    if anatomy.boundaries:
        dy_um = 1000 * spacing_mm[1]
        true_KDW, predicted_KDW = (boundary_rows(x, anatomy.layers) for x in (true_DHW, predicted_DHW))
        inside_KDW = (true_KDW > 0) & (true_KDW < true_DHW.shape[1])
        gap_KDW = np.where(inside_KDW, np.abs(predicted_KDW - true_KDW) * dy_um, np.nan)
        errors = [_mean(gap_DW) for gap_DW in gap_KDW]
        scores["boundary_um"] = _mean(np.array(errors))
        scores |= {f"boundary_um {name}": e for name, e in zip(anatomy.boundaries, errors, strict=True)}
    return scores


def boundary_rows(labels_DHW: np.ndarray, layers: Sequence[int]) -> np.ndarray:
    """(K, D, W): the row below each boundary, at which the fewest voxels of a column are on the wrong side.

    Of several such rows the last: what is no layer, such as fluid, counts with what lies above it.
    """
    place_of = np.full(256, -1, np.int16)
    place_of[list(layers)] = np.arange(len(layers))
    place_DHW = place_of[labels_DHW]
    rows = []
    for k in range(len(layers) - 1):
        above_DHW, below_DHW = (place_DHW >= 0) & (place_DHW <= k), place_DHW > k
        step_DHW = below_DHW.astype(np.int32) - above_DHW
        wrong_DHW = np.concatenate([np.zeros_like(step_DHW[:, :1]), np.cumsum(step_DHW, axis=1)], axis=1)
        last_DW = labels_DHW.shape[1] - np.argmin(wrong_DHW[:, ::-1], axis=1)
        rows.append(last_DW)
    return np.stack(rows).astype(np.float64)


def _dice(true_DHW: np.ndarray, predicted_DHW: np.ndarray, anatomy: Anatomy) -> dict[str, float]:
    classes, counted = len(anatomy.names), true_DHW != PADDING
    cell_N = true_DHW[counted].astype(np.int64) * classes + predicted_DHW[counted]
    counts_CC = np.bincount(cell_N, minlength=product((classes, classes))).reshape(classes, classes)
    hit_C, true_C, guess_C = np.diagonal(counts_CC), counts_CC.sum(axis=1), counts_CC.sum(axis=0)
    dice_C = np.where(true_C > 0, 2 * hit_C / np.maximum(true_C + guess_C, 1), np.nan)
    values = {f"dice {name}": float(value) for name, value in zip(anatomy.names, dice_C, strict=True)}
    return {"dice": _mean(dice_C), **values}


def _mean(values: np.ndarray) -> float:
    """Of those that are numbers; nan without any."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
