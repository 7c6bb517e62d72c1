"""Of the files of one scan the first sound one in path order is stored, whatever the order of the rows."""

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from octshard.config.prep import PrepConfig
from octshard.dataset.tables import SampleRow
from octshard.prep import duplicates
from octshard.prep.plan import Member, plan
from octshard.prep.release.entry import Entry
from tests.prep.test_plan import entry


def members(entries: list[Entry]) -> list[Member]:
    """In path order."""
    shards = plan(entries, {}, PrepConfig())
    in_plan = [member for shard in shards for member in shard.members]
    return sorted(in_plan, key=lambda member: (member.entry.path, member.rank))


def row(member: Member, content: str = "", reason: str = "", **columns: object) -> SampleRow:
    """Of a file whose bytes and voxels are named by `content`; each has its own if there is no name."""
    e = member.entry
    names = (
        "participant",
        "device",
        "manufacturer",
        "model",
        "protocol",
        "region",
        "eye",
        "sop_instance_uid",
    )
    name = content or f"{e.path} {member.rank}"
    values: dict[str, object] = {column: getattr(e, column) for column in names}
    values |= {"key": str(member.key if reason else member.stored_key), "split": "train", "source": e.path}
    values |= {"source_bytes": 100, "source_xxh3": name, "shape_out": (6, 5, 4), "sha256": name, "std": 1.0}
    values |= {"status": "refused" if reason else "ok", "reason": reason}
    return SampleRow(**{**values, **columns})  # type: ignore[arg-type]


def resolved(pairs: list[tuple[Member, SampleRow]]) -> list[str]:
    """By member, in their order; `?` for what is not sound."""
    details = duplicates.resolve(pairs)
    return [details.get(member, "?") for member, _ in pairs]


def test_the_first_sound_file_of_one_scan_is_stored() -> None:
    a, b, c, d = members([entry(1, 1001, "u"), entry(2, 1001, "u"), entry(3, 1001), entry(4, 1001, "u")])
    same_a, same_b = (duplicates.SAME_SCAN + member.entry.path for member in (a, b))
    assert resolved([(m, row(m, "" if m is c else "x")) for m in (a, b, c, d)]) == ["", same_a, "", same_a]
    for reason in ("truncated", "missing_file", "decoder_crash"):
        cut = (a, row(a, "x", reason))
        assert resolved([cut, (b, row(b, "x")), (c, row(c)), (d, row(d, "x"))]) == ["?", "", "", same_b]
    # a row of an earlier run, when another twin was sound, still says that its own file is sound
    stale = row(b, "x", "duplicate", detail=same_a)
    details = duplicates.resolve([(a, row(a, reason="missing_file")), (b, stale), (d, row(d, "x"))])
    assert details == {b: "", d: same_b}
    assert duplicates.is_stale(b, stale, details)
    assert duplicates.is_stale(d, row(d, "x"), details)
    assert not duplicates.is_stale(a, row(a, reason="missing_file"), details)
    assert not duplicates.is_stale(d, row(d, "x", "duplicate", detail=same_b), details)
    assert duplicates.is_stale(d, row(d, "x", "duplicate", detail=same_a), details)


def test_other_content_under_one_uid_is_another_scan() -> None:
    """Whether the manifest says so or the headers alone, and whoever it is of."""
    listed = [
        entry(1, 1001, "u"),
        entry(2, 1001, "u"),
        entry(3, 1002, "u"),
        replace(entry(4, 1001, "u"), eye="R"),
    ]
    assert resolved([(m, row(m)) for m in members(listed)]) == [""] * 4
    bare = members([replace(e, sop_instance_uid="") for e in listed])
    assert resolved([(m, row(m, sop_instance_uid="u")) for m in bare]) == [""] * 4


def test_equal_bytes_are_one_scan_whoever_they_are_of() -> None:
    a, b, c, d = members([entry(1, 1001, "u"), entry(2, 1002, "v"), entry(3, 1001), entry(4, 1003, "u")])
    same_a = [kind + a.entry.path for kind in (duplicates.SAME_BYTES, duplicates.SAME_SCAN)]
    assert resolved([(m, row(m, "x")) for m in (a, b, c, d)]) == ["", same_a[0], same_a[0], same_a[1]]
    pairs = [(a, row(a, "x")), (c, row(c, "x")), (d, row(d, reason="truncated"))]
    assert resolved(pairs) == ["", same_a[0], "?"]


