"""The plan is data: the same for any input order, every row in exactly one place."""

import random
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from octshard.config.prep import PrepConfig
from octshard.imaging.volume import DEVICES
from octshard.prep.plan import ShardPlan, digest, expected_bytes, plan, split_of
from octshard.prep.release.entry import Entry


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
    rows: list[Entry], recommended: dict[str, str], cfg: PrepConfig, rng: random.Random
) -> None:
    first = plan(rows, recommended, cfg)
    shuffled = rows.copy()
    rng.shuffle(shuffled)
    assert plan(shuffled, recommended, cfg) == first
    assert digest(plan(reversed(rows), recommended, cfg)) == digest(first)


@given(entries, splits, configs)
def test_every_row_stands_in_exactly_one_shard(
    rows: list[Entry], recommended: dict[str, str], cfg: PrepConfig
) -> None:
    assert Counter(members(plan(rows, recommended, cfg))) == Counter(rows)


@given(entries, splits, configs)
def test_no_participant_and_no_shard_crosses_a_split(
    rows: list[Entry], recommended: dict[str, str], cfg: PrepConfig
) -> None:
    splits_of: dict[str, set[str]] = {}
    for shard in plan(rows, recommended, cfg):
        assert shard.members
        assert shard.name.startswith(shard.split + "-")
        for member in shard.members:
            splits_of.setdefault(member.entry.participant, set()).add(shard.split)
    assert all(len(names) == 1 for names in splits_of.values())
    assert all(splits_of[person] == {split} for person, split in recommended.items() if person in splits_of)


@given(entries, configs)
def test_a_member_carries_all_rows_that_uids_and_paths_tie_to_it(rows: list[Entry], cfg: PrepConfig) -> None:
    for shard in plan(rows, {}, cfg):
        for member in shard.members:
            assert member.group[member.rank] == member.entry
            assert [e.path for e in member.group] == sorted(e.path for e in member.group)
            assert set(member.group) == tied(member.entry, rows)


def tied(entry: Entry, rows: list[Entry]) -> set[Entry]:
    """By brute force: everything reachable over a shared UID or path."""
    group = {entry}
    while True:
        names = {name for e in group for name in (e.sop_instance_uid, e.path)}
        more = {row for row in rows if names & {row.sop_instance_uid, row.path}} | group
        if more == group:
            return group
        group = more


def test_rows_that_are_wholly_equal_are_twins_too() -> None:
    (shard,) = plan([entry(1, 1000)] * 3, {}, PrepConfig())
    assert sorted(member.rank for member in shard.members) == [0, 1, 2]


def test_many_twins_make_a_plan_no_larger() -> None:
    rows = [entry(i, 1000 + i, "2.25.7") for i in range(3000)]
    shards = plan(rows, {}, PrepConfig())
    assert len(digest(shards)) == 16
    assert len(repr(shards)) < 600 * len(rows)


def test_the_digest_is_that_of_0_1_0() -> None:
    """It was computed by 0.1.0. If it changes, no folder that was begun before can be finished."""
    rows = [replace(entry(i, 1000 + i // 4, f"2.25.{i // 2 + 1}"), path=f"a/{i}.dcm") for i in range(12)]
    shards = plan(rows, {"1000": "test", "1001": "val"}, PrepConfig(shard_bytes=2_000_000))
    assert digest(shards) == "aa6458881e8c89b3"
    turned = plan([replace(rows[0], axes="whd"), *rows[1:]], {"1000": "test", "1001": "val"}, PrepConfig())
    assert digest(turned) != digest(plan(rows, {"1000": "test", "1001": "val"}, PrepConfig()))


def test_files_that_share_a_uid_have_keys_of_their_own_and_take_room() -> None:
    """One UID for all files, as an anonymiser may write it: only files of one eye may be duplicates."""
    rows = [entry(i, 1000 + i // 2, "2.25.7") for i in range(6)]
    (shard,) = plan(rows, dict.fromkeys(("1000", "1001", "1002"), "train"), PrepConfig())
    in_order = sorted(shard.members, key=lambda member: member.entry.path)
    assert len({str(member.stored_key) for member in in_order}) == 6
    assert len({member.stored_key.digest for member in in_order}) == 6
    assert in_order[0].stored_key == in_order[0].key
    assert [member.expected_duplicate for member in in_order] == [False, True] * 3
    assert [expected_bytes(member, PrepConfig()) > 0 for member in in_order] == [True, False] * 3


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
    assert expected_bytes(shard.members[0], PrepConfig(max_output_voxels=1000)) == 700


def test_a_shard_mixes_participants_and_the_seed_decides_how() -> None:
    rows = [entry(i, 1000 + i // 20) for i in range(200)]
    recommended = {str(1000 + i): "train" for i in range(10)}
    (first,), (second,) = (
        plan(rows, recommended, PrepConfig(seed=seed, shard_bytes=10**10)) for seed in (0, 1)
    )
    people = [member.entry.participant for member in first.members]
    assert len(set(people[:20])) >= 6
    assert first != second
    assert Counter(first.members) == Counter(second.members)


def test_without_a_recommendation_people_are_split_70_15_15() -> None:
    counts = Counter(split_of(str(person), {}, 0) for person in range(4000))
    assert abs(counts["train"] / 4000 - 0.70) < 0.03
    assert abs(counts["val"] / 4000 - 0.15) < 0.03
    assert abs(counts["test"] / 4000 - 0.15) < 0.03


def test_a_date_is_part_of_the_digest_where_there_is_one() -> None:
    cfg, rows = PrepConfig(), [entry(1, 1001), entry(2, 1002)]
    dated = [replace(rows[0], acquired="2023-07-18"), rows[1]]
    assert digest(plan(dated, {}, cfg)) not in ("", digest(plan(rows, {}, cfg)))
    twins = [replace(rows[0], acquired=day) for day in ("1", "2")]
    assert digest(plan(twins, {}, cfg)) == digest(plan(reversed(twins), {}, cfg))


def test_private_names_of_parts_are_not_in_the_digest_but_their_count_is() -> None:
    cfg, rows = PrepConfig(), [entry(1, 1001), entry(2, 1002)]
    digests = {}
    for parts in ("", "Meyer.dcm", "40817263.dcm", "Meyer.dcm/b.dcm"):
        for source_id in ("", "s1"):
            first = replace(rows[0], parts=parts, source_id=source_id)
            digests[parts, source_id] = digest(plan([first, rows[1]], {}, cfg))
    assert digests["Meyer.dcm", "s1"] == digests["40817263.dcm", "s1"]
    assert digests["Meyer.dcm", ""] != digests["40817263.dcm", ""]
    of_private = [digests[parts, "s1"] for parts in ("", "Meyer.dcm", "Meyer.dcm/b.dcm")]
    assert len(set(of_private)) == 3
