"""Targets come back whole, and cropped as voxels are."""

import numpy as np

from octshard.eval.dense.target_store import PADDING, TargetStore

LABELS = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
FLOW = np.linspace(0, 1, 15, dtype=np.float32).reshape(3, 5)


def test_a_target_comes_back():
    for target, dtype in ((LABELS, "uint8"), (FLOW, "float32")):
        np.testing.assert_array_equal(TargetStore.of({"a": target}, dtype).whole("a"), target)


def test_a_crop_is_that_of_the_voxels_with_padding_behind():
    window = (slice(1, 3), slice(0, 4), slice(2, 4))
    labels = TargetStore.of({"a": LABELS}, "uint8").cropped("a", window, (2, 6, 2))
    np.testing.assert_array_equal(labels[:, :4], LABELS[window])
    assert (labels[:, 4:] == PADDING).all()
    flow = TargetStore.of({"a": FLOW}, "float32").cropped("a", window, (3, 6, 2))
    np.testing.assert_array_equal(flow[:2], FLOW[1:3, 2:4])
    assert (flow[2:] == 0).all()
