"""What is black and white in a stored volume, and the volume in grey."""

from typing import Any

import numpy as np
import pytest

from octshard.dataset import stored_scale
from octshard.dataset.shard import BadSample, Sample
from octshard.imaging.intensity import EIGHT_BITS

WIDE = np.array([[[0, 100, 109, 110, 355, 356, 65535]]], np.uint16)


def sample(levels: Any, voxels_DHW: np.ndarray = WIDE) -> Sample:
    return Sample("key", {stored_scale.NAME: levels}, voxels_DHW)


def test_sixteen_bits_are_grey_between_their_two_levels() -> None:
    """100 to 355 are 255 grey levels: one for each level, so steps are whole."""
    stored = sample([100, 355.0])
    grey = [[[0, 0, 9, 10, 255, 255, 255]]]
    np.testing.assert_array_equal(stored_scale.grey_uint8(stored), grey)
    steps = stored_scale.batch_voxels(stored)
    np.testing.assert_array_equal(steps, 128 * np.array(grey))
    assert (stored_scale.grey_uint8(stored).dtype, steps.dtype) == (np.uint8, np.int16)
    np.testing.assert_array_equal(stored.voxels_DHW, [[[0, 100, 109, 110, 355, 356, 65535]]])


def test_eight_bits_are_grey_as_they_are_whatever_the_file_had() -> None:
    voxels_DHW = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    stored = sample([100.0, 4095.0], voxels_DHW)
    assert stored_scale.from_json(stored.meta, voxels_DHW.dtype, "here") == EIGHT_BITS
    np.testing.assert_array_equal(stored_scale.grey_uint8(stored), voxels_DHW)
    np.testing.assert_array_equal(stored_scale.batch_voxels(stored), voxels_DHW)
    assert stored_scale.problem(stored, EIGHT_BITS) == ""


@pytest.mark.parametrize(
    "levels", [None, [], [1.0], [2.0, 1.0], [-1.0, 5.0], [0.0, 65536.0], ["0", "9"], [True, None], 7]
)
def test_sixteen_bits_without_a_scale_are_a_bad_sample(levels: Any) -> None:
    with pytest.raises(
        BadSample, match=r"here: source_levels is .*, want two levels of uint16: black, white"
    ):
        stored_scale.from_json({stored_scale.NAME: levels}, WIDE.dtype, "here")


def test_a_scale_that_is_not_of_the_voxels_is_told() -> None:
    stored = sample([100.0, 355.0])
    assert stored_scale.problem(stored, stored_scale.GreyScale(100.0, 355.0)) == ""
    wrong = stored_scale.problem(stored, stored_scale.GreyScale(0.0, 255.0))
    assert wrong == "source_levels is [100.0, 355.0], black and white of the voxels are [0.0, 255.0]"
