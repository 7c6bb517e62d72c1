"""directory: what zipfile also sees, from the tail alone; what lies becomes a refusal and nothing worse."""

import io
import stat
import struct
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octshard.prep.release import zip_directory
from octshard.prep.release.zip_directory import RefusedMember, ZipEntry
from octshard.storage import store
from tests.support.made_release import Part, zip_bytes

PARTS = [Part("a/one.dcm", b"one " * 100), Part("a/two.dcm", bytes(range(256)), method=0)]


def listed(data: bytes) -> tuple[list[ZipEntry], list[RefusedMember]]:
    url = f"memory://{uuid.uuid4().hex}/x.zip"
    store.write(url, data)
    try:
        return zip_directory.read(url)
    finally:
        store.remove(url)


def only_reason(data: bytes) -> str:
    """Why a ZIP is refused whole, by one line."""
    members, refused = listed(data)
    assert members == []
    assert [r.member for r in refused] == [""]
    assert "\n" not in refused[0].reason
    return refused[0].reason


def facts(data: bytes) -> list[tuple[Any, ...]]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        return [
            (i.orig_filename, i.header_offset, i.compress_size, i.file_size, i.CRC, i.compress_type)
            for i in opened.infolist()
            if not i.is_dir()
        ]


def place(**changes: Any) -> ZipEntry:
    truth = {"offset": 0, "compressed": 10, "size": 10, "crc32": 0, "method": 8, "limit": 1000}
    return ZipEntry("x.zip", **{"name": "a", **truth, **changes})


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n"])
@pytest.mark.parametrize("comment", [b"", b"PK\5\6" * 20])
def test_a_directory_says_what_zipfile_says(wide: bool, before: bytes, comment: bytes) -> None:
    names = [Part("a/b/", b"", method=0), Part("Größe/ü.dcm", b"x" * 999)]
    data = zip_bytes([*PARTS, *names], wide=wide)
    data = before + data[:-2] + struct.pack("<H", len(comment)) + comment
    # zipfile cannot read a comment that looks like an end record, and must say the same without it
    want = facts(data[: len(data) - len(comment) - 2] + bytes(2))
    members, refused = listed(data)
    assert refused == []
    assert [(m.name, m.offset, m.compressed, m.size, m.crc32, m.method) for m in members] == want
    assert len(want) == 3


def test_a_member_without_a_name_is_one_like_others() -> None:
    assert [m.name for m in listed(zip_bytes([Part("", b"x")]))[0]] == [""]


def test_names_of_old_zips_are_cp437() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("kuche.dcm", b"x")
    assert [m.name for m in listed(out.getvalue().replace(b"kuche", b"k\x81che"))[0]] == ["küche.dcm"]


def test_a_member_beyond_four_gibibytes_is_found(tmp_path: Path) -> None:
    """A sparse file: the hole takes no disk."""
    hole = 5 * 2**30
    whole = zip_bytes(PARTS, wide=True)
    with open(tmp_path / "big.zip", "wb") as file:
        file.seek(hole)
        file.write(whole)
    members, refused = zip_directory.read(str(tmp_path / "big.zip"))
    assert refused == []
    assert [m.offset for m in members] == [hole + o for _, o, *_ in facts(whole)]


