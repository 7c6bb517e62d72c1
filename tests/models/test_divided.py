"""Divided attention against plain loops over planes and columns; what it gathers, and what that saves."""

import pytest
import torch
from torch import Tensor

from octshard.config.model import ModelConfig
from octshard.imaging.volume import Shape
from octshard.models import divided, position, vit
from octshard.models.attention import Attend, SomeKeys, every_token
from octshard.models.divided import Groups, Layout, SameGroup

GRID, PATCH = (3, 3, 4), (2, 4, 4)
SIZE = (6, 12, 16)
# all tokens: both gathered; twenty: columns gathered, planes masked; five: both masked
COUNTS = {36: (SameGroup, SameGroup), 20: (SomeKeys, SameGroup), 5: (SomeKeys, SomeKeys)}


def encoder(kind: str = "rope", size: Shape = SIZE) -> vit.Encoder:
    torch.manual_seed(0)
    model = ModelConfig(
        image_size=list(size), patch=list(PATCH), width=24, depth=2, heads=2, mlp_ratio=2.0, position=kind,
        attention="divided",
    )  # fmt: skip
    made = vit.Encoder(model).double()
    with torch.no_grad():  # larger than at the start, so that attention is far from uniform
        for weight in made.blocks.parameters():
            weight.mul_(5)
    return made


