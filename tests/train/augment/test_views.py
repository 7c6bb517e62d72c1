"""Views against NumPy and MONAI: shared geometry, gamma, speckle, hash noise, padding 0; the same on XLA."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import AdjustContrast, NormalizeIntensity

from octshard.config import fields
from octshard.config.train import ViewConfig
from octshard.errors import UsageError
from octshard.imaging.intensity import grey_scale, histogram, to_grey_steps, to_uint8
from octshard.imaging.volume import SampleKey, Volume
from octshard.models import normalize
from octshard.train.augment import affine, views

SHAPE = (4, 5, 6)
STILL = ViewConfig(flip_d=0.0, flip_w=0.0, zoom=0.0, shift=0.0, tilt=0.0, gamma=0.0, speckle=0.0, noise=0.0)


def batch(
    extents: list[tuple[int, int, int]], seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(voxels, mean, std, valid): grey levels from 1 up inside each extent, 0 outside."""
    voxels = np.zeros((len(extents), *SHAPE), np.uint8)
    rng = np.random.default_rng(seed)
    for slot_DHW, extent in zip(voxels, extents, strict=True):
        slot_DHW[tuple(slice(n) for n in extent)] = rng.integers(1, 256, extent)
    mean, std = (
        torch.tensor([100.0, 90.0, 80.0][: len(extents)]),
        torch.tensor([50.0, 40.0, 30.0][: len(extents)]),
    )
    return torch.from_numpy(voxels), mean, std, torch.tensor(extents)


