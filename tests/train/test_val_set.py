"""Which volumes validate, in which half, against which other one, and at which positions: by hand."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from octshard.config.train import TrainConfig
from octshard.stream.index import SampleIndex, build_index, open_datasets
from octshard.train import val_set
from tests.support.tiny_run import SHAPE, config_for, write_dataset

LARGE, SMALL = (8, 32, 16), (4, 16, 16)  # (4, 4, 2) and (2, 2, 2) tokens


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[SampleIndex, TrainConfig]:
    folder = tmp_path_factory.mktemp("data")
    cfg = config_for(write_dataset(folder / "d", {"train": 8, "val": 30}), folder / "run", "run.epochs=1")
    return build_index(open_datasets(cfg), cfg, "val", 1), cfg


def index_of(
    whole: SampleIndex, participants: str, shapes: Sequence[tuple[int, int, int]] | None = None
) -> SampleIndex:
    """Volumes of these participants, a letter each, and of these shapes."""
    shapes = shapes or [SHAPE] * len(participants)
    samples = tuple(
        dataclasses.replace(ref, row=dataclasses.replace(ref.row, participant=participant, shape_out=shape))
        for ref, participant, shape in zip(whole.samples, participants, shapes, strict=False)
    )
    return dataclasses.replace(whole, samples=samples)


def with_samples(cfg: TrainConfig, count: int, width: int = 24) -> TrainConfig:
    run = dataclasses.replace(cfg.run, val_samples=count)
    return dataclasses.replace(cfg, run=run, model=dataclasses.replace(cfg.model, width=width))


def test_nobody_is_in_both_halves(whole: tuple[SampleIndex, TrainConfig]) -> None:
    val = val_set.val_set(index_of(whole[0], "aabccadd"), with_samples(whole[1], 99))
    assert val.second_R.tolist() == [False, False, True, False, False, False, True, True]


def test_the_other_volume_is_of_another_participant_and_as_large(
    whole: tuple[SampleIndex, TrainConfig],
) -> None:
    shapes = [SMALL, SMALL, LARGE, SMALL, LARGE, LARGE]
    val = val_set.val_set(index_of(whole[0], "aabbcc", shapes), with_samples(whole[1], 99))
    # 0, 1 -> b's large one; 2 -> c's first; 3 -> c's first; 4, 5 -> b's large one, past the end
    assert val.others_V.tolist() == [2, 2, 4, 4, 2, 2]
    alone = val_set.val_set(index_of(whole[0], "aab", [LARGE, LARGE, SMALL]), with_samples(whole[1], 99))
    assert alone.others_V.tolist() == [2, 2, 0]  # nobody else's is as large
    one = val_set.val_set(index_of(whole[0], "aaa"), with_samples(whole[1], 99))
    assert one.others_V.tolist() == [1, 2, 0]  # there is nobody else
    assert val_set.val_set(index_of(whole[0], "a"), with_samples(whole[1], 99)).others_V.tolist() == [0]


def test_numbers_are_those_of_the_index_when_not_all_volumes_validate(
    whole: tuple[SampleIndex, TrainConfig],
) -> None:
    val = val_set.val_set(index_of(whole[0], "abcdefghij"), with_samples(whole[1], 5))
    assert val.numbers_V.tolist() == [0, 2, 4, 6, 8]
    assert val.others_V.tolist() == [2, 4, 6, 8, 0]
    none = val_set.val_set(index_of(whole[0], "abc"), with_samples(whole[1], 0))
    assert len(none.numbers_V) == 0


def test_positions_are_those_that_four_volumes_of_each_half_hold(
    whole: tuple[SampleIndex, TrainConfig],
) -> None:
    # a, c, e, g are the first half; one of the second is small
    val = val_set.val_set(
        index_of(whole[0], "abcdefghj", [LARGE] * 7 + [SMALL] + [LARGE]), with_samples(whole[1], 99)
    )
    ids_DHW = np.arange(32).reshape(4, 4, 2)
    assert val.positions_P.tolist() == ids_DHW[:2, :2].ravel().tolist()
    assert val.has_skill
    few = val_set.val_set(index_of(whole[0], "abcdefg"), with_samples(whole[1], 99))
    assert (few.has_skill, len(few.positions_P)) == (False, 1)


def test_what_is_kept_is_bounded_and_the_same_at_every_call(
    whole: tuple[SampleIndex, TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    index, cfg = index_of(whole[0], "abcdefghijklmnopqrst", [LARGE] * 20), with_samples(whole[1], 99)
    everything = val_set.val_set(index, cfg)
    assert (len(everything.positions_P), everything.rows_V.tolist()) == (32, list(range(20)))
    monkeypatch.setattr(val_set, "BYTES", 20 * 10 * 24 * 4)  # room for 10 positions of 20 volumes
    monkeypatch.setattr(val_set, "LEAST_POSITIONS", 5)
    part, again = val_set.val_set(index, cfg), val_set.val_set(index, cfg)
    assert len(part.positions_P) == 10
    assert set(part.positions_P) < set(everything.positions_P)
    assert np.array_equal(part.positions_P, again.positions_P)
    monkeypatch.setattr(val_set, "LEAST_POSITIONS", 20)  # ten volumes stand for all
    few = val_set.val_set(index, cfg)
    assert few.rows_V.tolist() == [v // 2 if v % 2 == 0 else -1 for v in range(20)]
    assert (len(few.second_R), len(few.positions_P)) == (10, 20)
    assert few.second_R.tolist() == [False, True] * 5
    assert len(few.numbers_V) == 20  # the loss is still that of all


def test_the_largest_model_keeps_what_the_bound_says(whole: tuple[SampleIndex, TrainConfig]) -> None:
    cfg = with_samples(whole[1], 30, width=768)
    val = val_set.val_set(index_of(whole[0], "abcdefghijklmnopqrstuvwxyzABCD", [LARGE] * 30), cfg)
    assert len(val.second_R) * len(val.positions_P) * 768 * 4 <= val_set.BYTES


def test_skills_of_other_volumes_or_other_masks_have_another_digest(
    whole: tuple[SampleIndex, TrainConfig],
) -> None:
    index, cfg = whole
    masks = [dataclasses.replace(cfg.objective.masks[0], context=3)]
    other_masks = dataclasses.replace(cfg, objective=dataclasses.replace(cfg.objective, masks=masks))
    less = dataclasses.replace(index, samples=index.samples[:-1])
    digests = [
        val_set.val_set(each, with_samples(setting, 99)).digest
        for each, setting in ((index, cfg), (less, cfg), (index, other_masks))
    ]
    assert len(set(digests)) == 3
    assert val_set.val_set(index, with_samples(cfg, 99)).digest == digests[0]
