"""The encoder against PyTorch's transformer layer; parameters counted by hand; gradients of hidden voxels."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from octshard.config.model import ModelConfig
from octshard.imaging.volume import valid_tokens
from octshard.models import vit
from octshard.models.tokens import Tokens

GRID = (2, 3, 4)
PATCH = (2, 4, 4)


def small(kind: str = "rope") -> ModelConfig:
    return ModelConfig(
        image_size=[4, 12, 16], patch=list(PATCH), width=24, depth=2, heads=2, mlp_ratio=2.0, position=kind
    )


def encoder(kind: str = "rope", seed: int = 0) -> vit.Encoder:
    torch.manual_seed(seed)
    return vit.Encoder(small(kind))


def voxels(batch: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(batch, 1, 4, 12, 16)).astype(np.float32))


def test_a_patch_holds_the_voxels_of_its_place() -> None:
    x_BCDHW = voxels()
    patches = vit.patchify(x_BCDHW, PATCH)
    assert patches.shape == (2, 24, 32)
    d, h, w = 1, 2, 3
    expected = x_BCDHW[1, 0, 2 * d : 2 * d + 2, 4 * h : 4 * h + 4, 4 * w : 4 * w + 4].flatten()
    assert torch.equal(patches[1, (d * 3 + h) * 4 + w], expected)


def test_blocks_are_pytorchs_pre_norm_layers() -> None:
    model = encoder("sincos")
    x_BCDHW = voxels()
    z = model.position.add_sincos(model.embed(vit.patchify(x_BCDHW, PATCH)), None)
    for block in model.blocks:
        layer = nn.TransformerEncoderLayer(
            24, 2, 48, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
        )
        parts = {
            "self_attn.in_proj_": block.attention.qkv,
            "self_attn.out_proj.": block.attention.out,
            "linear1.": block.mlp[0],
            "linear2.": block.mlp[2],
            "norm1.": block.norm1,
            "norm2.": block.norm2,
        }
        names = {
            f"{name}{kind}": getattr(part, kind)
            for name, part in parts.items()
            for kind in ("weight", "bias")
        }
        layer.load_state_dict({name: tensor.detach() for name, tensor in names.items()})
        z = layer(z)
    torch.testing.assert_close(model(x_BCDHW), model.norm(z), atol=1e-5, rtol=1e-5)


def test_vit_b_has_the_parameters_that_its_layers_add_up_to() -> None:
    with torch.device("meta"):
        counted = sum(p.numel() for p in vit.Encoder(ModelConfig()).parameters())
    f, patch = 768, 4 * 16 * 16
    block = (f * 3 * f + 3 * f) + (f * f + f) + (f * 4 * f + 4 * f) + (4 * f * f + f) + 2 * 2 * f
    assert counted == (patch * f + f) + 12 * block + 2 * f == 85_843_200


def test_what_block_i_adds_starts_smaller_by_sqrt_2i() -> None:
    torch.manual_seed(0)
    model = vit.Encoder(ModelConfig(image_size=[4, 16, 16], width=96, depth=4, heads=4))
    for i, block in enumerate(model.blocks, start=1):
        for weight in (block.attention.out.weight, block.mlp[2].weight):
            assert float(weight.detach().std()) == pytest.approx(0.02 / (2 * i) ** 0.5, rel=0.05)
        assert float(block.attention.qkv.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert all(not p.any() for name, p in model.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("kind", ["rope", "sincos"])
def test_keeping_every_token_is_keeping_none(kind: str) -> None:
    everything = torch.arange(24).expand(2, -1)
    torch.testing.assert_close(
        encoder(kind)(voxels(), everything), encoder(kind)(voxels()), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["rope", "sincos"])
def test_the_order_of_kept_tokens_does_not_matter(kind: str) -> None:
    keep_BK = torch.tensor([[3, 9, 11, 20], [0, 1, 2, 23]])
    order = torch.tensor([2, 0, 3, 1])
    model = encoder(kind)
    reordered = model(voxels(), keep_BK[:, order])
    torch.testing.assert_close(reordered, model(voxels(), keep_BK)[:, order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["rope", "sincos"])
def test_levels_are_what_so_many_blocks_make_and_the_last_is_the_output(kind: str) -> None:
    """An encoder that has only the first blocks, of the same weights, and no norm."""
    model, keep_BK = deep_encoder(kind), torch.tensor([[3, 9, 11, 20], [0, 1, 2, 23]])
    levels = model.levels(voxels(), Tokens(keep_BK, None), [1, 3, 5])
    for level, depth in zip(levels[:2], (1, 3), strict=True):
        torch.manual_seed(1)
        part = vit.Encoder(dataclasses.replace(small(kind), depth=depth))
        part.load_state_dict({n: w for n, w in model.state_dict().items() if n in part.state_dict()})
        part.norm = nn.Identity()
        assert torch.equal(level, part(voxels(), keep_BK))
    assert torch.equal(levels[2], model(voxels(), keep_BK))


def deep_encoder(kind: str) -> vit.Encoder:
    torch.manual_seed(0)
    return vit.Encoder(dataclasses.replace(small(kind), depth=5))


@pytest.mark.parametrize("kind", ["rope", "sincos"])
def test_dynamo_traces_levels_as_one_graph(kind: str) -> None:
    model, tokens = deep_encoder(kind), Tokens(torch.tensor([[3, 9, 11, 20], [0, 1, 2, 23]]), None)
    torch._dynamo.reset()
    explained = torch._dynamo.explain(model.levels)(voxels(), tokens, [1, 2, 3, 5])
    assert (explained.graph_count, explained.graph_break_count) == (1, 0), explained.break_reasons


@pytest.mark.parametrize("kind", ["rope", "sincos"])
@pytest.mark.parametrize("keep", [None, [[3, 9, 11, 20], [0, 1, 2, 23]]])
def test_dynamo_traces_one_graph(kind: str, keep: list[list[int]] | None) -> None:
    keep_BK = None if keep is None else torch.tensor(keep)
    torch._dynamo.reset()
    explained = torch._dynamo.explain(encoder(kind))(voxels(), keep_BK)
    assert (explained.graph_count, explained.graph_break_count) == (1, 0), explained.break_reasons


def test_a_token_knows_where_it_stands() -> None:
    x_BCDHW = torch.ones(1, 1, 4, 12, 16)
    for kind in ("rope", "sincos"):
        apart = [encoder(kind)(x_BCDHW, torch.tensor([keep])) for keep in ([0, 1], [0, 23])]
        if kind == "sincos":
            assert not torch.allclose(apart[0][:, 1], apart[1][:, 1], atol=1e-4)
    mixed = voxels(1)
    mixed[..., 4:8] = mixed[..., 8:12]  # the same patches at tokens 1 and 2
    near, far = (encoder("rope")(mixed, torch.tensor([keep])) for keep in ([0, 1], [0, 2]))
    assert not torch.equal(near, far)


@pytest.mark.parametrize("kind", ["rope", "sincos"])
def test_only_kept_tokens_have_a_gradient(kind: str) -> None:
    x_BCDHW = voxels().requires_grad_()
    keep_BK = torch.tensor([[3, 9, 11, 20], [0, 1, 2, 23]])
    encoder(kind)(x_BCDHW, keep_BK).square().sum().backward()
    assert x_BCDHW.grad is not None
    changed_BN = vit.patchify(x_BCDHW.grad, PATCH).abs().amax(-1) > 0
    expected_BN = torch.zeros(2, 24, dtype=torch.bool).scatter(1, keep_BK, True)
    assert torch.equal(changed_BN, expected_BN)


def test_hidden_tokens_enter_as_the_learned_vector() -> None:
    x_BCDHW = voxels().requires_grad_()
    mask_BN = torch.rand(2, 24, generator=torch.Generator().manual_seed(0)) < 0.5
    token_F = torch.randn(24, generator=torch.Generator().manual_seed(1)).requires_grad_()
    model = encoder()
    z_BNF = model(x_BCDHW, hidden=vit.MaskToken(mask_BN, token_F))
    assert z_BNF.shape == (2, 24, 24)
    z_BNF.square().sum().backward()
    assert x_BCDHW.grad is not None
    assert torch.equal(vit.patchify(x_BCDHW.grad, PATCH).abs().amax(-1) > 0, ~mask_BN)
    assert token_F.grad is not None
    assert float(token_F.grad.abs().min()) > 0


@pytest.mark.parametrize("extent", [(4, 12, 16), (3, 5, 16), (1, 1, 1), (2, 4, 8)])
@pytest.mark.parametrize("kind", ["rope", "sincos"])
def test_padding_changes_nothing(kind: str, extent: tuple[int, int, int]) -> None:
    """A padded volume in a list of all 24 places, in a larger box, beside another: as if alone in its box."""
    x_BCDHW, model = voxels(), encoder(kind)
    d, h, w = (n * p for n, p in zip(valid_tokens(extent, (4, 12, 16), PATCH), PATCH, strict=True))
    tokens = model.tokens_of(torch.tensor([[4, 12, 16], list(extent)]), 24)
    x_BCDHW[1] = 1e3  # what padding holds must not matter
    x_BCDHW[1, :, :d, :h, :w] = voxels()[1, :, :d, :h, :w]
    alone = model(voxels()[1:, :, :d, :h, :w], *model.tokens_of(torch.tensor([list(extent)])))
    together = model(x_BCDHW, *tokens)
    torch.testing.assert_close(together[1:, : alone.shape[1]], alone, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together[0], model(voxels())[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["rope", "sincos"])
def test_bf16_autocast_stays_near_fp32(kind: str) -> None:
    model = encoder(kind)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = model(voxels(), torch.tensor([[3, 9, 11, 20], [0, 1, 2, 23]]))
    exact = model(voxels(), torch.tensor([[3, 9, 11, 20], [0, 1, 2, 23]]))
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.05)
