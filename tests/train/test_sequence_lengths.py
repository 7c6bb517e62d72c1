"""Lengths of packed sequences: the best of all choices, enough for every batch, and what padding costs."""

import itertools

import numpy as np
import pytest

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.models.attention import BLOCK
from octshard.models.packing import blocks
from octshard.stream import grouping
from octshard.stream.batch import RankSlice
from octshard.stream.grouping import Grouping
from octshard.stream.sampler import BatchSamples, StreamPosition
from octshard.train import flops, sequence_lengths
from octshard.train.objectives import curriculum
from octshard.train.objectives.token_counts import counts_of
from octshard.train.sequence_lengths import Step

# Valid tokens of the scans that the four devices of AI-READI make, at the seed preset; here equally often.
MULTI_DOMAIN = dict.fromkeys((1824, 2128, 2304, 2432, 2736, 3072, 3456), 1.0)


def test_the_few_lengths_are_the_best_of_all() -> None:
    """Against every choice of four lengths, over every draw of two volumes."""
    counts = {100: 0.4, 200: 0.3, 500: 0.2, 1000: 0.1}  # 1, 2, 4 and 8 blocks
    chance: dict[int, float] = {}
    for (a, p), (b, q) in itertools.product(counts.items(), repeat=2):
        total = sum(-(-n // BLOCK) for n in (a, b))
        chance[total] = chance.get(total, 0.0) + p * q
    assert max(chance) == 16

    def mean(ends: tuple[int, ...]) -> float:
        return sum(p * min(end for end in ends if end >= total) for total, p in chance.items())

    best = min(mean((*ends, 16)) for ends in itertools.combinations(range(1, 16), 3))
    lengths, reading = sequence_lengths.few_lengths(counts, 2)
    assert mean(tuple(n // BLOCK for n in lengths)) == pytest.approx(best)
    assert reading.rows == pytest.approx(BLOCK * best / 2)
    blocks_squared = 0.4 * 1 + 0.3 * 2**2 + 0.2 * 4**2 + 0.1 * 8**2
    assert reading.pairs == pytest.approx(BLOCK**2 * blocks_squared)


@pytest.mark.parametrize("volumes", [1, 2, 3, 8, 64])
def test_the_longest_holds_the_largest_volumes(volumes: int) -> None:
    for counts in (MULTI_DOMAIN, {1: 1e-9, 3456: 1 - 1e-9}, {7: 1.0}, {40_000: 0.5, 20: 0.5}):
        lengths, reading = sequence_lengths.few_lengths(sequence_lengths.clip_counts(counts, 10**9), volumes)
        assert 1 <= len(lengths) <= sequence_lengths.MAX_LENGTHS
        assert list(lengths) == sorted(set(lengths))
        assert not any(n % BLOCK for n in lengths)
        assert lengths[0] > 0
        assert lengths[-1] >= volumes * -(-max(counts) // BLOCK) * BLOCK
        assert reading.rows * volumes <= lengths[-1] * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_the_most_blocks_are_those_of_the_best_of_all_choices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    volumes = int(rng.integers(1, 5))
    kinds = [tuple(map(int, rng.integers(1, 6, 2))) for _ in range(rng.integers(1, 5))]  # some of one size
    expected = dict[int, int]()
    for choice in itertools.product(kinds, repeat=volumes):
        total, of_list = map(sum, zip(*choice, strict=True))
        expected[total] = max(of_list, expected.get(total, 0))
    most_S = sequence_lengths.most_blocks(*zip(*kinds, strict=True), volumes)
    assert {total: most for total, most in enumerate(most_S) if most >= 0} == expected
    assert len(most_S) == max(expected) + 1


@pytest.mark.parametrize("volumes", [1, 2, 3])
@pytest.mark.parametrize("most", [9216, 900])
def test_lengths_of_contexts_and_targets_hold_every_draw_and_no_more(volumes: int, most: int) -> None:
    """Two sets, one drawn twice, the other of as many tokens of every volume; two stages of a ratio."""
    masks = ("{kind: cubes, ratio: 0.5, ratio_end: 0.8, context: 0.4, target: 0.3, draws: 2}",
             "{kind: cubes, ratio: 0.5, context: 30, target: 40}")  # fmt: skip
    words = [f"objective.masks=[{','.join(masks)}]", "objective.mask_stages=2"]
    cfg = load(TrainConfig, ["pretrain_vjepa_multi_domain"], words)
    shares = {130: 0.4, 300: 0.3, 700: 0.15, 1100: 0.1, 2000: 0.05}
    few = sequence_lengths.few_sequences(cfg, most, {valid: 7 * p for valid, p in shares.items()}, volumes)
    choices = list(itertools.product(shares, repeat=volumes))
    totals = [BLOCK * sum(blocks(min(valid, most)) for valid in choice) for choice in choices]
    chances = [np.prod([shares[valid] for valid in choice]) for choice in choices]
    assert max(totals) <= few.lengths[-1]
    classes = [min(i for i, length in enumerate(few.lengths) if length >= total) for total in totals]
    assert set(classes) == set(range(len(few.lengths)))
    stages = curriculum.stages(cfg)
    assert len(few.draws) == len(few.readings) == len(stages) == 2
    for stage, draws, reading in zip(stages, few.draws, few.readings, strict=True):
        assert (len(draws), reading.V) == (3, most)
        rows = sum(p * few.lengths[i] for p, i in zip(chances, classes, strict=True)) / volumes
        assert reading.tokens.rows == pytest.approx(rows)
        for place, (lengths, draw) in enumerate(zip(draws, reading.draws, strict=True)):
            counts = {valid: counts_of(stage, valid)[place] for valid in shares}
            assert counts[2000][:2] == (draw.K, draw.T)
            contexts = {valid: K_T.K for valid, K_T in counts.items()}
            joints = {valid: K_T.K + K_T.T for valid, K_T in counts.items()}
            for sizes, each, read in ((contexts, lengths.context, draw.context),
                                      (joints, lengths.joint, draw.joint)):  # fmt: skip
                needed = [BLOCK * sum(blocks(sizes[valid]) for valid in choice) for choice in choices]
                for i, length in enumerate(each):
                    assert length == max(n for n, kind in zip(needed, classes, strict=True) if kind <= i)
                if len(set(sizes.values())) == 1:  # a list without padding
                    assert read[:2] == (sizes[130], sizes[130] ** 2)
                    continue
                rows = sum(p * each[i] for p, i in zip(chances, classes, strict=True)) / volumes
                pairs = sum(p * (BLOCK * blocks(sizes[valid])) ** 2 for valid, p in shares.items())
                assert read[:2] == pytest.approx((rows, pairs))


@pytest.mark.parametrize("alike", [1, 2])
@pytest.mark.parametrize("parts", [1, 4, 8])
def test_the_lengths_of_lists_are_the_best_of_all_and_their_padding_that_of_many_steps(
    parts: int, alike: int
) -> None:
    """Against every choice of lengths, and steps drawn at random, dealt out as a run deals them out."""
    cfg = load(TrainConfig, ["pretrain_vjepa_multi_domain"], [])
    shares = {1824: 0.3, 2128: 0.1, 2304: 0.1, 2432: 0.2, 2736: 0.2, 3456: 0.1}
    plan = sequence_lengths.list_plan(cfg, 3456, shares, Step(16, parts, alike))
    rng, sizes = np.random.default_rng(0), np.array(list(shares))
    needed: list[int] = []
    tokens = rng.choice(sizes, (400, alike, 16), p=list(shares.values()))
    for tokens_RN in tokens:
        step = BatchSamples(np.arange(16 * alike), np.zeros(16 * alike, int), StreamPosition(0, 0))
        groups = Grouping(parts, tokens_RN.T.ravel(), tuple(sizes), True)
        dealt = grouping.deal(step, RankSlice(16 * alike // parts, 0, alike), groups)
        needed += [micro.length for micro in dealt]
    cost = {size: flops.step_flops(cfg, size).total for size in shares}

    def mean_cost(lengths: tuple[int, ...]) -> float:
        return float(np.mean([cost[min(n for n in lengths if n >= size)] for size in needed]))

    choices = [(*rest, 3456) for rest in itertools.combinations(list(shares)[:-1], 3)]
    assert len(plan.lengths) == sequence_lengths.MAX_LENGTHS
    assert mean_cost(plan.lengths) <= min(map(mean_cost, choices)) * 1.003
    useful = sum(p * cost[size] for size, p in shares.items())
    assert plan.padding == pytest.approx(1 - useful / mean_cost(plan.lengths), abs=0.01)
    assert sum(plan.shares) == pytest.approx(1)


def test_the_padding_of_the_configs() -> None:
    """By formula: 33 % of a step's FLOPs for several devices, 8 % packed into few lengths and none into any;
    for one device 4 %. What is left of it in closely packed sequences are projections of lists.
    """
    multi, single = (load(TrainConfig, [f"pretrain_vjepa_{name}_domain"], []) for name in ("multi", "single"))
    few = sequence_lengths.few_sequences(multi, 3456, MULTI_DOMAIN, 2).readings
    exact = sequence_lengths.exact_readings(multi, 3456, MULTI_DOMAIN)
    shares = [flops.padding_share(multi, 3456, MULTI_DOMAIN, readings) for readings in (None, few, exact)]
    assert shares == pytest.approx([0.326, 0.078, 0.006], abs=1e-3)
    for volumes in (1, 2, 4, 8, 16, 32):
        few = sequence_lengths.few_sequences(multi, 3456, MULTI_DOMAIN, volumes).readings
        assert 0 < flops.padding_share(multi, 3456, MULTI_DOMAIN, few) < 0.1
    assert flops.padding_share(single, 2736, {2736: 3, 2432: 1}) == pytest.approx(0.0365, abs=1e-4)
    exact = sequence_lengths.exact_readings(single, 2736, {2736: 3, 2432: 1})
    assert flops.padding_share(single, 2736, {2736: 3, 2432: 1}, exact) < 0.03
    for cfg, context, target in ((multi, 720, 1090), (single, 960, 1450)):
        (mask_set,) = cfg.objective.masks
        mask_set.context, mask_set.target = context, target
    exact = sequence_lengths.exact_readings(multi, 3456, MULTI_DOMAIN)
    assert flops.padding_share(multi, 3456, MULTI_DOMAIN, exact) == pytest.approx(0, abs=1e-12)
