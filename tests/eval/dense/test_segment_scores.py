"""Dice as MONAI has it, boundaries by trying every row, surfaces by all pairs of voxels."""

import numpy as np
import pytest
import torch

from octshard.eval.dense import segment_scores
from octshard.eval.dense.segment_scores import Anatomy
from octshard.eval.dense.target_store import PADDING

pytest.importorskip("monai")
ANATOMY = Anatomy(("top", "middle", "bottom", "lesion"), (0, 1, 2))
SPACING = (0.5, 0.02, 0.1)
RNG = np.random.default_rng(3)


def layered(rows: tuple[int, int], shape: tuple[int, int, int] = (2, 20, 5)) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[:, rows[0] :] = 1
    labels[:, rows[1] :] = 2
    return labels


def test_equal_labels_have_perfect_scores():
    true = layered((5, 12))
    true[0, 7:9, 2] = 3
    scores = segment_scores.score(true, true.copy(), ANATOMY, SPACING)
    assert scores["dice"] == scores["dice lesion"] == 1
    assert scores["boundary_um"] == scores["boundary_um top/middle"] == scores["surface_um lesion"] == 0
    assert np.isnan(scores["false_mm3 lesion"])


def test_dice_is_monais():
    from monai.metrics.meandice import compute_dice

    true, predicted = (RNG.integers(0, 4, (3, 10, 6)).astype(np.uint8) for _ in range(2))
    true[true == 2] = 1  # a class that the scan does not have
    scores = segment_scores.score(true, predicted, ANATOMY, SPACING)
    onehot = [torch.from_numpy(np.eye(4)[x]).movedim(-1, 0)[None] for x in (predicted, true)]
    expected = compute_dice(*onehot)[0]
    found = [scores[f"dice {name}"] for name in ANATOMY.names]
    np.testing.assert_allclose(found, expected)
    assert np.isnan(found[2])
    assert scores["dice"] == pytest.approx(float(np.nanmean(expected)))


def test_shifted_boundaries_are_as_far_off_as_they_are_shifted():
    scores = segment_scores.score(layered((5, 12)), layered((8, 11)), ANATOMY, SPACING)
    assert scores["boundary_um top/middle"] == pytest.approx(3 * 20)
    assert scores["boundary_um middle/bottom"] == pytest.approx(1 * 20)
    assert scores["boundary_um"] == pytest.approx(40)


def test_boundaries_are_where_the_fewest_voxels_are_wrong():
    labels = RNG.integers(0, 4, (3, 12, 4)).astype(np.uint8)
    rows_KDW = segment_scores.boundary_rows(labels, ANATOMY.layers)
    for k, d, w in np.ndindex(rows_KDW.shape):
        column = labels[d, :, w]
        wrong = [
            ((column[:r] > k) & (column[:r] < 3)).sum() + (column[r:] <= k).sum()
            for r in range(len(column) + 1)
        ]
        best = np.flatnonzero(np.array(wrong) == min(wrong))
        assert rows_KDW[k, d, w] == best[-1]


def test_a_lesion_between_two_layers_counts_with_the_upper_one():
    labels = layered((5, 12))
    labels[:, 10:14] = 3
    assert (segment_scores.boundary_rows(labels, ANATOMY.layers)[1] == 14).all()


def test_a_boundary_outside_the_volume_is_not_scored():
    true = layered((0, 12))  # begins in the middle layer
    scores = segment_scores.score(true, layered((4, 12)), ANATOMY, SPACING)
    assert np.isnan(scores["boundary_um top/middle"])
    assert scores["boundary_um"] == 0


def test_what_is_ignored_counts_nowhere():
    true, predicted = layered((5, 12)), layered((5, 12))
    true[1], predicted[1] = PADDING, 3
    scores = segment_scores.score(true, predicted, ANATOMY, SPACING)
    assert scores["dice"] == 1
    assert scores["boundary_um"] == 0
    assert scores["false_mm3 lesion"] == 0


def test_a_lesion_that_is_not_there_is_a_volume():
    predicted = layered((5, 12))
    predicted[0, 6:8, :3] = 3
    scores = segment_scores.score(layered((5, 12)), predicted, ANATOMY, SPACING)
    assert scores["false_mm3 lesion"] == pytest.approx(6 * 0.5 * 0.02 * 0.1)
    assert np.isnan(scores["dice lesion"])


def test_surfaces_are_as_far_apart_as_their_voxels():
    true, predicted = (np.zeros((4, 12, 9), np.uint8) for _ in range(2))
    true[1:3, 3:6, 2:5], predicted[1:4, 5:9, 3:7] = 3, 3
    scores = segment_scores.score(true, predicted, Anatomy(ANATOMY.names, ()), SPACING)
    ends = [edge(x == 3) * np.array(SPACING) for x in (true, predicted)]
    gaps = np.linalg.norm(ends[0][:, None] - ends[1][None], axis=2)
    expected = np.concatenate([gaps.min(axis=0), gaps.min(axis=1)]).mean()
    assert scores["surface_um lesion"] == pytest.approx(1000 * expected, rel=1e-4)
    assert "boundary_um" not in scores


def edge(mask: np.ndarray) -> np.ndarray:
    """Voxels (n, 3) of a mask with a neighbour outside."""
    padded = np.pad(mask, 1)
    inside = np.ones_like(mask)
    for axis in range(3):
        for step in (-1, 1):
            inside &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
    return np.argwhere(mask & ~inside)


def test_without_a_spacing_lengths_are_not_defined():
    scores = segment_scores.score(layered((5, 12)), layered((8, 11)), ANATOMY, (np.nan,) * 3)
    assert np.isnan(scores["boundary_um"])
    assert np.isnan(scores["false_mm3 lesion"])
    assert scores["dice"] < 1


def test_without_a_step_between_slices_depth_is_known_and_no_volume():
    true, predicted = layered((5, 12)), layered((8, 12))
    true[0, 1, 1] = predicted[0, 2, 1] = 3
    scores = segment_scores.score(true, predicted, ANATOMY, (np.nan, *SPACING[1:]))
    assert scores["boundary_um top/middle"] == pytest.approx(3 * 20)
    assert np.isnan(scores["surface_um lesion"])
    assert np.isnan(segment_scores.score(layered((5, 12)), true, ANATOMY, (np.nan, 1, 1))["false_mm3 lesion"])