def voxels(batch: int = 2, size: Shape = SIZE) -> Tensor:
    return torch.randn(batch, 1, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def some(count: int, batch: int = 2) -> Tensor:
    """Different tokens of each volume, in any order."""
    generator = torch.Generator().manual_seed(2)
    return torch.stack([torch.randperm(36, generator=generator)[:count] for _ in range(batch)])


def plain(model: vit.Encoder, x_BCDHW: Tensor, numbers: list[list[int]]) -> list[Tensor]:
    """Volume by volume, plane by plane, column by column; a list of numbers for each volume."""
    _, height, width = model.grid
    volumes = []
    for x_CDHW, ids in zip(x_BCDHW, numbers, strict=True):
        index_1K = torch.tensor([ids])
        patches = vit.patchify(x_CDHW[None], model.patch)[:, ids]
        z = model.position.add_sincos(model.embed(patches), index_1K)
        for block in model.blocks:
            for attention, norm, group_of in (
                (block.attention, block.norm1, lambda n: n // (height * width)),
                (block.depth_attention, block.depth_norm, lambda n: n % (height * width)),
            ):
                mixed = torch.zeros_like(z)
                for group in {group_of(n) for n in ids}:
                    rows = [row for row, n in enumerate(ids) if group_of(n) == group]
                    rotary = model.position.rotary(index_1K[:, rows])
                    mixed[:, rows] = attention(norm(z)[:, rows], rotary, every_token)
                z = z + mixed
            z = z + block.mlp(block.norm2(z))
        volumes.append(model.norm(z)[0])
    return volumes


@pytest.mark.parametrize("kind", ["rope", "sincos"])
@pytest.mark.parametrize("count", COUNTS)
def test_it_is_a_loop_over_planes_and_one_over_columns(count: int, kind: str) -> None:
    """Features, and the gradients of all weights and voxels, gathered or masked."""
    index_BK, results = some(count), []
    both = divided.divided(index_BK, GRID, Layout())
    assert tuple(map(type, both)) == COUNTS[count]
    for run in (
        lambda model, x: model(x, index_BK),
        lambda model, x: torch.stack(plain(model, x, index_BK.tolist())),
    ):
        model, x_BCDHW = encoder(kind), voxels().requires_grad_()
        z_BKF = run(model, x_BCDHW)
        (z_BKF * torch.linspace(-1, 1, z_BKF.numel(), dtype=torch.float64).view_as(z_BKF)).sum().backward()
        results.append([z_BKF, x_BCDHW.grad, *(p.grad for p in model.parameters())])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_one_plane_is_joint_attention_in_it_and_a_token_alone_in_depth() -> None:
    model, x_BCDHW, index_BK = encoder(size=(2, 12, 16)), voxels(size=(2, 12, 16)), torch.arange(12)[None]
    both = divided.divided(index_BK, (1, 3, 4), Layout())
    assert both.plane is every_token
    torch.testing.assert_close(model(x_BCDHW), torch.stack(plain(model, x_BCDHW, [list(range(12))] * 2)))
    block, z = model.blocks[0], torch.randn(1, 12, 24, dtype=torch.float64)
    values = block.depth_attention.qkv(z)[..., 48:]  # each reads its own value alone
    torch.testing.assert_close(
        block.depth_attention(z, model.position.rotary(index_BK), both.depth),
        block.depth_attention.out(values),
    )


@pytest.mark.parametrize("count", COUNTS)
def test_the_order_of_tokens_does_not_matter(count: int) -> None:
    model, index_BK = encoder(), some(count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(model(voxels(), index_BK[:, order]), model(voxels(), index_BK)[:, order])


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("behind", ["zeros", "repeats"])
def test_padding_changes_nothing(count: int, behind: str) -> None:
    """Behind the lists stand tokens 0, or tokens of the list itself: nobody reads them."""
    model, index_BK = encoder(), some(count)
    length = min(count, 33)
    padding_BN = torch.zeros(2, length + 3, dtype=torch.bool)
    padding_BN[:, length:] = True
    index_BK = index_BK[:, :length]
    padded_BN = torch.cat([index_BK, index_BK[:, :3] if behind == "repeats" else index_BK[:, :3] * 0], 1)
    expected, found = model(voxels(), index_BK), model(voxels(), padded_BN, padding_BN)
    torch.testing.assert_close(found[:, :length], expected, rtol=1e-9, atol=1e-10)
    assert found.isfinite().all()


@pytest.mark.parametrize("box", [(3, 3, 4), (2, 3, 4), (3, 2, 2), (1, 3, 3), (3, 1, 1)])
def test_a_volume_in_a_box_of_its_own_has_the_same_features(box: Shape) -> None:
    """Beside a whole one in lists and a box of the largest, and alone."""
    model, x_BCDHW = encoder(), voxels()
    d, h, w = (n * p for n, p in zip(box, PATCH, strict=True))
    tokens = model.tokens_of(torch.tensor([[6, 12, 16], [d, h, w]]))
    alone_tokens = model.tokens_of(torch.tensor([[d, h, w]]))
    alone = model(x_BCDHW[1:, :, :d, :h, :w], *alone_tokens)
    together = model(x_BCDHW, *tokens)
    torch.testing.assert_close(together[1:, : alone.shape[1]], alone, rtol=1e-9, atol=1e-10)
    packed = model.tokens_of(torch.tensor([[6, 12, 16], [d, h, w]]), packed=True)
    assert packed.packing is None  # there is no kernel for it


@pytest.mark.parametrize("count", COUNTS)
def test_only_kept_tokens_have_a_gradient(count: int) -> None:
    x_BCDHW, index_BK = voxels().requires_grad_(), some(count)
    encoder()(x_BCDHW, index_BK).square().sum().backward()
    assert x_BCDHW.grad is not None
    seen_BN = vit.patchify(x_BCDHW.grad, PATCH).abs().amax(-1) > 0
    assert torch.equal(seen_BN, torch.zeros(2, 36, dtype=torch.bool).scatter(1, index_BK, True))


def test_a_token_reads_its_plane_and_then_its_column() -> None:
    """Of one block: its plane, and the planes of the tokens of its column."""
    model = encoder()
    model.blocks = type(model.blocks)([model.blocks[0]], checkpointing=False)
    x_BCDHW = voxels(1).requires_grad_()
    ids = [0, 1, 13, 24, 25]  # (0,0,0), (0,0,1), (1,0,1), (2,0,0), (2,0,1)
    z_1KF = model(x_BCDHW, torch.tensor([ids]))
    read = []
    for row in range(5):
        (slope,) = torch.autograd.grad(z_1KF[0, row].square().sum(), x_BCDHW, retain_graph=True)
        read.append(set(torch.nonzero(vit.patchify(slope, PATCH)[0].abs().amax(-1)).flatten().tolist()))
    assert read == [{0, 1, 24, 25}, set(ids), set(ids), {0, 1, 24, 25}, set(ids)]


def test_the_gradients_of_groups_are_those_of_finite_differences() -> None:
    index_BN = torch.tensor([[5, 0, 4, 7], [2, 3, 1, 0]])
    padding_BN = torch.tensor([[False] * 4, [False, False, True, True]])
    groups = [
        *divided.divided(index_BN, (2, 2, 2), Layout(padding_BN)),
        divided._attend(Groups(4, 2), index_BN // 2, index_BN, padding_BN),
    ]
    parts = [torch.randn(2, 1, 4, 2, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    weight = (~padding_BN)[:, None, :, None].double()
    for attend in groups:
        assert torch.autograd.gradcheck(lambda *qkv, attend=attend: attend(*qkv) * weight, parts)


def test_pairs_by_hand() -> None:
    """ViT-B over a Triton cube, 16 x 9 x 19 = 2,736 tokens, and a context of 960 of them."""
    box = (16, 9, 19)
    assert divided.pairs(2736, box) == 16 * 171**2 + 171 * 16**2 == 511_632
    assert 2736**2 / divided.pairs(2736, box) > 14
    assert divided.pairs(960, box) == 16 * 171**2 + 171 * 16**2
    assert divided.pairs(500, box) == 500**2 + 171 * 16**2  # planes are masked: 467,856 pairs are more
    assert divided.pairs(100, box) == 2 * 100**2
    assert divided.planes(box).gathered(685)
    assert not divided.planes(box).gathered(684)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("count", [None, *COUNTS])
def test_dynamo_traces_one_graph(count: int | None, padded: bool) -> None:
    index_BK = None if count is None else some(count)
    padding_BK = None if count is None or not padded else torch.zeros(2, count, dtype=torch.bool)
    torch._dynamo.reset()
    explained = torch._dynamo.explain(encoder())(voxels(), index_BK, padding_BK)
    assert (explained.graph_count, explained.graph_break_count) == (1, 0), explained.break_reasons


def read_by(attend: Attend, tokens: int) -> Tensor:
    """(N, N) bool: row n reads token m."""
    value = torch.eye(tokens)[None, None]
    same = torch.zeros(1, 1, tokens, 8)
    return attend(same, same, value)[0, 0] > 0


def test_tokens_of_two_grids_read_those_whose_footprints_share_a_plane_or_a_column() -> None:
    grid, scale = (4, 3, 5), (2, 2, 3)
    coarse_grid = position.coarser(grid, scale)
    assert coarse_grid == (2, 2, 2)
    coarse, fine = [0, 3, 6], [0, 4, 17, 22, 59, 31]

    def footprint(place: int, shape: Shape, step: Shape) -> list[set[int]]:
        index = place // (shape[1] * shape[2]), place // shape[2] % shape[1], place % shape[2]
        return [set(range(i * s, i * s + s)) for i, s in zip(index, step, strict=True)]

    prints = [footprint(n, coarse_grid, scale) for n in coarse] + [
        footprint(n, grid, (1, 1, 1)) for n in fine
    ]
    both = divided.divided_over(torch.tensor([coarse]), torch.tensor([fine]), grid, scale, None)
    for attend, axes in ((both.plane, (0,)), (both.depth, (1, 2))):
        expected = [[all(a[axis] & b[axis] for axis in axes) for b in prints] for a in prints]
        assert torch.equal(read_by(attend, 9), torch.tensor(expected))
    padding_BN = torch.tensor([[False, True] + [False] * 6 + [True]])
    both = divided.divided_over(torch.tensor([coarse]), torch.tensor([fine]), grid, scale, padding_BN)
    for attend in both:
        assert not read_by(attend, 9)[~padding_BN[0]][:, padding_BN[0]].any()