def params(
    flip_d: list[bool], flip_w: list[bool], gamma: float = 1.0, noise: float = 0.0, speckle: float = 0.0
) -> views.ViewParams:
    size = len(flip_d)
    return views.ViewParams(
        torch.tensor(flip_d), torch.tensor(flip_w), torch.full((size,), gamma), torch.full((size,), noise),
        torch.full((size,), speckle), torch.arange(size) + 12345, None,
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
    context, target = views.apply(voxels, mean, std, valid, params(over_d[:n], over_w[:n]), SHAPE)
    for i, (d, h, w) in enumerate(extents):
        inner = voxels[i, :d, :h, :w].numpy().astype(np.float64)
        inner = inner[::-1] if over_d[i] else inner
        inner = inner[:, :, ::-1] if over_w[i] else inner
        expected = np.zeros(SHAPE)
        expected[:d, :h, :w] = (inner - float(mean[i])) / float(std[i])
        np.testing.assert_allclose(target[i, 0], expected, atol=1e-5)
        assert (target[i, 0].numpy() == 0)[expected == 0].all()
    torch.testing.assert_close(
        context, target, atol=1e-5, rtol=1e-5
    )  # gamma 1 and no noise: nothing else differs


def test_gamma_bends_the_context_and_leaves_the_target() -> None:
    voxels, mean, std, valid = batch([SHAPE, (3, 4, 5)])
    context, target = views.apply(
        voxels, mean, std, valid, params([True, False], [True, True], gamma=1.3), SHAPE
    )
    assert torch.equal(
        target, views.apply(voxels, mean, std, valid, params([True, False], [True, True]), SHAPE)[1]
    )
    grey = target * std.reshape(-1, 1, 1, 1, 1) + mean.reshape(-1, 1, 1, 1, 1)
    expected = (255 * (grey.double() / 255) ** 1.3 - mean.reshape(-1, 1, 1, 1, 1)) / std.reshape(
        -1, 1, 1, 1, 1
    )
    inside = target != 0
    torch.testing.assert_close(context[inside].double(), expected[inside], atol=1e-4, rtol=1e-4)
    assert (context[1, 0, 3:] == 0).all()
    assert (context[1, 0, :, 4:] == 0).all()
    assert (context[1, 0, :, :, 5:] == 0).all()


def test_gamma_and_normalisation_are_monais() -> None:
    """AdjustContrast bends between the least and the largest value: the same where those are 0 and 255."""
    voxels, mean, std, valid = batch([SHAPE])
    voxels[0, 0, 0, :2] = torch.tensor([0, 255])
    context, target = views.apply(voxels, mean, std, valid, params([False], [False], gamma=0.7), SHAPE)
    normalise = NormalizeIntensity(float(mean[0]), float(std[0]))
    volume = voxels[0][None].double()
    np.testing.assert_allclose(target[0], normalise(volume), atol=1e-5)
    np.testing.assert_allclose(context[0], normalise(AdjustContrast(0.7)(volume)), atol=1e-5)


def test_both_views_of_a_drawn_sample_share_their_geometry() -> None:
    voxels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, *SHAPE)).astype(np.uint8))
    valid = torch.tensor([SHAPE]).expand(8, -1)
    for cfg in (ViewConfig(zoom=0, tilt=0), ViewConfig(zoom=0.3, shift=0.1, tilt=0.2)):
        cfg.noise = cfg.speckle = 0.0
        view_params = views.draw(cfg, 0, [0] * 8, [f"k{i}" for i in range(8)])
        assert (
            len({(bool(d), bool(w)) for d, w in zip(view_params.flip_d_B, view_params.flip_w_B, strict=True)})
            > 1
        )
        context, target = views.apply(
            voxels, torch.full((8,), 60.0), torch.full((8,), 30.0), valid, view_params, SHAPE
        )
        bent = ((target.double() * 30 + 60) / 255) ** view_params.gamma_B.double().reshape(-1, 1, 1, 1, 1)
        torch.testing.assert_close(context.double(), (bent * 255 - 60) / 30, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(context, target, atol=0.1)


def test_geometry_sees_no_padding_and_leaves_it_zero() -> None:
    """Grey levels of 100 and more: a voxel that took from the padding would be darker."""
    voxels, mean, std, valid = batch([SHAPE, (3, 4, 5), (1, 1, 2)])
    voxels = torch.where(voxels > 0, voxels // 2 + 100, 0).byte()
    view_params = views.draw(ViewConfig(zoom=0.4, shift=0.3, tilt=0.3), 0, [0] * 3, ["a", "b", "c"])
    context, target = views.apply(voxels, mean, std, valid, view_params, SHAPE)
    inside = voxels > 0
    grey = target[:, 0] * std.reshape(-1, 1, 1, 1) + mean.reshape(-1, 1, 1, 1)
    for i, mask in enumerate(inside):
        assert grey[i][mask].min() >= voxels[i][mask].min() - 1e-3
        assert grey[i][mask].max() <= voxels[i][mask].max() + 1e-3
    assert (target[:, 0][~inside] == 0).all()
    assert (context[:, 0][~inside] == 0).all()


@pytest.mark.parametrize(("speckle", "noise"), [(0.1, 0.0), (0.0, 0.2), (0.1, 0.2)])
def test_noise_has_the_variance_of_its_two_parts(speckle: float, noise: float) -> None:
    """Added noise is counted in std of the volume (40), speckle in shares of the grey level."""
    slabs = torch.tensor([0, 50, 100, 200], dtype=torch.uint8)
    voxels = slabs.reshape(1, 4, 1, 1).expand(1, 4, 96, 96)
    arguments = voxels, torch.tensor([60.0]), torch.tensor([40.0]), torch.tensor([[4, 96, 96]])
    context, target = views.apply(
        *arguments, params([False], [False], noise=noise, speckle=speckle), (4, 96, 96)
    )
    left = ((context - target)[0, 0] * 40).double().reshape(4, -1)
    expected = ((speckle * slabs.double()) ** 2 + (40 * noise) ** 2) ** 0.5
    assert ((left.std(1) - expected).abs() <= 5 * expected / (2 * left.shape[1]) ** 0.5 + 1e-4).all()
    assert (left.mean(1).abs() <= 5 * expected / left.shape[1] ** 0.5 + 1e-4).all()


def test_plain_is_the_target_view_without_flips() -> None:
    voxels, mean, std, valid = batch([SHAPE, (3, 4, 5)])
    view_params = views.draw(ViewConfig(flip_d=0, flip_w=0, zoom=0, shift=0, tilt=0), 0, [0, 0], ["a", "b"])
    assert torch.equal(
        normalize.normalize(voxels, mean, std, valid),
        views.apply(voxels, mean, std, valid, view_params, SHAPE)[1],
    )


def test_a_blank_volume_stays_finite_and_padding_zero_under_noise() -> None:
    voxels, _, _, valid = batch([(4, 2, 6)])
    voxels = (voxels > 0).byte() * 7
    context, target = views.apply(
        voxels, torch.tensor([7.0]), torch.tensor([0.0]), valid, params([True], [True], 0.8, 0.1), SHAPE
    )
    assert torch.isfinite(context).all()
    assert (target == 0).all()
    assert (context[:, :, :, 2:] == 0).all()
    assert (context[:, :, :, :2] != 0).any()


def test_views_of_sixteen_bits_are_those_of_eight_but_for_rounding() -> None:
    """One picture of 12 bits, rounded to 8 and not, with gamma, speckle and noise: at most half a grey level
    lies between them, which a gamma of 0.8 doubles at most between grey 8 and 255.
    """
    rng = np.random.default_rng(1)
    levels = rng.integers(200, 4000, (2, *SHAPE), dtype=np.uint16)
    volumes = [Volume(SampleKey("", "", "", "", "0"), scan, (1.0, 1.0, 1.0)) for scan in levels]
    eight = torch.from_numpy(np.stack([to_uint8(volume)[0].voxels_DHW for volume in volumes]))
    for scan in levels:
        scan.flags.writeable = True
        to_grey_steps(scan, grey_scale(histogram(scan)))
    steps = torch.from_numpy(levels.view(np.int16))
    mean, std = torch.tensor([120.0, 130.0]), torch.tensor([60.0, 70.0])
    valid = torch.tensor([SHAPE, SHAPE])
    cfg = ViewConfig(zoom=0.2, shift=0.1, tilt=0.1, gamma=0.2, noise=0.1, speckle=0.1)
    view_params = views.draw(cfg, 0, [0, 1], ["a", "b"])
    wide, narrow = (views.apply(v, mean, std, valid, view_params, SHAPE) for v in (steps, eight))
    assert (wide[1] - narrow[1]).abs().max() <= 0.51 / 60
    above = narrow[1] * std.reshape(-1, 1, 1, 1, 1) + mean.reshape(-1, 1, 1, 1, 1) > 8
    assert (wide[0] - narrow[0])[above].abs().max() <= 2 * 0.51 / 60
    assert not torch.equal(wide[1], narrow[1])


def test_whole_grey_levels_give_the_same_views_in_either_width() -> None:
    voxels, mean, std, valid = batch([SHAPE, (3, 4, 5)])
    cfg = ViewConfig(zoom=0.2, shift=0.1, tilt=0.1, gamma=0.2, noise=0.1, speckle=0.1)
    view_params = views.draw(cfg, 0, [0, 1], ["a", "b"])
    for first, second in zip(
        views.apply(voxels, mean, std, valid, view_params, SHAPE),
        views.apply(voxels.to(torch.int16) * 128, mean, std, valid, view_params, SHAPE),
        strict=True,
    ):
        assert torch.equal(first, second)


def test_the_hash_is_the_same_in_numpys_unsigned_integers() -> None:
    hash_B, n = torch.tensor([0, 1, 2**32 - 1]), 4 * 5 * 6

    def mix(x: np.ndarray) -> np.ndarray:
        for _ in range(2):
            x = (x ^ (x >> np.uint32(16))) * np.uint32(0x45D9F3B)
        return x ^ (x >> np.uint32(16))

    bits = mix(mix(np.arange(n, dtype=np.uint32)) ^ hash_B.numpy().astype(np.uint32)[:, None])
    total = bits.view(np.uint8).reshape(3, n, 4).sum(-1, dtype=np.int64)
    expected = (total - 510.0) / np.sqrt(4 * (256**2 - 1) / 12)
    noise = views.hash_noise(hash_B, SHAPE, SHAPE)
    np.testing.assert_allclose(noise.reshape(3, n), expected, rtol=1e-6, atol=1e-7)


def test_a_smaller_box_has_the_noise_of_its_corner() -> None:
    hash_B = torch.tensor([3, 2**32 - 1])
    noise = views.hash_noise(hash_B, SHAPE, SHAPE)
    assert torch.equal(views.hash_noise(hash_B, (2, 3, 4), SHAPE), noise[:, :2, :3, :4])
    voxels, mean, std, valid = batch([(2, 3, 4), (2, 3, 3)])
    view_params = params([True, False], [False, True], gamma=0.8, noise=0.1, speckle=0.1)
    whole = views.apply(voxels, mean, std, valid, view_params, SHAPE)
    box = views.apply(voxels[:, :2, :3, :4].contiguous(), mean, std, valid, view_params, SHAPE)
    for first, second in zip(box, whole, strict=True):
        assert torch.equal(first, second[:, :, :2, :3, :4])


def test_the_noise_looks_normal_and_unrelated() -> None:
    seeds = views.draw(ViewConfig(), 0, [0] * 3, ["a", "b", "c"]).hash_B
    noise = views.hash_noise(seeds, (16, 64, 64), (16, 64, 64)).double().numpy().reshape(3, -1)
    size = noise.shape[1]
    assert np.abs(noise.mean(1)).max() < 5 / size**0.5
    assert np.abs(noise.std(1) - 1).max() < 5 / (2 * size) ** 0.5
    byte = np.full(256, 1 / 256)
    expected = np.cumsum(np.convolve(np.convolve(byte, byte), np.convolve(byte, byte)))  # of 0 ... 1020
    levels = np.rint(noise * (4 * (256**2 - 1) / 12) ** 0.5 + 510).astype(int)
    for row in levels:
        distribution = np.cumsum(np.bincount(row, minlength=1021)) / size
        assert np.abs(distribution - expected).max() < 2 / size**0.5  # Kolmogorov-Smirnov, p far below 0.001
    assert np.abs(np.corrcoef(noise) - np.eye(3)).max() < 5 / size**0.5
    for lag in (1, 2, 64, 64 * 64):
        assert abs(np.corrcoef(noise[0, :-lag], noise[0, lag:])[0, 1]) < 5 / size**0.5


def tensors(params: views.ViewParams) -> list[torch.Tensor]:
    """One list of all that is drawn for a batch."""
    assert params.affine is not None
    return [*params[:-1], *params.affine[:-1]]


def test_a_samples_parameters_do_not_depend_on_its_batch() -> None:
    cfg, keys = ViewConfig(shift=0.1), ["a", "b", "c"]
    together = views.draw(cfg, 5, [1, 1, 2], keys)
    for i, key in enumerate(keys):
        alone = views.draw(cfg, 5, [[1, 1, 2][i]], [key])
        assert all(
            torch.equal(first[i : i + 1], second)
            for first, second in zip(*map(tensors, (together, alone)), strict=True)
        )
    other_epoch = views.draw(cfg, 5, [2, 2, 1], keys)
    assert not torch.equal(together.hash_B, other_epoch.hash_B)
    numbers = torch.cat([together.affine.zoom_B3.log(), together.affine.shift_B3, together.affine.tilt_B2], 1)
    assert len(numbers.unique()) == 3 * 8  # each from its own number


@pytest.mark.parametrize("name", ["flip_d", "flip_w", "zoom", "shift", "tilt", "gamma", "speckle", "noise"])
def test_one_knob_moves_no_others_draws(name: str) -> None:
    before = ViewConfig(shift=0.1)
    after = dataclasses.replace(before, **{name: 0.0})
    first, second = (views.draw(cfg, 0, [0] * 9, list("abcdefghi")) for cfg in (before, after))
    changed = [not torch.equal(x, y) for x, y in zip(*map(tensors, (first, second)), strict=True)]
    names = ["flip_d", "flip_w", "gamma", "noise", "speckle", "hash", "zoom", "shift", "tilt"]
    assert [n for n, yes in zip(names, changed, strict=True) if yes] == [name]


def test_probabilities_and_ranges_are_those_of_the_config() -> None:
    keys = [str(i) for i in range(400)]
    cfg = ViewConfig(flip_d=1, flip_w=0, zoom=0.2, shift=0.1, tilt=0.3, gamma=0.3, speckle=0.02, noise=0.07)
    always = views.draw(cfg, 0, [0] * 400, keys)
    assert always.flip_d_B.all()
    assert not always.flip_w_B.any()
    assert always.affine.max_tilt == 0.3
    for values, limit in (
        (always.gamma_B.log(), 0.3),
        (always.affine.zoom_B3.log(), 0.2),
        (always.affine.shift_B3, 0.1),
        (always.affine.tilt_B2, 0.3),
    ):
        assert float(values.abs().max()) == pytest.approx(limit, rel=0.03)
        assert abs(float(values.mean())) < 0.1 * limit
    assert torch.equal(always.noise_B, torch.full((400,), 0.07))
    assert torch.equal(always.speckle_B, torch.full((400,), 0.02))
    assert abs(float(views.draw(ViewConfig(), 0, [0] * 400, keys).flip_d_B.float().mean()) - 0.5) < 0.1


def test_nothing_asked_for_is_nothing_done() -> None:
    still = views.draw(STILL, 0, [0, 0], ["a", "b"])
    assert still.affine is None
    voxels, mean, std, valid = batch([SHAPE, (3, 4, 5)])
    context, target = views.apply(voxels, mean, std, valid, still, SHAPE)
    assert torch.equal(target, normalize.normalize(voxels, mean, std, valid))
    torch.testing.assert_close(context, target, atol=1e-5, rtol=1e-5)


def test_apply_leaves_its_inputs_alone() -> None:
    voxels, mean, std, valid = batch([SHAPE, (3, 4, 5)])
    view_params = views.draw(ViewConfig(), 0, [0, 0], ["a", "b"])
    for either in (voxels, voxels.float()):
        values = [either, mean, std, valid, *tensors(view_params)]
        before = [value.clone() for value in values]
        views.apply(either, mean, std, valid, view_params, SHAPE)
        normalize.normalize(either, mean, std, valid)
        assert all(torch.equal(first, second) for first, second in zip(before, values, strict=True))


@pytest.mark.parametrize(
    ("name", "value"), [("flip_d", 1.1), ("tilt", 0.6), ("zoom", -0.1), ("gamma", float("nan"))]
)
def test_values_out_of_range_are_refused(name: str, value: float) -> None:
    fields.check(ViewConfig())
    fields.check(STILL)
    with pytest.raises(UsageError, match=f"{name}={value}: want 0 to"):
        fields.check(ViewConfig(**{name: value}))


def on_xla() -> None:
    """Runs in its own process: batches of other parameters and extents on XLA's CPU device and on the CPU."""
    import torch_xla
    import torch_xla.debug.metrics as metrics

    at = torch_xla.device()
    for cfg in (ViewConfig(zoom=0.2, shift=0.1, tilt=0.1), ViewConfig(), STILL):
        compiles = []
        for step in range(3):
            voxels, mean, std, valid = batch([SHAPE, (3, 4 - step, 5), (1 + step, 5, 6)], step)
            view_params = views.draw(cfg, 0, [step] * 3, ["a", "b", "c"])
            expected = views.apply(voxels, mean, std, valid, view_params, SHAPE)
            result = views.apply(
                voxels.to(at), mean.to(at), std.to(at), valid.to(at), view_params.to(at), SHAPE
            )
            torch_xla.sync()
            for first, second in zip(result, expected, strict=True):
                torch.testing.assert_close(first.cpu(), second, atol=1e-3, rtol=0)
            compiles.append(metrics.counter_value("UncachedCompile"))
        assert compiles[0] == compiles[2], (cfg, compiles)
    flips = torch.tensor([True, True, False]), torch.tensor([False, True, True])
    turned = affine.apply_affine(voxels.to(at), valid.to(at), flips[0].to(at), flips[1].to(at), None)
    assert torch.equal(turned.cpu(), affine.apply_affine(voxels, valid, *flips, None))
    hash_B = torch.tensor([0, 3, 2**31, 2**32 - 1])
    assert torch.equal(
        views.hash_noise(hash_B.to(at), SHAPE, SHAPE).cpu(), views.hash_noise(hash_B, SHAPE, SHAPE)
    )
    fallen = [name for name in metrics.counter_names() if name.startswith("aten::")]
    assert not fallen, fallen


@pytest.mark.xla
def test_xla_agrees_sends_nothing_back_and_compiles_once() -> None:
    pytest.importorskip("torch_xla")
    environment = os.environ | {"PJRT_DEVICE": "CPU"}
    ran = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


if __name__ == "__main__":
    on_xla()
