"""The position-only predictor by hand: medians, mean directions, halves, and positions that few hold."""

import statistics

import numpy as np
import pytest
import torch

from octshard.train.objectives import position_only
from octshard.train.objectives.distance import NORMALISED_MSE, NORMED_L1, VOXEL_MSE, Distance
from octshard.train.objectives.position_only import ValTokens

EACH_DISTANCE = pytest.mark.parametrize("distance", [NORMED_L1, NORMALISED_MSE, VOXEL_MSE])
SECOND_V = np.arange(8) % 2 == 1


def tokens_of(values_VP: list[list[float]], target_VP: object = True, held_VP: object = True) -> ValTokens:
    """One feature a token; every target weighs 1 and has the error 10."""
    features_VPF = np.array(values_VP, np.float32)[:, :, None]
    weight_VP, held = (np.broadcast_to(x, features_VPF.shape[:2]) for x in (target_VP, held_VP))
    weight_VP = (weight_VP & held).astype(np.float32)
    return ValTokens(features_VPF, held.copy(), weight_VP, 10 * weight_VP)


def test_the_median_of_one_half_is_judged_on_the_other() -> None:
    # first half (volumes 0, 2, 4, 6): 0, 1, 5, 9, median 3; second half: 3, 4, 4, 100, median 4
    losses = position_only.losses(tokens_of([[0], [3], [1], [4], [5], [4], [9], [100]]), SECOND_V, NORMED_L1)
    assert losses is not None
    first = 0 + 1 + 1 + 97  # |3, 4, 4, 100 - 3|
    second = 4 + 3 + 1 + 5  # |0, 1, 5, 9 - 4|
    assert losses.position_only == pytest.approx((first + second) / 8)
    assert losses.model == 10


def test_only_targets_are_judged_but_all_that_is_held_is_fitted() -> None:
    target_VP = np.zeros((8, 1), bool)
    target_VP[1] = True
    losses = position_only.losses(
        tokens_of([[0], [3], [1], [4], [5], [4], [9], [100]], target_VP), SECOND_V, NORMED_L1
    )
    assert losses is not None
    assert losses.position_only == 0  # |3 - 3|


def test_a_position_that_fewer_than_four_hold_counts_for_nobody() -> None:
    values = [[0, 7], [3, 7], [1, 7], [4, 7], [5, 7], [4, 7], [9, 7], [100, 7]]
    held_VP = np.ones((8, 2), bool)
    held_VP[6, 1] = False  # three of the first half are left there, so that the second is not judged
    tokens = tokens_of(values, held_VP=held_VP)
    tokens.features_VPF[6, 1] = np.nan  # what is not held is not read
    tokens.error_VP[1::2, 1] = np.nan
    losses = position_only.losses(tokens, SECOND_V, NORMED_L1)
    assert losses is not None
    assert losses.position_only == pytest.approx((99 + 13 + 0 + 0 + 0) / (8 + 3))
    assert losses.model == 10


@pytest.mark.parametrize("volumes", [1, 6])
def test_too_few_volumes_have_no_position_only_predictor(volumes: int) -> None:
    tokens = tokens_of([[float(v)] for v in range(volumes)])
    assert position_only.losses(tokens, SECOND_V[:volumes], NORMED_L1) is None


def test_with_enough_volumes_in_one_half_the_other_is_judged() -> None:
    losses = position_only.losses(tokens_of([[float(v)] for v in range(7)]), SECOND_V[:7], NORMED_L1)
    assert losses is not None
    assert losses.position_only == pytest.approx(np.abs(np.array([1, 3, 5]) - 3).mean())


def test_the_better_of_the_two_references_counts() -> None:
    assert position_only.Losses(0.1, 0.5, 0.4).volume_blind == 0.4
    assert position_only.Losses(0.1, 0.4, 0.5).volume_blind == 0.4


def test_weights_are_shares_of_the_loss() -> None:
    tokens = tokens_of([[0, 0]] * 4 + [[2, 4]] * 4)
    second_V = np.arange(8) >= 4
    tokens.weight_VP[:, 1] = 3
    losses = position_only.losses(tokens, second_V, NORMED_L1)
    assert losses is not None
    assert losses.position_only == pytest.approx((2 * 1 + 4 * 3) / 4)
    assert losses.model == pytest.approx((10 + 10) / 4)


@EACH_DISTANCE
def test_against_a_plain_loop_with_the_loss_of_the_model(distance: Distance) -> None:
    rng = np.random.default_rng(0)
    h_VPF = rng.standard_normal((12, 5, 6)).astype(np.float32) + np.arange(5)[:, None]
    held_VP, second_V = rng.random((12, 5)) < 0.9, rng.random(12) < 0.5
    target_VP = (rng.random((12, 5)) < 0.6) & held_VP
    features = distance.as_compared(torch.from_numpy(h_VPF)).numpy()
    weight_VP = target_VP.astype(np.float32)
    losses = position_only.losses(ValTokens(features, held_VP, weight_VP, weight_VP), second_V, distance)
    expected = []
    for p in range(5):
        for second in (False, True):
            fit = [features[v, p] for v in range(12) if held_VP[v, p] and second_V[v] != second]
            if len(fit) < 4:
                continue
            if distance is NORMED_L1:
                center = [statistics.median(column) for column in np.stack(fit).T.tolist()]
            elif distance is VOXEL_MSE:
                center = np.mean(fit, axis=0).tolist()
            else:
                center = np.sum(fit, axis=0).tolist()  # its length does not matter to a cosine
            for v in range(12):
                if target_VP[v, p] and second_V[v] == second:
                    compared = distance.as_compared(torch.tensor(h_VPF[v, p])[None, None])
                    error = distance.error(torch.tensor([[center]]), compared)
                    expected.append(float(error.mean()))
    assert losses is not None
    assert losses.position_only == pytest.approx(np.mean(expected), rel=1e-5)


@EACH_DISTANCE
def test_no_constant_is_better_than_the_center(distance: Distance) -> None:
    rng = np.random.default_rng(1)
    rows = distance.as_compared(torch.from_numpy(rng.standard_normal((9, 7)) + 0.5)).numpy()
    center = distance.center(rows)
    least = distance.error_of(rows, center).mean()
    for _ in range(100):
        other = center + 0.05 * rng.standard_normal(7)
        other = other / np.linalg.norm(other) if distance is NORMALISED_MSE else other
        assert distance.error_of(rows, other).mean() >= least - 1e-9