def test_only_the_tail_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def read_range(url: str, start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return honest(url, start, stop)

    honest = store.read_range
    monkeypatch.setattr(store, "read_range", read_range)
    big = Part("big", bytes(2**20), method=0)
    few, many = zip_bytes([big, *PARTS]), zip_bytes([big, *(Part(f"{i:0100}", b"x") for i in range(3000))])
    assert len(listed(few)[0]) == 3
    assert asked == 2 * [(len(few) - zip_directory.TAIL, len(few))]  # twice: it comes without a checksum
    asked.clear()
    assert len(listed(many)[0]) == 3001
    assert len(asked) == 4
    assert sum(stop - start for start, stop in asked) < 2 * (zip_directory.TAIL + 3001 * 150)


@pytest.mark.parametrize("flips", [{1}, {2}, {1, 3}], ids=str)
def test_a_directory_altered_on_its_way_is_read_again(
    flips: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, sent = store.read_range, []

    def altered(url: str, start: int, stop: int) -> bytes:
        data = bytearray(honest(url, start, stop))
        sent.append(start)
        data[data.rindex(b"two.dcm")] ^= len(sent) in flips
        return bytes(data)

    monkeypatch.setattr(store, "read_range", altered)
    assert [member.name for member in listed(zip_bytes(PARTS))[0]] == [part.name for part in PARTS]


@pytest.mark.parametrize("wide", [False, True])
def test_a_zip_cut_anywhere_is_one_refusal(wide: bool) -> None:
    data = zip_bytes([Part(f"{i}.dcm", bytes(i * 5)) for i in range(20)], wide=wide)
    for stop in {*range(0, len(data), 64), len(data) - 1, len(data) - 22}:
        assert only_reason(data[:stop]).startswith("not a whole ZIP: no end record")


@pytest.mark.parametrize(
    ("end", "word"),
    [
        ({"count": 1}, "2 members in its directory, 1 by its end record"),
        ({"count": 60_000}, "60000 members promised in a directory of 110 bytes"),
        ({"length": 2**32 - 2}, "runs into the end"),
        ({"length": 100}, "no directory entry"),
        ({"length": 0, "count": 0, "offset": 10**6}, "runs into the end"),
        ({"offset": 2**31}, "runs into the end"),
        ({"disk": 3}, "part 3 of several"),
    ],
)
def test_an_end_record_that_lies(end: dict[str, int], word: str) -> None:
    assert word in only_reason(zip_bytes(PARTS, **end))


@pytest.mark.parametrize(
    "end",
    [
        {"count": 2**63},
        {"count": 2**16 + 2},
        {"length": 2**63},
        {"length": 2**40, "offset": 0},
        {"offset": 2**64 - 1},
        {"disk": 1},
    ],
)
def test_a_zip64_end_record_that_lies(end: dict[str, int]) -> None:
    assert only_reason(zip_bytes(PARTS, wide=True, **end)).startswith("not a whole ZIP")


def test_a_huge_directory_in_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """2**40 bytes of directory would be there: the file is a hole of so many."""
    end = zip_bytes([], wide=True, length=2**40, count=2**30)
    with open(tmp_path / "huge.zip", "wb") as file:
        file.seek(2**40 + 5)
        file.write(end)
    members, refused = zip_directory.read(str(tmp_path / "huge.zip"))
    assert members == []
    assert f"want at most {zip_directory.MAX_DIRECTORY}" in refused[0].reason


def test_an_end_record_of_nothing_inside_a_comment_is_told() -> None:
    nothing = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 0)
    hidden = zip_bytes(PARTS)[:-2] + struct.pack("<H", len(nothing)) + nothing
    assert "an end record of no members behind" in only_reason(hidden)
    assert listed(nothing) == ([], [])
    assert listed(zip_bytes([], wide=True)) == ([], [])


def test_too_many_members_are_one_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_directory, "MAX_MEMBERS", 3)
    parts = [Part(f"{i}", b"x") for i in range(4)]
    assert len(listed(zip_bytes(parts[:3]))[0]) == 3
    assert "more than 3 members" in only_reason(zip_bytes(parts))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "../a"}, "climbing name"),
        ({"name": "a/.."}, "climbing name"),
        ({"name": "a\0b"}, "climbing name"),
        ({"name": "..\\a"}, "climbing name"),
        ({"name": "/a"}, "absolute name"),
        ({"name": "\\\\host\\a"}, "absolute name"),
        ({"name": "c:a"}, "absolute name"),
        ({"method": 12}, "compression method 12"),
        ({"offset": 960}, "bytes 960 to 1001"),
        ({"compressed": 970}, "bytes 0 to 1001"),
        ({"method": 0, "size": 11}, "stored, but 10 bytes would become 11"),
        ({"size": 2**33 + 1}, "want at most"),
        ({"size": 2**20 + 1}, "more than 200 times"),
    ],
)
def test_what_is_wrong_with_a_member(changes: dict[str, Any], reason: str) -> None:
    assert reason in zip_directory.problem_of(place(**changes), 0, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"name": "a..b/...c"},
        {"compressed": 969},
        {"size": 2**20},
        {"limit": 2**20, "compressed": 2**19, "size": 200 * 2**19},
    ],
)
def test_what_is_right_with_a_member(changes: dict[str, Any]) -> None:
    assert zip_directory.problem_of(place(**changes), 0x808, (stat.S_IFREG | 0o644) << 16) == ""


