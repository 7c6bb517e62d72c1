"""What a token of the context covers: cells by hand, masks of whole cells, and no voxel in two footprints."""

from itertools import product as all_of
from typing import NamedTuple

import numpy as np
import pytest
import torch

from octshard.config.model import ModelConfig, PredictorConfig
from octshard.config.objective import MaskSet, ObjectiveConfig
from octshard.config.run import RunConfig
from octshard.config.train import TrainConfig
from octshard.errors import OctshardError, UsageError
from octshard.models.normalize import normalize
from octshard.train.augment import cross_resolution
from octshard.train.objectives import footprints, masks
from octshard.train.objectives.build import build, check
from octshard.train.objectives.jepa import Jepa
from octshard.train.objectives.places import token_numbers
from octshard.train.objectives.token_counts import ListLengths, TokenCounts, counts_of, needed_tokens
from tests.support.token_lists import draw_lists

MM = (0.2, 0.004, 0.012)  # a voxel along D, H, W
SIZE, PATCH = (6, 20, 28), (2, 4, 4)  # 3 x 5 x 7 tokens
COARSE_OBJECTIVES = ["vjepa2", "vjepa2_1", "mae"]
SCALES = [(1, 2, 2), (2, 1, 3), (3, 5, 1), (1, 1, 1)]


def config(scale: tuple[int, int, int], *mask_sets: MaskSet, name: str = "vjepa2") -> TrainConfig:
    model = ModelConfig(image_size=list(SIZE), patch=list(PATCH), width=24, depth=4, heads=2)
    sets = list(mask_sets) or [MaskSet(context=2, target=7)]
    objective = ObjectiveConfig(name=name, masks=sets, context_scale=list(scale))
    predictor = PredictorConfig(width=12, depth=1, heads=2)
    return TrainConfig(model=model, predictor=predictor, objective=objective, run=RunConfig(seed=3))


