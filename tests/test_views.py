"""Views against NumPy: flips inside the valid extent, shared geometry, gamma, hash noise, padding 0."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from octshard.config import ViewConfig
from octshard.train import views

SHAPE = (4, 5, 6)
STILL = ViewConfig(flip_d=0.0, flip_w=0.0, gamma=0.0, noise=0.0)


def batch(
    extents: list[tuple[int, int, int]], seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(voxels, mean, std, valid): grey levels from 1 up inside each extent, 0 outside."""
    voxels = np.zeros((len(extents), *SHAPE), np.uint8)
    rng = np.random.default_rng(seed)
    for one, extent in zip(voxels, extents, strict=True):
        one[tuple(slice(n) for n in extent)] = rng.integers(1, 256, extent)
    mean, std = (
        torch.tensor([100.0, 90.0, 80.0][: len(extents)]),
        torch.tensor([50.0, 40.0, 30.0][: len(extents)]),
    )
    return torch.from_numpy(voxels), mean, std, torch.tensor(extents)


def params(
    flip_d: list[bool], flip_w: list[bool], gamma: float = 1.0, noise: float = 0.0
) -> views.ViewParams:
    size = len(flip_d)
    return views.ViewParams(
        torch.tensor(flip_d), torch.tensor(flip_w), torch.full((size,), gamma), torch.full((size,), noise),
        torch.arange(size) + 12345,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*(st.integers(1, n) for n in SHAPE)), min_size=1, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_flips_stay_inside_the_volume(
    extents: list[tuple[int, int, int]], over_d: list[bool], over_w: list[bool]
) -> None:
    voxels, mean, std, valid = batch(extents)
    n = len(extents)
    context, target = views.apply(voxels, mean, std, valid, params(over_d[:n], over_w[:n]))
    for i, (d, h, w) in enumerate(extents):
        inner = voxels[i, :d, :h, :w].numpy().astype(np.float64)
        inner = inner[::-1] if over_d[i] else inner
        inner = inner[:, :, ::-1] if over_w[i] else inner
        wanted = np.zeros(SHAPE)
        wanted[:d, :h, :w] = (inner - float(mean[i])) / float(std[i])
        np.testing.assert_allclose(target[i, 0], wanted, atol=1e-5)
        assert (target[i, 0].numpy() == 0)[wanted == 0].all()
    torch.testing.assert_close(
        context, target, atol=1e-5, rtol=1e-5
    )  # gamma 1 and no noise: nothing else differs


def test_gamma_bends_the_context_and_leaves_the_target() -> None:
    voxels, mean, std, valid = batch([SHAPE, (3, 4, 5)])
    context, target = views.apply(voxels, mean, std, valid, params([True, False], [True, True], gamma=1.3))
    assert torch.equal(target, views.apply(voxels, mean, std, valid, params([True, False], [True, True]))[1])
    grey = target * std.reshape(-1, 1, 1, 1, 1) + mean.reshape(-1, 1, 1, 1, 1)
    wanted = (255 * (grey.double() / 255) ** 1.3 - mean.reshape(-1, 1, 1, 1, 1)) / std.reshape(-1, 1, 1, 1, 1)
    inside = target != 0
    torch.testing.assert_close(context[inside].double(), wanted[inside], atol=1e-4, rtol=1e-4)
    assert (context[1, 0, 3:] == 0).all()
    assert (context[1, 0, :, 4:] == 0).all()
    assert (context[1, 0, :, :, 5:] == 0).all()


def test_both_views_of_a_drawn_sample_share_their_geometry() -> None:
    voxels = torch.arange(4 * 5 * 6, dtype=torch.uint8).reshape(1, *SHAPE).expand(8, -1, -1, -1)
    valid = torch.tensor([SHAPE]).expand(8, -1)
    drawn = views.draw(ViewConfig(noise=0.0), 0, [0] * 8, [f"k{i}" for i in range(8)])
    assert len({(bool(d), bool(w)) for d, w in zip(drawn.flip_d_B, drawn.flip_w_B, strict=True)}) > 1
    context, target = views.apply(voxels, torch.full((8,), 60.0), torch.full((8,), 30.0), valid, drawn)
    assert not torch.equal(context, target)
    assert torch.equal(context.flatten(1).argsort(1), target.flatten(1).argsort(1))


def test_plain_is_the_target_view_without_flips() -> None:
    voxels, mean, std, valid = batch([SHAPE, (3, 4, 5)])
    drawn = views.draw(ViewConfig(flip_d=0.0, flip_w=0.0), 0, [0, 0], ["a", "b"])
    assert torch.equal(views.plain(voxels, mean, std, valid), views.apply(voxels, mean, std, valid, drawn)[1])