def test_links_and_locked_members_are_refused() -> None:
    assert zip_directory.problem_of(place(), 0, (stat.S_IFLNK | 0o777) << 16) == "symbolic link"
    for flags in (0x1, 0x40, 0x2000):
        assert zip_directory.problem_of(place(), flags, 0) == "encrypted"


def test_one_bad_member_leaves_the_others() -> None:
    link = Part("c/three.dcm", b"/etc/passwd", central={"attributes": 0o120777 << 16})
    members, refused = listed(zip_bytes([link, *PARTS]))
    assert [m.name for m in members] == ["a/one.dcm", "a/two.dcm"]
    assert [(r.member, r.reason) for r in refused] == [("c/three.dcm", "symbolic link")]


@pytest.mark.parametrize("field", ["packed", "size", "offset"])
def test_a_missing_zip64_field_is_one_refusal(field: str) -> None:
    members, refused = listed(zip_bytes([PARTS[0], Part("b", b"x", central={field: 2**32 - 1})]))
    assert [m.name for m in members] == ["a/one.dcm"]
    assert refused[0].reason == "4 GiB or more without a ZIP64 field that says how much"


def test_absurd_zip64_sizes_are_refusals() -> None:
    lies = [{"size": 2**63}, {"packed": 2**64 - 1}, {"offset": 2**64 - 1}]
    data = zip_bytes([*PARTS, *(Part(f"{i}", b"x", central=lie) for i, lie in enumerate(lies))], wide=True)
    members, refused = listed(data)
    assert len(members) == 2
    assert [r.member for r in refused] == ["0", "1", "2"]


def test_names_that_break_a_line_or_are_no_text_are_shown_with_marks() -> None:
    bad = zip_bytes([Part("../\n\x1b[31mx", b""), Part("\u00e9é.dcm", b"x")])
    members, refused = listed(bad.replace("é.dcm".encode(), b"\xff\xfe.dcm"))
    assert members == []
    assert [r.member for r in refused] == ["../\\n\\x1b[31mx", "\u00e9\\udcff\\udcfe.dcm"]
    assert refused[1].reason == "a name that is not the UTF-8 it claims to be"


def test_an_entry_that_runs_beyond_its_directory() -> None:
    data = bytearray(zip_bytes(PARTS))
    at = data.rindex(b"PK\1\2")
    struct.pack_into("<H", data, at + 30, 60_000)
    assert "runs beyond the directory" in only_reason(bytes(data))


def test_members_that_overlap_are_refused_and_the_others_stay() -> None:
    second = len(zip_bytes(PARTS[:1])) - 22 - 46 - len("a/one.dcm")
    twice = Part("b/again.dcm", PARTS[1].data, method=0, central={"offset": second})
    members, refused = listed(zip_bytes([*PARTS, twice]))
    assert [m.name for m in members] == ["a/one.dcm"]
    assert [(r.member, r.reason) for r in refused] == [
        ("a/two.dcm", "overlaps b/again.dcm"),
        ("b/again.dcm", "overlaps a/two.dcm"),
    ]
    assert [r.names for r in refused] == [("b/again.dcm",), ("a/two.dcm",)]  # which may name a person


def test_a_bomb_of_overlapping_members_is_one_refusal() -> None:
    kernel = Part("0", bytes(5000), method=0)
    copies = [Part(f"{i}", kernel.data, 0, b"", central={"packed": 5000, "offset": 0}) for i in range(1, 50)]
    assert "overlap" in only_reason(zip_bytes([kernel, *copies]))


def test_a_zip_that_would_become_too_much_is_one_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_directory, "MAX_TOTAL", 655)
    assert only_reason(zip_bytes(PARTS)) == "656 bytes inside, want at most 655"


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60)), max_size=8))
def test_overlaps_are_those_that_every_pair_shows(spans: list[tuple[int, int]]) -> None:
    entries = [place(name="", offset=start, compressed=length) for start, length in spans]
    ends = [start + 30 + length for start, length in spans]
    want = {
        id(entries[i])
        for i, (a, _) in enumerate(spans)
        for j, (b, _) in enumerate(spans)
        if i != j and a < ends[j] and b < ends[i]
    }
    assert set(zip_directory._overlaps(entries)) == want
