"""Context and targets by their place in a volume's list of tokens; large volumes subsampled by seed."""

import numpy as np
import pytest
import torch

from octshard.config.model import ModelConfig
from octshard.config.objective import MaskSet, ObjectiveConfig
from octshard.config.run import RunConfig
from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.models.tokens import Tokens
from octshard.stream.batch_shape import BatchShape
from octshard.train.objectives import masks, token_counts
from octshard.train.objectives.places import Places, list_tokens

EXTENTS = torch.tensor([[8, 48, 64], [8, 33, 64], [3, 48, 30]])  # 4x3x4, 4x3x4 and 2x3x2 tokens
KEYS = ("a", "b", "c")


def config(max_tokens: int | None = None) -> TrainConfig:
    model = ModelConfig(image_size=[8, 64, 64], patch=[2, 16, 16], width=24, depth=1, heads=2)
    mask_sets = [MaskSet(context=3, target=5), MaskSet(kind="cubes", cube=[1, 1, 1], context=4, target=6)]
    objective = ObjectiveConfig(masks=mask_sets, max_tokens=max_tokens)
    return TrainConfig(model=model, objective=objective, run=RunConfig(seed=3))


def drawn(
    cfg: TrainConfig, count: int, rows: slice = slice(None)
) -> tuple[list[masks.Masks], Tokens, list[Places]]:
    keys, extents = KEYS[rows], EXTENTS[rows]
    shape = BatchShape((8, 48, 64), count, 12, 48)
    mask_sets = masks.draw(cfg, token_counts.list_lengths(cfg, shape), extents, 3, [2] * len(keys), keys)
    return mask_sets, *list_tokens(cfg, shape, mask_sets, extents, [(2, key) for key in keys])


@pytest.mark.parametrize("count", [48, 20])
def test_places_name_the_tokens_of_their_masks(count: int) -> None:
    mask_sets, tokens, place_sets = drawn(config(), count)
    for drawn_set, places in zip(mask_sets, place_sets, strict=True):
        for index_BX, place_BX in zip(drawn_set[:2], places[:2], strict=True):
            assert torch.equal(tokens.index_BV.gather(1, place_BX), index_BX)


def test_a_large_volume_is_subsampled_by_its_seed_and_keeps_what_masks_name() -> None:
    mask_sets, tokens, _ = drawn(config(20), 20)
    assert tokens.padding_BV is not None
    assert tokens.padding_BV.sum(1).tolist() == [0, 0, 8]
    for i in range(3):
        kept = tokens.index_BV[i][~tokens.padding_BV[i]].numpy()
        assert (np.diff(kept) > 0).all()
        named = np.concatenate([index_BX[i].numpy() for masks_ in mask_sets for index_BX in masks_[:2]])
        assert set(named) <= set(kept)
    assert not torch.equal(tokens.index_BV[0], tokens.index_BV[1])
    assert torch.equal(drawn(config(20), 20, slice(1, 2))[1].index_BV[0], tokens.index_BV[1])


def test_fewer_tokens_than_the_masks_name_are_refused() -> None:
    token_counts.check(config(18))
    with pytest.raises(UsageError, match=r"objective.max_tokens=17: the mask sets name up to 18 tokens"):
        token_counts.check(config(17))
