"""One-hot columns of what train knows; what never varies is left out."""

import numpy as np

from octshard.eval.controls.provenance import Provenance
from octshard.eval.controls.provenance_alone import onehot


def test_each_value_of_train_is_a_column_and_a_new_one_is_none():
    known = Provenance(
        {"site": ("a", "b", "a", "c"), "device": ("x", "x", "x", "y"), "model": ("m", "", "m", "m")}
    )
    values_NF, names = onehot(known, np.array([0, 1]))
    assert names == {"site": ("a", "b"), "model": ("", "m")}
    np.testing.assert_array_equal(values_NF, [[1, 0, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 0, 1]])
    assert values_NF.dtype == np.float32


def test_one_site_and_device_have_no_column():
    values_NF, names = onehot(Provenance({"site": ("a", "a"), "device": ("x", "x")}), np.array([0, 1]))
    assert values_NF.shape == (2, 0)
    assert names == {}
