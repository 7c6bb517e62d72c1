"""The plan is data: the same for any input order, every row in exactly one place."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from octshard.config import PrepConfig
from octshard.prep.aireadi import Entry
from octshard.prep.plan import ShardPlan, digest, expected_bytes, plan, split_of
from octshard.volume import DEVICES


def entry(number: int, person: int, uid: str = "", frames: int | None = 64) -> Entry:
    path = f"retinal_oct/structural_oct/topcon_triton/{person}/{person}_triton_oct_l_{number}.dcm"
    return Entry(
        participant=str(person),
        device=DEVICES[2],
        manufacturer="Topcon",
        model="Triton",
        protocol="triton",
        region="Macula",
        eye="L",
        frames=frames,
        rows=500,
        cols=300,
        pixel_mm=(0.004, 0.02),
        slice_mm=0.1,
        sop_instance_uid=uid or f"2.25.{number}",
        path=path,
    )


entries = st.lists(
    st.tuples(
        st.integers(0, 500), st.integers(1000, 1012), st.sampled_from(["", "", "", "2.25.7", "2.25.8"])
    ),
    max_size=40,
).map(lambda rows: [entry(*row) for row in dict.fromkeys(rows)])
configs = st.builds(
    PrepConfig, seed=st.integers(0, 3), shard_bytes=st.sampled_from([10**6, 10**7, 256 * 10**6])
)
splits = st.dictionaries(st.integers(1000, 1012).map(str), st.sampled_from(["train", "val", "test"]))


def members(shards: tuple[ShardPlan, ...]) -> list[Entry]:
    return [member.entry for shard in shards for member in shard.members]


@given(entries, splits, configs, st.randoms())
def test_any_input_order_gives_the_same_plan(
    rows: list[Entry], told: dict[str, str], cfg: PrepConfig, rng: random.Random
) -> None:
    first = plan(rows, told, cfg)
    shuffled = rows.copy()
    rng.shuffle(shuffled)
    assert plan(shuffled, told, cfg) == first
    assert digest(plan(reversed(rows), told, cfg)) == digest(first)


@given(entries, splits, configs)
def test_every_row_stands_in_exactly_one_shard(
    rows: list[Entry], told: dict[str, str], cfg: PrepConfig
) -> None:
    assert Counter(members(plan(rows, told, cfg))) == Counter(rows)


@given(entries, splits, configs)
def test_no_participant_and_no_shard_crosses_a_split(
    rows: list[Entry], told: dict[str, str], cfg: PrepConfig
) -> None:
    seen: dict[str, set[str]] = {}
    for shard in plan(rows, told, cfg):
        assert shard.members
        assert shard.name.startswith(shard.split + "-")
        for member in shard.members:
            seen.setdefault(member.entry.participant, set()).add(shard.split)
    assert all(len(found) == 1 for found in seen.values())
    assert all(seen[person] == {split} for person, split in told.items() if person in seen)


@given(entries, configs)
def test_one_of_the_rows_with_one_uid_or_path_is_kept_and_the_others_name_it(
    rows: list[Entry], cfg: PrepConfig
) -> None:
    kept = [m for shard in plan(rows, {}, cfg) for m in shard.members if not m.twin]
    assert len({m.entry.sop_instance_uid for m in kept}) == len(kept) == len({m.entry.path for m in kept})
    paths = {m.entry.path for m in kept}
    twins = [m for shard in plan(rows, {}, cfg) for m in shard.members if m.twin]
    for twin in twins:
        assert twin.twin <= twin.entry.path
    assert paths or not rows


def test_names_count_up_within_a_split_and_sizes_are_even() -> None:
    rows = [entry(i, 1000 + i) for i in range(200)]
    cfg = PrepConfig(shard_bytes=20_000_000)
    shards = [shard for shard in plan(rows, {}, cfg) if shard.split == "train"]
    assert [shard.name for shard in shards] == [f"train-{i:06d}" for i in range(len(shards))]
    sizes = [sum(expected_bytes(member, cfg) for member in shard.members) for shard in shards]
    assert len(shards) > 3
    assert max(sizes) - min(sizes) <= 2 * expected_bytes(shards[0].members[0], cfg)


def test_the_expected_size_is_that_of_the_resampled_volume() -> None:
    (shard,) = plan([entry(1, 1000)], {}, PrepConfig())
    # 64 x 0.1 / 0.05 = 128; 500 x 0.004 / 0.02 = 100; 300 x 0.02 / 0.02 = 300
    assert expected_bytes(shard.members[0], PrepConfig()) == int(128 * 100 * 300 * 0.7)
    (unknown,) = plan([entry(1, 1000, frames=None)], {}, PrepConfig())
    assert expected_bytes(unknown.members[0], PrepConfig()) == int(64 * 384 * 384 * 0.7)


def test_a_shard_mixes_participants_and_the_seed_decides_how() -> None:
    rows = [entry(i, 1000 + i // 20) for i in range(200)]
    told = {str(1000 + i): "train" for i in range(10)}
    (first,), (second,) = (plan(rows, told, PrepConfig(seed=seed, shard_bytes=10**10)) for seed in (0, 1))
    people = [member.entry.participant for member in first.members]
    assert len(set(people[:20])) >= 6
    assert first != second
    assert Counter(first.members) == Counter(second.members)


def test_without_a_recommendation_people_are_split_70_15_15() -> None:
    found = Counter(split_of(str(person), {}, 0) for person in range(4000))
    assert abs(found["train"] / 4000 - 0.70) < 0.03
    assert abs(found["val"] / 4000 - 0.15) < 0.03
    assert abs(found["test"] / 4000 - 0.15) < 0.03