def test_a_blank_volume_stays_finite_and_padding_zero_under_noise() -> None:
    voxels, _, _, valid = batch([(4, 2, 6)])
    voxels = (voxels > 0).byte() * 7
    context, target = views.apply(
        voxels, torch.tensor([7.0]), torch.tensor([0.0]), valid, params([True], [True], 0.8, 0.1)
    )
    assert torch.isfinite(context).all()
    assert (target == 0).all()
    assert (context[:, :, :, 2:] == 0).all()
    assert (context[:, :, :, :2] != 0).any()


def test_the_hash_is_the_same_in_numpys_unsigned_integers() -> None:
    hash_B, n = torch.tensor([0, 1, 2**32 - 1]), 4 * 5 * 6

    def mix(x: np.ndarray) -> np.ndarray:
        for _ in range(2):
            x = (x ^ (x >> np.uint32(16))) * np.uint32(0x45D9F3B)
        return x ^ (x >> np.uint32(16))

    bits = mix(mix(np.arange(n, dtype=np.uint32)) ^ hash_B.numpy().astype(np.uint32)[:, None])
    total = bits.view(np.uint8).reshape(3, n, 4).sum(-1, dtype=np.int64)
    wanted = (total - 510.0) / np.sqrt(4 * (256**2 - 1) / 12)
    found = views.hash_noise(hash_B, SHAPE)
    np.testing.assert_allclose(found.reshape(3, n), wanted, rtol=1e-6, atol=1e-7)


def test_the_noise_looks_normal_and_unrelated() -> None:
    seeds = views.draw(ViewConfig(), 0, [0] * 3, ["a", "b", "c"]).hash_B
    noise = views.hash_noise(seeds, (16, 64, 64)).double().numpy().reshape(3, -1)
    size = noise.shape[1]
    assert np.abs(noise.mean(1)).max() < 5 / size**0.5
    assert np.abs(noise.std(1) - 1).max() < 5 / (2 * size) ** 0.5
    byte = np.full(256, 1 / 256)
    wanted = np.cumsum(np.convolve(np.convolve(byte, byte), np.convolve(byte, byte)))  # of 0 ... 1020
    levels = np.rint(noise * (4 * (256**2 - 1) / 12) ** 0.5 + 510).astype(int)
    for row in levels:
        found = np.cumsum(np.bincount(row, minlength=1021)) / size
        assert np.abs(found - wanted).max() < 2 / size**0.5  # Kolmogorov-Smirnov, p far below 0.001
    assert np.abs(np.corrcoef(noise) - np.eye(3)).max() < 5 / size**0.5
    for lag in (1, 2, 64, 64 * 64):
        assert abs(np.corrcoef(noise[0, :-lag], noise[0, lag:])[0, 1]) < 5 / size**0.5


def test_a_samples_parameters_do_not_depend_on_its_batch() -> None:
    cfg, keys = ViewConfig(), ["a", "b", "c"]
    together = views.draw(cfg, 5, [1, 1, 2], keys)
    for i, key in enumerate(keys):
        alone = views.draw(cfg, 5, [[1, 1, 2][i]], [key])
        assert all(torch.equal(one[i : i + 1], other) for one, other in zip(together, alone, strict=True))
    other_epoch = views.draw(cfg, 5, [2, 2, 1], keys)
    assert not torch.equal(together.hash_B, other_epoch.hash_B)


def test_probabilities_and_ranges_are_those_of_the_config() -> None:
    keys = [str(i) for i in range(400)]
    always = views.draw(ViewConfig(flip_d=1.0, flip_w=0.0, gamma=0.3, noise=0.07), 0, [0] * 400, keys)
    assert always.flip_d_B.all()
    assert not always.flip_w_B.any()
    assert float(always.gamma_B.log().abs().max()) == pytest.approx(0.3, abs=0.01)
    assert abs(float(always.gamma_B.log().mean())) < 0.03
    assert torch.equal(always.noise_B, torch.full((400,), 0.07))
    assert abs(float(views.draw(ViewConfig(), 0, [0] * 400, keys).flip_d_B.float().mean()) - 0.5) < 0.1
    still = views.draw(STILL, 0, [0], ["a"])
    assert (bool(still.flip_d_B), bool(still.flip_w_B), float(still.gamma_B), float(still.noise_B)) == (
        False,
        False,
        1,
        0,
    )
