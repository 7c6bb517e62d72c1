"""Volumes packed into one sequence: where their tokens stand, and that each is encoded as if alone."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from octshard.config.model import ModelConfig
from octshard.models import packing, tokens, vit
from octshard.models.attention import BLOCK
from octshard.models.tokens import Tokens

EXTENTS = [(8, 48, 48), (6, 30, 47), (2, 8, 8), (8, 48, 41)]  # of 144, 72, 1 and 144 tokens; 4 x 6 x 6
COUNTS = [144, 72, 1, 144]
KINDS = ("rope", "sincos")
WAYS = [tokens.packed_closely, lambda lists: tokens.packed_in_blocks(lists, (BLOCK, 7 * BLOCK, 9 * BLOCK))]


def encoder(kind: str = "rope") -> vit.Encoder:
    torch.manual_seed(0)
    size = {"image_size": [8, 48, 56], "patch": [2, 8, 8], "width": 24, "depth": 2, "heads": 2}
    return vit.Encoder(ModelConfig(mlp_ratio=2.0, position=kind, **size))  # type: ignore[arg-type]


def voxels() -> Tensor:
    """Each volume in the box of the largest, 0 outside of it."""
    x_BCDHW = torch.zeros(len(EXTENTS), 1, 8, 48, 48)
    for i, (d, h, w) in enumerate(EXTENTS):
        drawn = np.random.default_rng(i).normal(size=(d, h, w)).astype(np.float32)
        x_BCDHW[i, 0, :d, :h, :w] = torch.from_numpy(drawn)
    return x_BCDHW


def lists(model: vit.Encoder) -> Tokens:
    return model.tokens_of(torch.tensor(EXTENTS), 160)


@pytest.fixture
def counters() -> Iterator[Any]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield torch._dynamo.utils.counters
    torch._dynamo.reset()


def padding(counts: list[int], length: int) -> Tensor:
    return torch.arange(length) >= torch.tensor(counts)[:, None]


def test_closely_packed_volumes_stand_end_to_end() -> None:
    packed = packing.pack_closely(padding([2, 0, 3], 3))
    assert packed.place_L.tolist() == [0, 1, 6, 7, 8]
    assert packed.place_BV.tolist() == [[0, 1, 0], [0, 0, 0], [2, 3, 4]]
    assert (packed.lengths, packed.segment_L) == ((2, 0, 3), None)
    assert packed.pack(torch.arange(9).reshape(3, 3)).tolist() == [[0, 1, 6, 7, 8]]


def test_padding_may_lie_anywhere_and_unpacks_to_a_token_of_its_own_volume() -> None:
    """As between context and targets of a smaller volume. Where a list repeats, it is the token repeated."""
    joint = torch.tensor([[0, 0, 0, 0, 0], [0, 1, 1, 0, 1]], dtype=torch.bool)
    packed = packing.pack_closely(joint)
    assert packed.place_L.tolist() == [0, 1, 2, 3, 4, 5, 8]
    assert packed.lengths == (5, 2)
    assert packed.place_BV.tolist() == [[0, 1, 2, 3, 4], [5, 6, 5, 6, 5]]
    z_BV1 = torch.arange(10.0).reshape(2, 5, 1)
    assert packed.unpack(packed.pack(z_BV1)).flatten().tolist() == [0, 1, 2, 3, 4, 5, 8, 5, 8, 5]
    blocked = packing.pack_in_blocks(joint, [384])
    assert blocked.segment_L is not None
    assert torch.nonzero(blocked.segment_L >= 0).flatten().tolist() == [0, 1, 2, 3, 4, 128, 129]
    assert torch.equal(blocked.unpack(blocked.pack(z_BV1)), packed.unpack(packed.pack(z_BV1)))
    repeated = packing.pack_closely(padding([3], 8))
    assert repeated.place_BV.tolist() == [[0, 1, 2, 0, 1, 2, 0, 1]]  # as `np.resize` repeats


def test_volumes_in_blocks_begin_one_each() -> None:
    packed = packing.pack_in_blocks(padding([130, 1, 128], 140), (384, 512, 640, 768))
    assert packed.segment_L is not None
    assert packed.lengths is None
    expected = torch.full((640,), -1)  # 256, then 128 and 128: 512 would hold them
    expected[:130], expected[256], expected[384:512] = 0, 1, 2
    assert torch.equal(packed.segment_L, expected[:512])
    assert packed.place_L[[129, 130, 256, 257, 384, 511]].tolist() == [129, 0, 140, 0, 280, 407]
    assert packed.place_BV[[0, 1, 2], [129, 0, 127]].tolist() == [129, 256, 511]
    assert len(packing.pack_in_blocks(padding([130, 1, 129], 140), (384, 640)).place_L) == 640


@pytest.mark.parametrize("way", WAYS, ids=["closely", "in blocks"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_volume_is_encoded_as_in_a_list_and_as_alone(
    kind: str, way: Callable[[Tokens], Tokens]
) -> None:
    model, x_BCDHW = encoder(kind), voxels()
    listed = lists(model)
    packed_BVF, listed_BVF = model(x_BCDHW, *way(listed)), model(x_BCDHW, *listed)
    for i, (extent, count) in enumerate(zip(EXTENTS, COUNTS, strict=True)):
        alone = model(x_BCDHW[i : i + 1], *model.tokens_of(torch.tensor([extent])))
        assert alone.shape[1] == count
        for other in (listed_BVF[i, :count], alone[0]):
            torch.testing.assert_close(packed_BVF[i, :count], other, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("way", WAYS, ids=["closely", "in blocks"])
def test_levels_of_packed_volumes_are_those_of_lists(way: Callable[[Tokens], Tokens]) -> None:
    model, x_BCDHW = encoder(), voxels()
    listed = lists(model)
    packed_levels, levels = (model.levels(x_BCDHW, read, [1, 2]) for read in (way(listed), listed))
    assert torch.equal(packed_levels[1], model(x_BCDHW, *way(listed)))
    for packed_BVF, level_BVF in zip(packed_levels, levels, strict=True):
        for i, count in enumerate(COUNTS):
            torch.testing.assert_close(packed_BVF[i, :count], level_BVF[i, :count], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("way", WAYS, ids=["closely", "in blocks"])
def test_gradients_are_those_of_lists(way: Callable[[Tokens], Tokens]) -> None:
    """Of the voxels, of every weight and of the learned vector of hidden tokens, as in `byol`; in float64."""
    model = encoder().double()
    hidden_BV = torch.rand(4, 160, generator=torch.Generator().manual_seed(0)) < 0.5
    weight_BVF = torch.randn(4, 160, 24, generator=torch.Generator().manual_seed(1)).double()
    gradients = []
    for read in (lists(model), way(lists(model))):
        assert read.padding_BV is not None
        x_BCDHW = voxels().double().requires_grad_()
        token_F = torch.ones(24, dtype=torch.float64, requires_grad=True)
        z_BVF = model(x_BCDHW, *read, vit.MaskToken(hidden_BV, token_F))
        loss = (z_BVF * weight_BVF).masked_fill(read.padding_BV[..., None], 0).sum()
        inputs = [x_BCDHW, token_F, *model.parameters()]
        gradients.append(torch.autograd.grad(loss, inputs))
    for listed, packed in zip(*gradients, strict=True):
        torch.testing.assert_close(packed, listed, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("way", WAYS, ids=["closely", "in blocks"])
def test_no_volume_reads_another(way: Callable[[Tokens], Tokens]) -> None:
    model = encoder()
    for i, count in enumerate(COUNTS):
        x_BCDHW = voxels().requires_grad_()
        model(x_BCDHW, *way(lists(model)))[i, :count].square().sum().backward()
        assert x_BCDHW.grad is not None
        assert [bool(gradient.any()) for gradient in x_BCDHW.grad] == [j == i for j in range(4)]


def test_what_another_volume_holds_changes_no_number() -> None:
    """Closely packed not even what is no number; FlexAttention on a CPU computes it, and masks."""
    model, x_BCDHW = encoder(), voxels()
    for way, value in zip(WAYS, (torch.nan, 1e3), strict=True):
        packed = way(lists(model))
        before = model(x_BCDHW, *packed)[0, : COUNTS[0]]
        others = x_BCDHW.clone()
        others[1:] = value
        assert torch.equal(model(others, *packed)[0, : COUNTS[0]], before)


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_of_blocks_are_one_graph_each(kind: str, counters: Any) -> None:
    """As compiled for a GPU, but for its kernels: forward alone, and with gradients."""
    model, x_BCDHW = encoder(kind), voxels()
    compiled = torch.compile(model, backend="aot_eager", dynamic=False, fullgraph=True)
    listed = lists(model)
    expected_BVF = model(x_BCDHW, *listed)
    expected = torch.autograd.grad(expected_BVF[0, :144].mean(), list(model.parameters()))
    sequences = [tokens.packed_in_blocks(listed, [n * BLOCK]) for n in (7, 9, 7)]
    for packed in sequences:
        with torch.no_grad():
            z_BVF = compiled(x_BCDHW, *packed)
        torch.testing.assert_close(z_BVF[0, :144], expected_BVF[0, :144])
    assert counters["stats"]["unique_graphs"] == 2
    z_BVF = compiled(x_BCDHW, *sequences[0])
    gradients = torch.autograd.grad(z_BVF[0, :144].mean(), list(model.parameters()))
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other)
    assert counters["stats"]["unique_graphs"] == 3
    assert not counters["graph_break"]


def test_lists_without_padding_stay_lists() -> None:
    model = encoder()
    full = model.tokens_of(torch.tensor([EXTENTS[0], EXTENTS[3]]), 144, packed=True)
    assert (full.padding_BV, full.packing) == (None, None)
    assert model.tokens_of(torch.tensor(EXTENTS[:2]), packed=True).packing is not None
