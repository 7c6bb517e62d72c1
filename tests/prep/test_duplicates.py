"""Of the files of one scan the first sound one in path order is stored, whatever the order of the rows."""

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from octshard.config.prep import PrepConfig
from octshard.dataset.tables import SampleRow
from octshard.prep import duplicates
from octshard.prep.plan import Member, plan
from octshard.prep.release.aireadi import Entry
from tests.prep.test_plan import entry


def members(entries: list[Entry]) -> list[Member]:
    """In path order."""
    shards = plan(entries, {}, PrepConfig())
    in_plan = [member for shard in shards for member in shard.members]
    return sorted(in_plan, key=lambda member: (member.entry.path, member.rank))


def row(member: Member, content: str = "", reason: str = "", detail: str = "", uid: str = "") -> SampleRow:
    """Of a file whose bytes are named by `content`; each has its own if there is no name."""
    e = member.entry
    names = ("participant", "device", "manufacturer", "model", "protocol", "region", "eye")
    columns = {name: getattr(e, name) for name in names} | {"key": str(member.key), "split": "train"}
    columns |= {"source": e.path, "source_bytes": 100, "source_xxh3": content or f"{e.path} {member.rank}"}
    columns |= {"sop_instance_uid": e.sop_instance_uid or uid}
    return SampleRow(**columns, status="refused" if reason else "ok", reason=reason, detail=detail)


def resolved(pairs: list[tuple[Member, SampleRow]]) -> list[str]:
    """By member, in their order; `?` for what is not sound."""
    details = duplicates.resolve(pairs)
    return [details.get(member, "?") for member, _ in pairs]


def test_a_uid_of_the_manifest() -> None:
    a, b, c, d = members([entry(1, 1001, "u"), entry(2, 1001, "u"), entry(3, 1001), entry(4, 1001, "u")])
    same_a, same_b = (duplicates.SAME_SCAN + member.entry.path for member in (a, b))
    assert resolved([(m, row(m)) for m in (a, b, c, d)]) == ["", same_a, "", same_a]
    for reason in ("truncated", "missing_file", "decoder_crash"):
        cut = (a, row(a, reason=reason))
        assert resolved([cut, *((m, row(m)) for m in (b, c, d))]) == ["?", "", "", same_b]
    # a row of an earlier run, when another twin was sound, still says that its own file is sound
    stale = row(b, reason="duplicate", detail=same_a)
    details = duplicates.resolve([(a, row(a, reason="missing_file")), (b, stale), (d, row(d))])
    assert details == {b: "", d: same_b}
    assert duplicates.is_stale(b, stale, details)
    assert duplicates.is_stale(d, row(d), details)
    assert not duplicates.is_stale(a, row(a, reason="missing_file"), details)
    assert not duplicates.is_stale(d, row(d, reason="duplicate", detail=same_b), details)
    assert duplicates.is_stale(d, row(d, reason="duplicate", detail=same_a), details)


def test_a_uid_that_only_the_headers_tell() -> None:
    bare = [replace(entry(i, 1001), sop_instance_uid="") for i in (1, 2, 3, 4)]
    a, b, c, d = members([*bare[:3], entry(4, 1001, "u")])
    pairs = [(a, row(a, uid="v")), (b, row(b, uid="u")), (c, row(c, uid="u")), (d, row(d))]
    assert resolved(pairs) == ["", "", *[duplicates.SAME_SCAN + b.entry.path] * 2]
    assert resolved([(m, row(m)) for m in (a, b, c, d)]) == ["", "", "", ""]  # no UID is not one UID


def test_equal_bytes() -> None:
    a, b, c, d = members([entry(1, 1001, "u"), entry(2, 1001, "u"), entry(3, 1001), entry(4, 1001)])
    same_a = duplicates.SAME_SCAN + a.entry.path
    pairs = [(a, row(a)), (b, row(b, "x")), (c, row(c, "x")), (d, row(d, "x"))]
    # b is not stored, so that c is the first of those bytes that is
    assert resolved(pairs) == ["", same_a, "", duplicates.SAME_BYTES + c.entry.path]
    pairs = [(a, row(a, "x")), (c, row(c, "x")), (d, row(d, reason="truncated"))]
    assert resolved(pairs) == ["", duplicates.SAME_BYTES + a.entry.path, "?"]


def test_one_path_in_two_rows_of_the_manifest() -> None:
    first = entry(1, 1001, "u")
    a, b = members([first, replace(first, sop_instance_uid="v")])
    assert resolved([(a, row(a, "x")), (b, row(b, "x"))]) == ["", duplicates.SAME_SCAN + first.path]
    a, b = members([first, first])  # even where the rows are alike
    assert resolved([(a, row(a, "x")), (b, row(b, "x"))]) == ["", duplicates.SAME_SCAN + first.path]


@given(
    st.lists(st.tuples(st.sampled_from("uvw "), st.sampled_from("xyz "), st.booleans()), max_size=12),
    st.randoms(),
)
def test_one_of_each_scan_is_stored_and_the_others_name_an_earlier_sound_file(
    kinds: list[tuple[str, str, bool]], rng: random.Random
) -> None:
    in_order = members([entry(100 + i, 1001, uid.strip()) for i, (uid, _, _) in enumerate(kinds)])
    pairs = [
        (m, row(m, content.strip(), "" if sound else "truncated"))
        for m, (_, content, sound) in zip(in_order, kinds, strict=True)
    ]
    details = duplicates.resolve(pairs)
    places = {m.entry.path: i for i, m in enumerate(in_order)}
    assert set(details) == {m for m, r in pairs if r.status == "ok"}
    stored = [r for m, r in pairs if details.get(m) == ""]
    assert len({r.sop_instance_uid for r in stored}) == len({r.source_xxh3 for r in stored}) == len(stored)
    for i, (m, r) in enumerate(pairs):
        if detail := details.get(m):
            kind, path = detail.rsplit(" ", 1)
            other_member, other = pairs[places[path]]
            assert places[path] < i
            assert other_member in details
            same = "source_xxh3" if kind + " " == duplicates.SAME_BYTES else "sop_instance_uid"
            assert getattr(r, same) == getattr(other, same)
    shuffled = pairs.copy()
    rng.shuffle(shuffled)
    assert duplicates.resolve(shuffled) == details
