"""Masks as properties: exact K and T, disjoint, inside the volume, sorted, from the sample's seed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from octshard.config import fields
from octshard.config.model import ModelConfig
from octshard.config.objective import MaskSet, ObjectiveConfig
from octshard.config.train import TrainConfig
from octshard.errors import OctshardError, UsageError
from octshard.stream.batch_shape import BatchShape
from octshard.train.objectives import hidden, masks, token_counts
from octshard.train.objectives.hidden import HiddenRange
from octshard.train.objectives.token_counts import ListLengths

GRID = (4, 6, 8)
PATCH = (2, 4, 4)
TOKENS = 4 * 6 * 8
FULL = [8, 24, 32]


def config(*sets: MaskSet) -> TrainConfig:
    model = ModelConfig(image_size=list(FULL), patch=list(PATCH), width=24, depth=1, heads=2)
    return TrainConfig(model=model, objective=ObjectiveConfig(masks=list(sets)))


def draw_masks(
    cfg: TrainConfig, extents: list[list[int]], epoch: int = 0, seed: int = 0
) -> list[masks.Masks]:
    keys = [f"key-{i}" for i in range(len(extents))]
    return masks.draw(cfg, lengths_of(cfg, extents), torch.tensor(extents), seed, [epoch] * len(keys), keys)


def lengths_of(cfg: TrainConfig, extents: list[list[int]]) -> tuple[ListLengths, ...]:
    """As long as the largest of these volumes asks for."""
    valid = [len(inside(extent)) for extent in extents]
    return token_counts.list_lengths(cfg, BatchShape((8, 24, 32), TOKENS, min(valid), max(valid)))


def inside(extent: list[int]) -> set[int]:
    """Tokens that hold a voxel, one by one."""
    ids = np.arange(TOKENS).reshape(GRID)
    return {
        int(ids[d, h, w])
        for d, h, w in np.ndindex(GRID)
        if d * PATCH[0] < extent[0] and h * PATCH[1] < extent[1] and w * PATCH[2] < extent[2]
    }


@st.composite
def cases(draw: st.DrawFn) -> tuple[MaskSet, list[int], int]:
    """Any mask set on any volume that it can fit, K + T up to every valid token."""
    extent = [draw(st.integers(1, n)) for n in FULL]
    valid = len(inside(extent))
    context = draw(st.integers(1, max(1, valid - 1)))
    target = draw(st.integers(1, max(1, valid - context)))
    low = draw(st.floats(0.2, 3))
    mask_set = MaskSet(
        kind=draw(st.sampled_from(["blocks", "cubes"])),
        blocks=draw(st.integers(1, 9)), scale=draw(st.floats(0.01, 1)),
        aspect=[low, low * draw(st.floats(1, 3))], ratio=draw(st.floats(0.05, 0.95)),
        cube=[draw(st.integers(1, 4)) for _ in range(3)],
        context=context if context > 1 else 1 / TOKENS, target=target if target > 1 else 1 / TOKENS,
    )  # fmt: skip
    return mask_set, extent, draw(st.integers(0, 1000))


@settings(max_examples=200, deadline=None)
@given(cases())
def test_every_promise_of_a_mask(case: tuple[MaskSet, list[int], int]) -> None:
    mask_set, extent, seed = case
    cfg = config(mask_set)
    ((K, T, _),) = token_counts.counts_of(cfg, len(inside(extent)))
    if len(inside(extent)) < K + T:
        with pytest.raises(OctshardError, match=r"key-0: \d+ valid tokens"):
            draw_masks(cfg, [extent], seed=seed)
        return
    (drawn_masks,) = draw_masks(cfg, [extent], seed=seed)
    context, target = drawn_masks.context_BK[0].tolist(), drawn_masks.target_BT[0].tolist()
    assert (len(context), len(target)) == (K, T)
    assert drawn_masks.context_BK.dtype == drawn_masks.target_BT.dtype == torch.int64
    assert context == sorted(set(context))
    assert target == sorted(set(target))
    assert not set(context) & set(target)
    assert set(context) | set(target) <= inside(extent)


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(4)), st.integers(0, 5))
def test_a_samples_masks_do_not_depend_on_its_batch(order: list[int], epoch: int) -> None:
    cfg = config(MaskSet(context=30, target=50), MaskSet(kind="cubes", context=30, target=50))
    extents = torch.tensor([FULL, [6, 24, 32], [8, 20, 31], [7, 24, 27]])
    keys, plan = ["a", "b", "c", "d"], lengths_of(cfg, [FULL])
    together = masks.draw(cfg, plan, extents, 3, [epoch] * 4, keys)
    shuffled = masks.draw(cfg, plan, extents[order], 3, [epoch] * 4, [keys[i] for i in order])
    alone = masks.draw(cfg, plan, extents[:1], 3, [epoch], keys[:1])
    for first, other, single in zip(together, shuffled, alone, strict=True):
        assert torch.equal(first.context_BK[order], other.context_BK)
        assert torch.equal(first.target_BT[order], other.target_BT)
        assert torch.equal(first.target_BT[:1], single.target_BT)


def test_seed_epoch_key_and_set_each_change_the_masks() -> None:
    cfg = config(MaskSet(), MaskSet())
    plan, extent = lengths_of(cfg, [FULL]), torch.tensor([FULL])
    first, second = masks.draw(cfg, plan, extent, 0, [0], ["a"])
    others = [
        masks.draw(cfg, plan, extent, *named)[0]
        for named in ((1, [0], ["a"]), (0, [1], ["a"]), (0, [0], ["b"]))
    ]
    assert all(not torch.equal(first.context_BK, other.context_BK) for other in [*others, second])


def test_draws_of_a_set_are_independent_and_the_first_is_that_of_a_set_of_one_draw() -> None:
    one, more = (config(MaskSet(context=30, target=50, draws=draws), MaskSet()) for draws in (1, 3))
    assert len(token_counts.counts_of(more, TOKENS)) == 4
    alone, three = (draw_masks(cfg, [FULL, [7, 24, 27]]) for cfg in (one, more))
    assert len(three) == 4
    for first, other in ((three[0], alone[0]), (three[3], alone[1])):
        assert torch.equal(first.context_BK, other.context_BK)
        assert torch.equal(first.target_BT, other.target_BT)
    targets = [set(masks_.target_BT[0].tolist()) for masks_ in three[:3]]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert 0 < len(targets[a] & targets[b]) < 50


@pytest.mark.parametrize("kind", ["blocks", "cubes"])
@pytest.mark.parametrize("extent", [FULL, [8, 13, 32]])
def test_every_valid_token_is_context_in_some_draws_and_target_in_others(
    kind: str, extent: list[int]
) -> None:
    cfg = config(MaskSet(kind=kind, context=20, target=30))
    draws = [draw_masks(cfg, [extent], epoch=epoch)[0] for epoch in range(300)]
    assert {int(i) for drawn_masks in draws for i in drawn_masks.context_BK[0]} == inside(extent)
    assert {int(i) for drawn_masks in draws for i in drawn_masks.target_BT[0]} == inside(extent)


@pytest.mark.parametrize(
    "mask_set", [MaskSet(context=20, target=40), MaskSet(blocks=2, scale=0.7, context=10, target=40)]
)
def test_no_depth_is_favoured(mask_set: MaskSet) -> None:
    draws = [draw_masks(config(mask_set), [FULL], epoch=epoch)[0] for epoch in range(300)]
    for rows in (
        [drawn_masks.context_BK for drawn_masks in draws],
        [drawn_masks.target_BT for drawn_masks in draws],
    ):
        depth = np.bincount(torch.cat(rows).ravel().numpy() // (6 * 8), minlength=4)
        assert depth.max() / depth.min() < 1.15


@pytest.mark.parametrize("aspect", [0.75, 1.5])
def test_one_block_is_a_rectangle_through_the_depth(aspect: float) -> None:
    mask_set = MaskSet(blocks=1, scale=0.15, aspect=[aspect, aspect])
    hidden_DHW = hidden.blocks(
        mask_set, HiddenRange(1, 16 * 24 * 24 - 1), (16, 24, 24), np.random.default_rng(0)
    )
    assert (hidden_DHW == hidden_DHW[0]).all()
    rows, columns = np.nonzero(hidden_DHW[0].any(1))[0], np.nonzero(hidden_DHW[0].any(0))[0]
    tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert hidden_DHW[0].sum() == tall * wide
    assert tall * wide == pytest.approx(0.15 * 24 * 24, rel=0.1)
    assert tall / wide == pytest.approx(aspect, rel=0.15)


def test_a_block_keeps_its_area_where_the_plane_is_low() -> None:
    edges = hidden._rectangles(
        MaskSet(blocks=200, scale=0.5, aspect=[1.0, 1.0]), 3, 24, np.random.default_rng(0)
    )
    assert ((edges[:, 1] - edges[:, 0]) * (edges[:, 3] - edges[:, 2]) == 36).all()
    assert edges.min() >= 0
    assert (edges.max(0) <= [3, 3, 24, 24]).all()


@pytest.mark.parametrize(("context", "target"), [(150, 42), (2, 189), (96, 96), (97, 95)])
def test_what_never_fits_is_made_to_fit_by_whole_columns(context: int, target: int) -> None:
    mask_set = MaskSet(blocks=2, scale=0.3)
    hidden_range = HiddenRange(target, TOKENS - context)
    for seed in range(20):
        hidden_DHW = hidden.blocks(mask_set, hidden_range, GRID, np.random.default_rng(seed))
        assert hidden_range.low <= hidden_DHW.sum() <= hidden_range.high
        deep = hidden_DHW.sum(0)
        assert ((deep != 0) & (deep != 4)).sum() <= 1


@pytest.mark.parametrize("ratio", [0.3, 0.6, 0.9])
def test_cubes_hide_the_ratio_in_whole_cubes(ratio: float) -> None:
    mask_set = MaskSet(kind="cubes", cube=[2, 3, 2], ratio=ratio)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        hidden_DHW = hidden.cubes(mask_set, HiddenRange(1, 12 * 12 * 12 - 1), (12, 12, 12), rng)
        assert ratio * 1728 <= hidden_DHW.sum() < ratio * 1728 + 12
        again = np.random.default_rng(seed)
        starts = [int(again.integers(side)) for side in mask_set.cube]
        margins = [(start, -(12 + start) % side) for start, side in zip(starts, mask_set.cube, strict=True)]
        padded = np.pad(hidden_DHW.astype(int), margins, constant_values=-1)
        d, h, w = (n // side for n, side in zip(padded.shape, mask_set.cube, strict=True))
        for cell in padded.reshape(d, 2, h, 3, w, 2).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 12):
            assert len(set(cell[cell >= 0])) <= 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kind": "tubes"}, "objective.masks[0].kind=tubes: want blocks, cubes or retina"),
        ({"context": 0.7, "target": 0.4}, "context 134 + target 77 tokens, want at most the grid's 192"),
        ({"context": 0.0}, "objective.masks[0].context=0.0: want more than 0"),
        ({"target": 10.5}, "objective.masks[0].target: found 10.5"),
        ({"blocks": 0}, "blocks=0: want at least 1"),
        ({"scale": 1.5}, "scale=1.5: want more than 0 and at most 1"),
        ({"aspect": [1.5, 0.75]}, "aspect"),
        ({"kind": "cubes", "cube": [2, 2]}, "cube=[2, 2]: want three numbers"),
        ({"kind": "cubes", "ratio": 1.0}, "ratio=1.0: want more than 0 and less than 1"),
    ],
)
def test_a_mask_set_that_makes_no_sense_is_refused(wrong: dict[str, object], says: str) -> None:
    cfg = config(MaskSet(**wrong))  # type: ignore[arg-type]
    with pytest.raises(UsageError) as error:  # noqa: PT012 (either may find it)
        fields.check(cfg)
        token_counts.check(cfg)
    assert says in str(error.value)


def test_no_mask_set_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one mask set"):
        token_counts.check(config())
