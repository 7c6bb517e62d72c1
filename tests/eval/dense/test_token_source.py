"""Features of tokens: of the valid ones alone, standardised, at their places; voxels treated alike."""

import numpy as np
import torch

from octshard.config.model import ModelConfig
from octshard.eval.dense import token_source
from octshard.eval.dense.token_source import Scale, ScaleSums
from octshard.models.vit import Encoder

MODEL = ModelConfig([8, 32, 16], [2, 8, 8], width=12, depth=4, heads=2)
VALID_B3 = torch.tensor([[6, 20, 16], [3, 8, 9]])  # 3 x 3 x 2 and 2 x 1 x 2 tokens


def inputs() -> torch.Tensor:
    x = torch.randn(2, 1, 6, 24, 16, generator=torch.Generator().manual_seed(1))
    x[1, :, 3:], x[1, :, :, 8:], x[1, ..., 9:] = 0, 0, 0
    return x


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(MODEL).eval()


def test_levels_are_those_of_the_encoder_at_equal_parts():
    model, x = encoder(), inputs()
    for packed in (False, True):
        tokens = model.tokens_of(VALID_B3, packed=packed)
        with torch.no_grad():
            levels = token_source.encoder_source("x", model, 3).levels_of(x, tokens)
            expected = model.levels(x, tokens, [1, 3, 4])  # 4 / 3, 8 / 3, 4 blocks
        for level, other in zip(levels, expected, strict=True):
            torch.testing.assert_close(level, other)


def test_an_encoder_of_fewer_blocks_than_levels_gives_some_twice():
    model = Encoder(ModelConfig([8, 32, 16], [2, 8, 8], width=12, depth=1, heads=2))
    levels = token_source.encoder_source("x", model, 3).levels_of(inputs(), model.tokens_of(VALID_B3))
    assert len(levels) == 3
    torch.testing.assert_close(levels[0], levels[2])


def test_the_scale_is_that_of_valid_tokens():
    tokens = encoder().tokens_of(VALID_B3)
    z_BVF = torch.randn(2, 18, 5, generator=torch.Generator().manual_seed(2)) * 3 + 7
    sums = ScaleSums([5])
    for i in range(2):  # in two batches
        sums.add([z_BVF[i : i + 1]], tokens.padding_BV[i : i + 1])
    (scale,) = sums.scales(torch.device("cpu"))
    valid_NF = np.concatenate([z_BVF[0].numpy(), z_BVF[1, :4].numpy()])
    np.testing.assert_allclose(scale.mean_F.numpy(), valid_NF.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scale.std_F.numpy(), valid_NF.std(axis=0), rtol=1e-5)


def test_maps_of_voxels_are_their_patches_at_their_places():
    model, x = encoder(), inputs()
    tokens = model.tokens_of(VALID_B3)
    source = token_source.voxel_source("raw", model, 2)
    assert source.widths == (128, 128)
    scales = [Scale(torch.tensor(0.0), torch.tensor(1.0))] * 2
    level, other = token_source.maps(source.levels_of(x, tokens), scales, tokens, model.grid, (3, 3, 2))
    assert level.shape == (2, 128, 3, 3, 2)
    torch.testing.assert_close(level, other)
    torch.testing.assert_close(level[0, :, 1, 2, 1], x[0, 0, 2:4, 16:24, 8:16].flatten())
    torch.testing.assert_close(level[1, :, 1, 0, 1], x[1, 0, 2:4, 0:8, 8:16].flatten())
    assert (level[1, :, 2:] == 0).all()  # no token holds its voxels


def test_padding_stays_zero_however_features_are_scaled():
    model = encoder()
    tokens = model.tokens_of(VALID_B3)
    z_BVF = torch.ones(2, 18, 3)
    scales = [Scale(torch.full((3,), 5.0), torch.ones(3))]
    (level,) = token_source.maps([z_BVF], scales, tokens, model.grid, (3, 3, 2))
    assert (level[0] == -4).all()
    assert (level[1] == -4).sum() == 4 * 3
    assert (level[1] == 0).sum() == 14 * 3
