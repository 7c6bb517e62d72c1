"""Raw intensities against NumPy; padding is not read."""

import dataclasses

import numpy as np
import torch

from octshard.eval.controls import intensity
from octshard.rng import rng_for
from octshard.stream.batch import Batch
from octshard.stream.sampler import StreamPosition


def test_intensity_features_by_a_second_way():
    voxels = rng_for("voxels").integers(256, size=(8, 32, 16)).astype(np.uint8)
    values_BF = intensity.intensity_features(voxels)
    flat = voxels.ravel().astype(float)
    z = (flat - flat.mean()) / flat.std()
    np.testing.assert_allclose(values_BF[:32], np.histogram(flat, 32, (0, 256))[0] / flat.size, rtol=1e-6)
    shape = [flat.mean(), flat.std(), (z**3).mean(), (z**4).mean() - 3]
    np.testing.assert_allclose(values_BF[32:36], shape, rtol=1e-5)
    expected = np.percentile(flat, intensity.PERCENTILES, method="inverted_cdf")
    np.testing.assert_array_equal(values_BF[36:43], expected)
    en_face = voxels.mean(axis=1).reshape(8, 1, 8, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(values_BF[43:107].reshape(8, 8), en_face, rtol=1e-5)
    b_scan = voxels.mean(axis=0).reshape(16, 2, 8, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(values_BF[107:].reshape(16, 8), b_scan, rtol=1e-5)


def test_intensity_features_ignore_padding_and_survive_flat_and_small_volumes():
    d, h, w = 6, 20, 25
    voxels_BDHW = torch.zeros((1, 8, 32, 32), dtype=torch.uint8)
    voxels_BDHW[0, :d, :h, :w] = torch.from_numpy(
        rng_for("volume").integers(256, size=(d, h, w), dtype=np.uint8)
    )
    one = torch.ones(1)
    examples = Batch(
        voxels_BDHW, one, one, torch.tensor([[d, h, w]]), ("a",), (0,), 1, StreamPosition(0, 0), (), ("a",)
    )
    values_BF = intensity.intensity_source("x").values_of(examples)[0]
    np.testing.assert_array_equal(
        values_BF, intensity.intensity_features(examples.voxels_BDHW[0, :d, :h, :w].numpy())
    )
    steps = dataclasses.replace(examples, voxels_BDHW=voxels_BDHW.to(torch.int16) * 128 + 3)
    np.testing.assert_array_equal(intensity.intensity_source("x").values_of(steps)[0], values_BF)
    assert np.isfinite(intensity.intensity_features(np.full((1, 1, 1), 255, np.uint8))).all()
