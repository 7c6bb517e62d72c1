"""Where tokens lie in a scan: grids, planes, means by hand; the tokens that an encoder makes, read again."""

import dataclasses

import numpy as np
import pytest

from octshard.eval import encoders, extraction
from octshard.eval.pictures import token_field
from octshard.eval.pictures.token_field import TokenField
from octshard.imaging.tiles import View
from octshard.progress import no_progress
from tests.support.picture_request import made_request

PLACE_V3 = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0], [1, 0, 1]])  # tokens of 2 x 1 x 2, in no order
FIELD = TokenField(PLACE_V3, (slice(1, 4), slice(2, 5), slice(0, 3)), (2, 3, 2))


def test_values_of_tokens_come_to_their_place() -> None:
    assert FIELD.on_grid(np.array([10, 20, 30, 40])).tolist() == [[[30, 10]], [[20, 40]]]
    assert FIELD.on_grid(np.arange(8).reshape(4, 2)).shape == (2, 1, 2, 2)


def test_planes_of_tokens_know_their_b_scans() -> None:
    """The window holds B-scans 1 to 3: tokens of 1 and 2, and of 3 alone."""
    assert [FIELD.plane_of(b_scan) for b_scan in (1, 2, 3)] == [0, 0, 1]
    assert [FIELD.b_scan_of(plane) for plane in (0, 1)] == [2, 3]


def test_values_are_spread_over_the_voxels_that_are_read() -> None:
    assert FIELD.spread(np.array([[1, 2]]), (1, 2)).tolist() == [[1, 1, 2]] * 3
    assert FIELD.spread(np.array([[1, 2], [3, 4]]), (0, 2)).tolist() == [[1, 1, 2], [1, 1, 2], [3, 3, 4]]


def test_means_are_those_of_the_voxels_of_each_token() -> None:
    voxels_DHW = np.random.default_rng(0).integers(255, size=(5, 6, 4)).astype(np.uint8)
    means_dhw = FIELD.means(voxels_DHW)
    read_DHW = voxels_DHW[1:4, 2:5, 0:3].astype(float)
    hand = [
        [read_DHW[d, :, w].mean() for w in (slice(0, 2), slice(2, 3))] for d in (slice(0, 2), slice(2, 3))
    ]
    np.testing.assert_allclose(means_dhw[:, 0], hand)


def test_the_centre_is_a_part_and_the_whole_is_all() -> None:
    size = ((4, 8, 8), (2, 4, 4))
    assert token_field.window_of(View("whole", *size), (9, 20, 6)) == (slice(0, 9), slice(0, 20), slice(0, 6))
    assert token_field.window_of(View("centre", *size), (9, 20, 6)) == (
        slice(2, 6),
        slice(6, 14),
        slice(0, 6),
    )


@pytest.mark.parametrize("view", ["whole", "centre"])
def test_tokens_read_again_are_those_of_the_features(tmp_path, view: str) -> None:
    """In any order of scans their mean is the pooled one. One of 6 x 20 x 24 is two tiles of 8 x 32 x 16."""
    request = made_request(tmp_path)
    asked = dataclasses.replace(request.asked, view=view, poolings=("mean",))
    request = dataclasses.replace(request, asked=asked)
    made = encoders.sources_of(request.encoders, request.scans, asked, request.devices)
    stream = request.scans.stream(4, made.backend, no_progress)
    features = extraction.extract(made.sources, request.scans.request(), str(tmp_path / "table"), stream)
    (pooled,) = features.values()
    places = [25, 3, 12]
    tokens = list(token_field.read(request, request.encoders[0], places))
    for place, (field, z_VF) in zip(places, tokens, strict=True):
        assert field.on_grid(z_VF[:, 0]).shape == (3, 3, 3 if view == "whole" else 2)
        np.testing.assert_allclose(z_VF.astype(np.float32).mean(0), pooled.values_NF[place], atol=2e-3)