def footprint_mm(number: int, scale: tuple[int, int, int]) -> list[tuple[float, float]]:
    """Where the token lies along D, H, W, from its number alone: voxels of scale x MM, patches of PATCH."""
    grid = [-(-size // (p * s)) for size, p, s in zip(SIZE, PATCH, scale, strict=True)]
    index = (number // (grid[1] * grid[2]), number // grid[2] % grid[1], number % grid[2])
    side = [p * s * mm for p, s, mm in zip(PATCH, scale, MM, strict=True)]
    return [(i * length, (i + 1) * length) for i, length in zip(index, side, strict=True)]


def overlap_mm(one: list[tuple[float, float]], other: list[tuple[float, float]]) -> float:
    """The shortest side of what both cover; 0 or less if they at most touch."""
    return min(min(a[1], b[1]) - max(a[0], b[0]) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", ["blocks", "cubes"])
@pytest.mark.parametrize("extent", [SIZE, (5, 17, 22), (6, 9, 28)])
def test_no_target_shares_a_part_of_a_mm_with_the_context(
    scale: tuple[int, int, int], kind: str, extent: tuple[int, int, int]
) -> None:
    mask_set = MaskSet(kind=kind, cube=[1, 1, 2], context=2, target=7)
    cfg = config(scale, mask_set)
    tokens = int(np.prod([-(-n // p) for n, p in zip(extent, PATCH, strict=True)]))
    counts = counts_of(cfg, tokens)
    lengths = [ListLengths(each, each) for each in counts]
    drawn_any = False
    for seed in range(20):
        if tokens < counts[0].needed:
            with pytest.raises(OctshardError, match=rf"a: {tokens} valid tokens, want .*K \+ T = "):
                masks.draw(cfg, lengths, torch.tensor([extent]), seed, [0], ["a"])
            continue
        ((context_BK, target_BT, *_),) = masks.draw(cfg, lengths, torch.tensor([extent]), seed, [0], ["a"])
        assert (context_BK.shape, target_BT.shape) == ((1, 2), (1, 7))
        assert len(set(context_BK[0].tolist())), len(set(target_BT[0].tolist())) == (2, 7)
        seen = [footprint_mm(number, scale) for number in context_BK[0].tolist()]
        targets = [footprint_mm(number, (1, 1, 1)) for number in target_BT[0].tolist()]
        assert max(overlap_mm(a, b) for a, b in all_of(seen, targets)) < 1e-9
        whole = [(0, n * mm) for n, mm in zip(extent, MM, strict=True)]
        assert min(overlap_mm(whole, footprint) for footprint in (*seen, *targets)) > 1e-9  # no pure padding
        drawn_any = True
    assert drawn_any or tokens < counts[0].needed


def test_all_that_is_not_hidden_can_be_context_and_all_that_is_can_be_a_target() -> None:
    """Over many seeds; the cells at the ends of H and W too, which are cut by the image."""
    cfg = config((1, 2, 2), MaskSet(kind="cubes", cube=[1, 1, 1], context=12, target=20))
    lengths, extent = [ListLengths(*counts_of(cfg, 105) * 2)], torch.tensor([SIZE])
    drawn = [masks.draw(cfg, lengths, extent, seed, [0], ["a"])[0] for seed in range(60)]
    assert {n for each in drawn for n in each.context_BK[0].tolist()} == set(range(3 * 3 * 4))
    assert {n for each in drawn for n in each.target_BT[0].tolist()} == set(range(3 * 5 * 7))


def test_cells_by_hand() -> None:
    cells = footprints.cells_of(config((2, 2, 3)), (3, 5, 4))
    assert cells.context_dhw.shape == (2, 3, 2)  # of 2 x 3 x 3 of the whole image
    assert cells.context_dhw[1, 2].tolist() == [15, 16]
    hidden_dhw = np.zeros((2, 3, 2), bool)
    hidden_dhw[1, 2, 0] = True  # plane 2, row 4, columns 0 to 2
    assert cells.targets_in(hidden_dhw).tolist() == [2 * 35 + 4 * 7 + column for column in range(3)]
    sizes = footprints.cell_sizes((3, 5, 4), (2, 2, 3))
    assert sizes.tolist() == [[[12, 4], [12, 4], [6, 2]], [[6, 2], [6, 2], [3, 1]]]
    # ascending 1 2 2 2 3 4 4 6 6 6 12 12: the first five hold 10
    assert [cells.least_hidden(targets) for targets in (1, 2, 10, 11, 60)] == [1, 2, 5, 6, 12]


def test_without_a_scale_the_cells_are_the_tokens() -> None:
    cells = footprints.cells_of(config((1, 1, 1)), (3, 5, 4))
    assert np.array_equal(cells.context_dhw, cells.target_DHW)
    assert [cells.least_hidden(targets) for targets in (1, 7, 60)] == [1, 7, 60]


def test_counts_and_shares_are_of_the_volume_that_they_cover() -> None:
    cfg = config((1, 2, 2), MaskSet(context=0.4, target=0.6), MaskSet(context=3, target=0.5))
    assert counts_of(cfg, 105) == (TokenCounts(10, 63, 4), TokenCounts(3, 52, 4))
    assert counts_of(cfg, 60) == (TokenCounts(6, 36, 4), TokenCounts(3, 30, 4))


@pytest.mark.parametrize("mask_set", [
    MaskSet(context=0.4, target=0.6), MaskSet(context=0.5, target=10), MaskSet(context=3, target=0.5),
    MaskSet(context=0.9, target=3), MaskSet(context=2, target=7),
])  # fmt: skip
@pytest.mark.parametrize("scale", SCALES)
def test_needed_is_the_size_from_which_on_every_volume_fits(
    mask_set: MaskSet, scale: tuple[int, int, int]
) -> None:
    cfg = config(scale, mask_set)
    unfit = [valid for valid in range(1, 106) if counts_of(cfg, valid)[0].needed > valid]
    if max(unfit) < 105:
        assert needed_tokens(cfg) == max(unfit) + 1


@pytest.mark.parametrize(
    ("cfg", "says"),
    [
        (config((1, 6, 1)), r"objective.context_scale=\[1, 6, 1\]: want at most the tokens .*\[3, 5, 7\]"),
        (config((1, 0, 1)), r"objective.context_scale=\[1, 0, 1\]: want three numbers, each at least 1"),
        (config((1, 2, 2), MaskSet(context=20, target=30)), r"context 20 x 4 \+ target 30 tokens, .* 105"),
        (config((1, 2, 2), name="byol"), r"context_scale=\[1, 2, 2\]: objective.name=byol has no coarser"),
    ],
)
def test_what_cannot_be_is_said_first(cfg: TrainConfig, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check(cfg)


def test_a_list_of_tokens_need_not_hold_the_context() -> None:
    """objective.max_tokens: targets alone are looked up in the list of what the target encoder reads."""
    cfg = config((1, 2, 2), MaskSet(context=10, target=40))
    cfg.objective.max_tokens = 40
    check(cfg)
    cfg.objective.max_tokens = 39
    with pytest.raises(UsageError, match=r"max_tokens=39: the mask sets name up to 40 tokens"):
        check(cfg)


class Seen(NamedTuple):
    """Of each number that is predicted, whether each voxel of the fine view of the context moves it."""

    by_PBDHW: torch.Tensor
    context_BK: torch.Tensor
    target_BT: torch.Tensor


EXTENTS = [list(SIZE), [5, 17, 22]]  # the second ends within a patch, within a cell and within a box


def seen(name: str, model_keys: dict[str, str], scale: tuple[int, int, int]) -> Seen:
    """By the gradient of each number by itself: of a sum of them two might cancel."""
    cfg = config(scale, MaskSet(kind="cubes", cube=[1, 1, 1], context=2, target=4), name=name)
    for key, value in model_keys.items():
        setattr(cfg.model, key, value)
    model, valid_B3 = build(cfg), torch.tensor(EXTENTS)
    generator = torch.Generator().manual_seed(0)
    grey = torch.randint(0, 256, (2, *SIZE), generator=generator, dtype=torch.uint8)
    view = normalize(grey, torch.tensor([127.0, 120.0]), torch.tensor([70.0, 75.0]), valid_B3)
    view.requires_grad_()
    tokens, (places, *_) = draw_lists(cfg, valid_B3, ["first", "second"])
    coarse = cross_resolution.of_context(view, valid_B3, cfg)
    predicted = model.predict(coarse, tokens, places, 0)[..., ::7].flatten()
    one_each = torch.eye(len(predicted))
    (slope_PBCDHW,) = torch.autograd.grad(predicted, view, one_each, is_grads_batched=True)
    return Seen(slope_PBCDHW[:, :, 0] != 0, *token_numbers(tokens, places))


def inside(footprint: list[tuple[float, float]]) -> torch.Tensor:
    """(D, H, W) bool: the middle of the voxel lies in it."""
    axes = [
        (low < (np.arange(size) + 0.5) * mm) & ((np.arange(size) + 0.5) * mm < high)
        for size, mm, (low, high) in zip(SIZE, MM, footprint, strict=True)
    ]
    return torch.from_numpy(axes[0][:, None, None] & axes[1][:, None] & axes[2])


@pytest.mark.parametrize("scale", [(1, 2, 2), (2, 1, 3), (3, 5, 1)])
@pytest.mark.parametrize(
    "model_keys",
    [{"position": "rope"}, {"position": "sincos"}, {"attention": "divided"}],
    ids=["rope", "sincos", "divided"],
)
@pytest.mark.parametrize("name", COARSE_OBJECTIVES)
def test_no_voxel_in_the_footprint_of_a_target_reaches_a_prediction(
    name: str, model_keys: dict[str, str], scale: tuple[int, int, int]
) -> None:
    """Nor any other that no token of the context covers; all that one covers do, but padding."""
    by_PBDHW, context_BK, target_BT = seen(name, model_keys, scale)
    for b, (d, h, w) in enumerate(EXTENTS):
        for number in target_BT[b].tolist():
            assert not by_PBDHW[:, b][:, inside(footprint_mm(number, (1, 1, 1)))].any()
        covered_DHW = torch.stack([inside(footprint_mm(n, scale)) for n in context_BK[b].tolist()]).any(0)
        covered_DHW[d:] = covered_DHW[:, h:] = covered_DHW[:, :, w:] = False
        reached_DHW = by_PBDHW[:, b].any(0)
        reached_DHW[d:] = reached_DHW[:, h:] = reached_DHW[:, :, w:] = False  # 0, whatever is stored there
        assert reached_DHW.any()
        if model_keys.get("attention") == "divided":  # one block reaches its own planes and columns alone
            covered_DHW &= reached_DHW
        assert torch.equal(reached_DHW, covered_DHW)
    first, second = by_PBDHW.unflatten(0, (2, -1))
    assert not first[:, 1].any()
    assert not second[:, 0].any()


@pytest.mark.parametrize("name", COARSE_OBJECTIVES)
def test_what_is_not_context_may_hold_anything_and_the_target_encoder_reads_the_fine_view(name: str) -> None:
    cfg = config((1, 2, 2), MaskSet(context=2, target=6))
    model, valid_B3 = build(cfg), torch.tensor([list(SIZE)])
    x = torch.randn(1, 1, *SIZE, generator=torch.Generator().manual_seed(0))
    tokens, (places, *_) = draw_lists(cfg, valid_B3, ["first"])
    hidden_DHW = ~torch.stack(
        [inside(footprint_mm(n, (1, 2, 2))) for n in token_numbers(tokens, places)[0][0].tolist()]
    ).any(0)
    spoilt = x.masked_fill(hidden_DHW, 1e6)
    views = [cross_resolution.of_context(view, valid_B3, cfg) for view in (x, spoilt)]
    one, other = (model.predict(view, tokens, places, 0) for view in views)
    assert torch.equal(one, other)
    assert model.targets(x, tokens).shape[:2] == (1, 105)
    loss = model(views[0], x, tokens, [places]).loss
    loss.backward()
    assert torch.isfinite(loss)
    silent = [
        n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert silent == []


def test_target_encoder_and_encoder_share_weights_not_grids() -> None:
    model = build(config((1, 2, 2)))
    assert isinstance(model, Jepa)
    assert (model.encoder.grid, model.target_encoder.grid) == ((3, 3, 4), (3, 5, 7))
    plain = build(config((1, 1, 1))).state_dict()
    assert plain.keys() == model.state_dict().keys()
    assert all(torch.equal(weight, plain[name]) for name, weight in model.state_dict().items())
