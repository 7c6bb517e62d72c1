"""Targets drawn towards the retinal band: counts, whole cubes, coverage by hand, and draws without a band."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from octshard.config.model import ModelConfig
from octshard.config.objective import MaskSet, ObjectiveConfig
from octshard.config.train import TrainConfig
from octshard.devices.cpu import Cpu
from octshard.errors import UsageError
from octshard.imaging.retina_band import RetinaBand
from octshard.stream.batch_shape import BatchShape
from octshard.train import loop, step_volume
from octshard.train.augment.band import tokens_in_band
from octshard.train.inputs import load_inputs
from octshard.train.objectives import masks, retina, token_counts
from octshard.train.objectives.retina import Coverage
from octshard.train.objectives.token_counts import TokenCounts
from tests.support.log_lines import log_lines
from tests.support.tiny_run import config_for, write_dataset

BOX = (4, 6, 8)


def layer(first: int, last: int) -> np.ndarray:
    band_dhw = np.zeros(BOX, bool)
    band_dhw[:, first:last] = True
    return band_dhw


@st.composite
def cases(draw: st.DrawFn) -> tuple[MaskSet, TokenCounts, np.ndarray, int]:
    """Any band that is not empty, and any counts that fit the volume."""
    box = tuple(draw(st.integers(1, 6)) for _ in range(3))
    valid = int(np.prod(box))
    if valid < 2:
        box, valid = (1, 1, 2), 2
    band_dhw = np.random.default_rng(draw(st.integers(0, 99))).random(box) < draw(st.floats(0.01, 1))
    band_dhw.flat[draw(st.integers(0, valid - 1))] = True
    K = draw(st.integers(1, valid - 1))
    T = draw(st.integers(1, valid - K))
    cube = [draw(st.integers(1, 3)) for _ in range(3)]
    mask_set = MaskSet(
        kind="retina", cube=cube, ratio=draw(st.floats(0.05, 0.95)), band=draw(st.floats(0.01, 1))
    )
    return mask_set, TokenCounts(K, T), band_dhw, draw(st.integers(0, 1000))


@settings(max_examples=300, deadline=None)
@given(cases())
def test_every_promise_of_a_choice(case: tuple[MaskSet, TokenCounts, np.ndarray, int]) -> None:
    mask_set, counts, band_dhw, seed = case
    choice = retina.draw(mask_set, counts, band_dhw, np.random.default_rng(seed))
    assert choice.target_dhw.sum() == counts.T
    assert (~choice.hidden_dhw).sum() >= counts.K
    assert not (choice.target_dhw & ~choice.hidden_dhw).any()
    inside = int((choice.target_dhw & band_dhw).sum())
    assert inside == int((choice.hidden_dhw & band_dhw).sum())  # what is hidden of the band is target
    others = int((~band_dhw).sum())
    wish = min(round(mask_set.band * counts.T), int(mask_set.ratio * band_dhw.sum()))
    assert inside == max(wish, counts.T - others)


def test_the_share_of_the_band_is_that_of_the_config_and_ratio_its_limit() -> None:
    """64 of 192 tokens are band. Of 40 targets 0.5 are 20; of 96 they are 48, but of the band 0.6 are 38."""
    band_dhw, mask_set = layer(2, 4), MaskSet(kind="retina", cube=[1, 1, 2], ratio=0.6, band=0.5)
    for targets, inside in ((40, 20), (96, 38)):
        for seed in range(20):
            rng = np.random.default_rng(seed)
            choice = retina.draw(mask_set, TokenCounts(60, targets), band_dhw, rng)
            assert retina.coverage_of(choice.target_dhw, band_dhw) == Coverage(inside / targets, inside / 64)
            assert choice.hidden_dhw.sum() == round(0.6 * 192)


def test_cubes_are_whole_but_one_in_the_band_and_one_elsewhere() -> None:
    """Cubes of 2 x 2 x 2 at an offset; the band is thick enough for cubes of its own."""
    band_dhw = np.zeros((8, 12, 12), bool)
    band_dhw[:, 4:8] = True
    mask_set = MaskSet(kind="retina", cube=[2, 2, 2], ratio=0.5, band=0.4)
    for seed in range(20):
        choice = retina.draw(mask_set, TokenCounts(100, 400), band_dhw, np.random.default_rng(seed))
        again = np.random.default_rng(seed)
        offsets = [int(again.integers(2)) for _ in range(3)]
        cut = 0
        for corner in np.ndindex(5, 7, 7):
            cube = tuple(
                slice(max(0, 2 * i - offset), max(0, 2 * i - offset + 2))
                for i, offset in zip(corner, offsets, strict=True)
            )
            cut += len(set(choice.hidden_dhw[cube].ravel())) == 2
        assert cut <= 2


def test_every_token_is_context_in_some_draws_and_target_in_others() -> None:
    band_dhw, mask_set = layer(2, 4), MaskSet(kind="retina", cube=[1, 2, 2], ratio=0.6, band=0.5)
    targets, seen = np.zeros(BOX, int), np.zeros(BOX, int)
    for seed in range(300):
        choice = retina.draw(mask_set, TokenCounts(60, 80), band_dhw, np.random.default_rng(seed))
        targets += choice.target_dhw
        seen += ~choice.hidden_dhw
    assert targets.min() > 0
    assert seen.min() > 0
    # 38 of 64 tokens in the band, 42 of 128 elsewhere
    assert targets[band_dhw].mean() == 300 * 38 / 64
    assert targets[~band_dhw].mean() == 300 * 42 / 128


def config(*sets: MaskSet) -> TrainConfig:
    model = ModelConfig(image_size=[8, 24, 32], patch=[2, 4, 4], width=24, depth=1, heads=2)
    return TrainConfig(model=model, objective=ObjectiveConfig(masks=list(sets)))


def test_volumes_without_a_band_are_drawn_as_cubes() -> None:
    cfg, cubes = (
        config(MaskSet(kind=kind, cube=[1, 2, 2], ratio=0.6, context=0.3, target=0.5))
        for kind in ("retina", "cubes")
    )
    extents, lengths = (
        torch.tensor([[8, 24, 32]] * 2),
        token_counts.list_lengths(cfg, BatchShape((8, 24, 32), 192, 192, 192)),
    )
    bands: list[np.ndarray | None] = [None, layer(2, 4)]
    (drawn,) = masks.draw(cfg, lengths, extents, 0, [0, 0], ["a", "b"], bands)
    (uniform,) = masks.draw(cubes, lengths, extents, 0, [0, 0], ["a", "b"], bands)
    assert torch.equal(drawn.target_BT[0], uniform.target_BT[0])
    assert torch.equal(drawn.context_BK[0], uniform.context_BK[0])
    target_N = np.zeros(192, bool)
    target_N[drawn.target_BT[1].numpy()] = True
    # of 96 targets 48 are asked for, of 64 tokens of the band 0.6 allow 38
    assert retina.coverage_of(target_N.reshape(BOX), layer(2, 4)).covered == 38 / 64
    assert not set(drawn.context_BK[1].tolist()) & set(drawn.target_BT[1].tolist())


def test_a_coarser_context_is_refused() -> None:
    cfg = config(MaskSet(kind="retina"))
    cfg.objective.context_scale = [1, 2, 2]
    with pytest.raises(
        UsageError, match=r"objective.masks\[0\].kind=retina: it knows no objective.context_scale"
    ):
        token_counts.check(cfg)


RETINA = "objective.masks=[{kind: retina, cube: [1,1,1], ratio: 0.6, band: 0.6, context: 0.3, target: 0.5}]"


def band_of(key: str) -> RetinaBand | None:
    """Rows 8 to 12 of 20, the second of three rows of tokens; every third volume has none."""
    if int(key[-10:], 16) % 3 == 0:
        return None
    return RetinaBand(np.tile(np.array([8, 12], np.int16), (6, 3, 1)))


def test_a_run_places_its_targets_in_the_band_that_its_score_has(tmp_path: Path) -> None:
    """18 tokens, 6 of them band; of 9 targets 0.6 are 5, and 0.6 of the band are 3."""
    shards = write_dataset(tmp_path / "device", {"train": 21, "val": 6}, band_of=band_of)
    more = (RETINA, "views.zoom=0", "views.tilt=0", "run.samples_budget=16")
    cfg = config_for(shards, tmp_path / "run", *more)
    alone = step_volume.one_by_one(cfg)
    with closing(Cpu(dtype=None)) as backend:
        source = step_volume.open_source(alone, backend)
        covered = []
        for step in step_volume.train_volumes(source, 12):
            (flags_dhw,) = tokens_in_band(alone, step.batch, step.params)
            if flags_dhw is None:
                assert band_of(step.batch.keys[0]) is None
                continue
            target_N = np.zeros(32, bool)
            target_N[step.masks[0].target_BT[0].numpy()] = True
            covered.append(retina.coverage_of(target_N.reshape(4, 4, 2)[:3, :3, :2], flags_dhw))
    assert len(covered) > 6
    assert set(covered) == {Coverage(3 / 9, 3 / 6)}
    with log_lines() as lines:
        assert loop.train(cfg).step == 4
    assert any("7 of 21 train volumes have no retinal band" in line for line in lines)


def test_shards_without_bands_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    shards = write_dataset(tmp_path / "device", {"train": 21})
    cfg = config_for(shards, tmp_path / "run", RETINA, "run.samples_budget=16")
    with pytest.raises(
        UsageError, match=r"kind=retina, and none of 21 train volumes .* has a retinal band; want"
    ):
        loop.train(cfg)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_run_knows_which_bands_it_began_with(tmp_path: Path) -> None:
    def bands_in(name: str, more: str, band: Callable[[str], RetinaBand | None]) -> object:
        shards = write_dataset(tmp_path / name, {"train": 21, "val": 6}, band_of=band)
        cfg = config_for(shards, tmp_path / "run", more, "run.samples_budget=16")
        with closing(Cpu(dtype=None)) as backend:
            return load_inputs(cfg, backend).fingerprint().get("retinal bands")

    some = bands_in("some", RETINA, band_of)
    assert some is not None
    assert bands_in("same", RETINA, band_of) == some
    assert bands_in("all", RETINA, lambda _: band_of("0000000001")) != some
    assert bands_in("cubes", "objective.masks=[{kind: cubes, context: 0.3, target: 0.5}]", band_of) is None
