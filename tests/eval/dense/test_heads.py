"""Heads: voxels at their places, any patch, and every weight in use."""

import pytest
import torch

from octshard.config.dense import DenseHeads
from octshard.eval.dense import heads
from octshard.eval.dense.token_source import TokenSource
from octshard.imaging.volume import product

pytest.importorskip("monai")


def levels_of(patch: tuple[int, int, int], grid: tuple[int, int, int], width: int) -> list[torch.Tensor]:
    count, generator = len(heads.stages_of(patch)), torch.Generator().manual_seed(0)
    return [torch.randn(2, width, *grid, generator=generator) for _ in range(count)]


def source_of(*widths: int, depths: tuple[int, ...] = ()) -> TokenSource:
    return TokenSource("", widths, depths or tuple(range(len(widths))), lambda x, tokens: [])


def test_a_linear_head_reads_each_depth_once():
    """A number that the last depth does not have any more; features that stand twice are read once."""
    levels = [torch.zeros(1, 2, 1, 1, 1) for _ in range(3)]
    levels[0][0, 1] = 3
    head = heads.LinearHead(source_of(2, 2, 2, depths=(1, 4, 4)), 1, (1, 1, 1))
    assert head.proj.in_features == 4
    with torch.no_grad():
        head.proj.weight.copy_(torch.tensor([[0.0, 2, 0, 0]]))
        head.proj.bias.zero_()
        assert head(levels, levels[0]).item() == 6


def test_a_linear_head_puts_the_voxels_of_a_patch_at_their_places():
    patch, grid = (2, 4, 3), (2, 3, 2)
    x = torch.randn(1, 1, 4, 12, 6, generator=torch.Generator().manual_seed(0))
    patches = x[0, 0].unfold(0, 2, 2).unfold(1, 4, 4).unfold(2, 3, 3).reshape(*grid, -1)
    head = heads.LinearHead(source_of(24), 2, patch)
    with torch.no_grad():
        head.proj.weight.copy_(torch.cat([torch.eye(24), 2 * torch.eye(24)]))
        head.proj.bias.zero_()
        output = head([patches.movedim(-1, 0)[None]], x)
    torch.testing.assert_close(output[:, :1], x)
    torch.testing.assert_close(output[:, 1:], 2 * x)


@pytest.mark.parametrize(
    ("patch", "stages"),
    [
        ((4, 16, 16), [(2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2)]),
        ((3, 12, 16), [(3, 3, 2), (1, 2, 2), (1, 2, 2), (1, 1, 2)]),
        ((1, 7, 14), [(1, 7, 7), (1, 1, 2)]),
        ((1, 1, 1), [(1, 1, 1)]),
    ],
)
def test_stages_grow_to_the_patch(patch, stages):
    assert heads.stages_of(patch) == stages
    assert tuple(product(axis) for axis in zip(*stages, strict=True)) == patch


@pytest.mark.parametrize("patch", [(2, 4, 4), (1, 3, 6), (2, 2, 2)])
@pytest.mark.parametrize("voxels", [True, False])
def test_a_decoder_gives_every_voxel_its_outputs_and_uses_every_weight(patch, voxels):
    cfg, grid = DenseHeads(width=2, voxels=voxels), (2, 3, 2)
    torch.manual_seed(0)
    head = heads.build("unetr", source_of(*[6] * len(heads.stages_of(patch))), 3, patch, cfg)
    levels = levels_of(patch, grid, 6)
    size = [n * p for n, p in zip(grid, patch, strict=True)]
    x = torch.randn(2, 1, *size, requires_grad=True)
    output = head(levels, x)
    assert output.shape == (2, 3, *size)
    (output**2).sum().backward()
    # a bias before an instance norm has no effect
    unused = [n for n, p in head.named_parameters() if p.grad is None]
    assert unused == []
    assert (x.grad is not None) == voxels


def test_each_depth_reaches_the_output():
    cfg, patch = DenseHeads(width=2, voxels=False), (2, 4, 4)
    torch.manual_seed(0)
    head = heads.build("unetr", source_of(6, 6), 3, patch, cfg)
    levels = [level.requires_grad_() for level in levels_of(patch, (2, 3, 2), 6)]
    (head(levels, torch.zeros(2, 1, 4, 12, 8)) ** 2).sum().backward()
    assert all(level.grad.abs().sum() > 0 for level in levels)