def test_equal_voxels_are_one_scan_for_one_eye_or_one_uid() -> None:
    """In other bytes and under other UIDs: a copy whose header was changed, or that was encoded anew."""
    listed = [
        entry(1, 1001, "u"),
        entry(2, 1001, "v"),
        replace(entry(3, 1001), participant="01001"),
        entry(4, 1002, "w"),
        replace(entry(5, 1001), eye="R"),
        entry(6, 1003, "u"),
    ]
    pairs = [(m, row(m, source_xxh3=m.entry.path, sha256="same")) for m in members(listed)]
    same = [kind + listed[0].path for kind in (duplicates.SAME_VOXELS, duplicates.SAME_SCAN)]
    assert resolved(pairs) == ["", same[0], same[0], "", "", same[1]]
    for columns in ({"std": 0.0}, {"std": None}, {"sha256": ""}):  # blank, or of tables that do not say
        assert resolved([(m, replace(r, **columns)) for m, r in pairs]) == [""] * 6
    a, b = members(listed[:2])
    assert resolved([(a, row(a, "x", frames=6)), (b, row(b, source_xxh3="y", sha256="x", frames=7))]) == [
        "",
        "",
    ]


def test_a_duplicate_of_0_1_0_is_looked_at_again_if_its_bytes_differ() -> None:
    """Its row does not say which voxels it has."""
    a, b = members([entry(1, 1001, "u"), entry(2, 1001, "u")])
    detail = duplicates.SAME_SCAN + a.entry.path
    old = row(b, reason="duplicate", detail=detail, sha256="", std=None)
    pairs = [(a, row(a, "x")), (b, old)]
    assert duplicates.is_stale(b, old, duplicates.resolve(pairs))
    same = replace(old, source_xxh3="x")
    assert not duplicates.is_stale(b, same, duplicates.resolve([(a, row(a, "x")), (b, same)]))


def test_a_stored_row_with_another_key_is_stale() -> None:
    a, b = members([entry(1, 1001, "u"), entry(2, 1001, "u")])
    details = duplicates.resolve([(a, row(a)), (b, row(b))])
    assert not duplicates.is_stale(b, row(b), details)
    assert duplicates.is_stale(b, replace(row(b), key=str(b.key)), details)


def test_one_path_in_two_rows_of_the_manifest() -> None:
    first = entry(1, 1001, "u")
    a, b = members([first, replace(first, sop_instance_uid="v")])
    assert resolved([(a, row(a, "x")), (b, row(b, "x"))]) == ["", duplicates.SAME_SCAN + first.path]
    a, b = members([first, first])  # even where the rows are alike
    assert resolved([(a, row(a, "x")), (b, row(b, "x"))]) == ["", duplicates.SAME_SCAN + first.path]


@given(
    st.lists(
        st.tuples(st.sampled_from("uvw "), st.sampled_from("xyz "), st.sampled_from("pq"), st.booleans()),
        max_size=12,
    ),
    st.randoms(),
)
def test_one_of_each_scan_is_stored_and_the_others_name_an_earlier_stored_file(
    kinds: list[tuple[str, str, str, bool]], rng: random.Random
) -> None:
    in_order = members([entry(100 + i, 1001, uid.strip()) for i, (uid, *_) in enumerate(kinds)])
    pairs = [
        (m, row(m, content.strip(), "" if sound else "truncated", sha256=voxels))
        for m, (_, content, voxels, sound) in zip(in_order, kinds, strict=True)
    ]
    details = duplicates.resolve(pairs)
    by_path = {m.entry.path: (i, m, r) for i, (m, r) in enumerate(pairs)}
    assert set(details) == {m for m, r in pairs if r.status == "ok"}
    stored = [r for m, r in pairs if details.get(m) == ""]
    assert len({r.sha256 for r in stored}) == len({r.source_xxh3 for r in stored}) == len(stored)
    assert len({r.key for r in stored}) == len(stored)
    for i, (m, _) in enumerate(pairs):
        if detail := details.get(m):
            place, other, _ = by_path[detail.rsplit(" ", 1)[1]]
            assert place < i
            assert details[other] == ""
    shuffled = pairs.copy()
    rng.shuffle(shuffled)
    assert duplicates.resolve(shuffled) == details
