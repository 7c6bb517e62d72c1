"""K and T: shares of the valid tokens of each volume, or counts; what a volume needs, what is refused."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octshard.config.load import load, shipped_configs
from octshard.config.model import ModelConfig
from octshard.config.objective import MaskSet, ObjectiveConfig
from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.stream.batch_shape import BatchShape
from octshard.train.objectives import token_counts
from octshard.train.objectives.token_counts import ListLengths, TokenCounts

TOKENS = 192


def config(*sets: MaskSet, max_tokens: int | None = None) -> TrainConfig:
    model = ModelConfig(image_size=[8, 24, 32], patch=[2, 4, 4], width=24, depth=1, heads=2)
    return TrainConfig(model=model, objective=ObjectiveConfig(masks=list(sets), max_tokens=max_tokens))


def test_shares_are_of_the_valid_tokens_and_counts_are_counts() -> None:
    cfg = config(MaskSet(context=0.25, target=100), MaskSet(context=0.01, target=0.5))
    assert token_counts.counts_of(cfg, 192) == (TokenCounts(48, 100), TokenCounts(2, 96))
    assert token_counts.counts_of(cfg, 60) == (TokenCounts(15, 100), TokenCounts(1, 30))
    assert token_counts.needed_tokens(cfg) == 133  # 33 + 100; of 132 a quarter is 33 too
    assert token_counts.needed_tokens(config(MaskSet(context=30, target=100))) == 130
    assert token_counts.needed_tokens(config(MaskSet(context=0.35, target=0.65))) == 2


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 999), st.integers(1, 999), st.integers(2, TOKENS))
def test_two_shares_fit_every_volume_and_are_right_to_a_token(context: int, target: int, valid: int) -> None:
    """By exact fractions; a volume of one token has no two parts."""
    if context + target > 1000:
        return
    mask_set = MaskSet(context=context / 1000, target=target / 1000)
    ((K, T, _),) = token_counts.counts_of(config(mask_set), valid)
    assert K >= 1
    assert T >= 1
    assert valid >= K + T
    for count, share in ((K, Fraction(context, 1000)), (T, Fraction(target, 1000))):
        assert abs(count - share * valid) <= 1


@settings(max_examples=100, deadline=None)
@given(st.floats(0.001, 1), st.floats(0.001, 1))
def test_larger_volumes_have_no_shorter_lists(context: float, target: float) -> None:
    """So that the lists of the largest hold those of all."""
    cfg = config(MaskSet(context=context, target=target))
    counts = [token_counts.counts_of(cfg, valid)[0] for valid in range(2, TOKENS + 1)]
    for smaller, larger in itertools.pairwise(counts):
        if larger.needed <= TOKENS and context + target <= 1:
            assert smaller.K <= larger.K
            assert smaller.T <= larger.T


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([0.2, 0.5, 3, 40, 90]), st.sampled_from([0.3, 0.5, 2, 60, 90]))
def test_needed_is_the_smallest_volume_that_all_sets_fit(context: float, target: float) -> None:
    cfg = config(MaskSet(context=context, target=target), MaskSet(context=0.1, target=20))
    fits = [
        all(counts.needed <= valid for counts in token_counts.counts_of(cfg, valid))
        for valid in range(1, TOKENS + 1)
    ]
    assert token_counts.needed_tokens(cfg) == 1 + fits.index(True)
    assert all(fits[fits.index(True) :])


def test_lists_are_as_long_as_the_largest_volume_asks_for() -> None:
    lengths = token_counts.list_lengths(
        config(MaskSet(context=0.25, target=10)), BatchShape((8, 24, 32), 80, 40, 80)
    )
    assert lengths == (ListLengths(TokenCounts(20, 10), TokenCounts(10, 10)),)


def test_max_tokens_is_held_against_the_largest_volume_there_is() -> None:
    cfg = config(MaskSet(context=0.25, target=0.5), max_tokens=100)
    token_counts.check(cfg)
    token_counts.check_max_tokens(cfg, 132)
    with pytest.raises(UsageError, match=r"max_tokens=100: the mask sets name up to 144 tokens of a volume"):
        token_counts.check_max_tokens(cfg, 192)


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_shipped_configs_use_the_same_share_of_every_volume(name: str) -> None:
    """Of 1,824 valid tokens and of 9,216 alike; a demo has one device."""
    if not name.startswith(("pretrain", "smoke")):
        return
    cfg = load(TrainConfig, [shipped_configs()[name]])
    small, large = (token_counts.counts_of(cfg, valid) for valid in (1824, 9216))
    for few, many in zip(small, large, strict=True):
        assert few.needed / 1824 == pytest.approx(many.needed / 9216, abs=1e-3)
    assert (
        max(few.needed for few in small) / 1824 > 0.6
    )  # a long-range set beside it leaves more of what it hides
