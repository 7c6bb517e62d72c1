"""zips: whatever stands in a ZIP, a member comes out as it went in, in bounded memory, or is Damaged."""

import io
import pickle
import random
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octshard.errors import UsageError
from octshard.prep.refusals import Refused
from octshard.prep.release import zip_directory, zip_source
from octshard.prep.release.aireadi import read_release
from octshard.prep.release.zip_directory import DamagedZip, RefusedMember, ZipEntry
from octshard.prep.release.zip_source import ZipSource
from octshard.rng import rng_for
from octshard.storage import store
from tests.support import memory_source
from tests.support.made_release import Part, changed, sound, unpacked, zip_bytes, zipped

FILES = [sound(1), sound(2, "4001"), changed(3, lambda data: None, "7001")]  # the third is not shipped
SPLITS = {"1001": "train", "4001": "val", "7001": "test"}
NOISE = rng_for("zips", 1).integers(0, 64, 3_000_000, dtype=np.uint8).tobytes()  # deflates to some 3/4
STREAMED = {
    "flags": 8,
    "crc32": 0,
    "packed": 0,
    "size": 0,
}  # a local header that leaves them to the directory
LONG = {"packed": 4, "size": 4}


@pytest.fixture
def put() -> Iterator[Callable[[bytes], list[ZipEntry]]]:
    """Puts a ZIP into a store, gives its members."""
    urls = []

    def put_(data: bytes) -> list[ZipEntry]:
        urls.append(f"memory://{uuid.uuid4().hex}/x.zip")
        store.write(urls[-1], data)
        return zip_directory.read(urls[-1])[0]

    yield put_
    for url in urls:
        store.remove(url)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Every range that is read from a store."""
    found: list[tuple[int, int]] = []
    honest = store.read_range

    def read_range(url: str, start: int, stop: int) -> bytes:
        found.append((start, stop))
        return honest(url, start, stop)

    monkeypatch.setattr(store, "read_range", read_range)
    return found


Put = Callable[[bytes], list[ZipEntry]]


def reason(entry: ZipEntry) -> str:
    """Why a member is damaged, read whole and read in small pieces."""
    found = []
    for block in (zip_source.READ, 1000):
        with pytest.raises(DamagedZip) as caught:
            for _ in zip_source.chunks(entry, block):
                pass
        found.append(str(caught.value.args[2]))
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"{entry.zip}:{entry.name}: ")
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("data", [b"", b"x", bytes(2**20), NOISE[:100_000], NOISE])
def test_a_member_comes_out_as_it_went_in(put: Put, method: int, wide: bool, data: bytes) -> None:
    entries = put(
        zip_bytes([Part("ü", b"first"), Part("a/b.dcm", data, method), Part("c", b"last")], wide=wide)
    )
    assert [zip_source.read(entry) for entry in entries] == [b"first", data, b"last"]
    for block in (4096, 99_999, 2**20):
        pieces = list(zip_source.chunks(entries[1], block))
        assert b"".join(pieces) == data
        assert max(map(len, pieces), default=0) <= max(block, zip_source.PIECE)


@given(st.binary(max_size=300), st.sampled_from([0, 8]), st.integers(1, 200), st.binary(max_size=100))
def test_requests_of_any_size_give_the_same_bytes(data: bytes, method: int, block: int, extra: bytes) -> None:
    url = "memory://zips-any.zip"
    store.write(url, zip_bytes([Part("name", data, method, extra=extra)]))
    assert b"".join(zip_source.chunks(zip_directory.read(url)[0][0], block)) == data


def test_a_zip_that_was_streamed_has_its_sizes_behind_the_data(put: Put) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", NOISE[:5000])
        archive.writestr("b", b"second")
    assert pipe.data[6] & 8  # the flag that says so
    assert [zip_source.read(entry) for entry in put(pipe.data)] == [NOISE[:5000], b"second"]


def test_one_member_is_one_request(put: Put, asked: list[tuple[int, int]]) -> None:
    entries = put(zip_bytes([Part(f"{i}", NOISE[: 100_000 * i], extra=bytes(40)) for i in range(1, 6)]))
    asked.clear()
    for entry in entries:
        zip_source.read(entry)
    assert len(asked) == len(entries)
    slack = sum(stop - start for start, stop in asked) - sum(entry.compressed for entry in entries)
    assert slack <= len(entries) * (30 + 1 + zip_source.EXTRA)


def test_a_member_altered_on_its_way_is_read_again(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = put(zip_bytes([Part("a", NOISE[:5000])]))
    honest, sent = store.read_range, []

    def altered_once(url: str, start: int, stop: int) -> bytes:
        sent.append(start)
        data = honest(url, start, stop)
        return data if len(sent) > 1 else data[:-700] + bytes([data[-700] ^ 1]) + data[-699:]

    monkeypatch.setattr(store, "read_range", altered_once)
    assert zip_source.read(entry) == NOISE[:5000]
    assert len(sent) == 2


def test_requests_stay_within_their_block_and_the_member(put: Put, asked: list[tuple[int, int]]) -> None:
    entry = put(zip_bytes([Part("a", NOISE), Part("b", NOISE)]))[0]
    asked.clear()
    for _ in zip_source.chunks(entry, 100_000):
        pass
    assert {stop - start for start, stop in asked[:-1]} == {100_000}
    assert asked[-1][1] == 30 + len("a") + entry.compressed
    assert [start for start, _ in asked[1:]] == [stop for _, stop in asked[:-1]]


def test_extra_fields_that_outgrow_the_first_request_cost_a_second(
    put: Put, asked: list[tuple[int, int]]
) -> None:
    entry = put(zip_bytes([Part("a", b"x" * 50, method=0, extra=bytes(60_000)), Part("b", NOISE)]))[0]
    asked.clear()
    assert zip_source.read(entry) == b"x" * 50
    assert len(asked) == 2
    assert sum(stop - start for start, stop in asked) < 1000


@pytest.mark.parametrize("method", [0, 8])
def test_little_is_held_at_once(put: Put, monkeypatch: pytest.MonkeyPatch, method: int) -> None:
    """What came from the store is let go before more is asked for."""
    live = most = 0

    class Counted(bytes):
        def __del__(self) -> None:
            nonlocal live
            live -= len(self)

    def read_range(url: str, start: int, stop: int) -> bytes:
        nonlocal live, most
        piece = Counted(honest(url, start, stop))
        live += len(piece)
        most = max(most, live)
        return piece

    honest = store.read_range
    entry = put(zip_bytes([Part("a", NOISE, method)]))[0]
    monkeypatch.setattr(store, "read_range", read_range)
    for piece in zip_source.chunks(entry, 100_000):
        del piece
    assert (live, most) == (0, 100_000)


@pytest.mark.parametrize(
    ("part", "word"),
    [
        (Part("a", b"x" * 99, local=STREAMED, central={"size": 98}), "becomes more than the 98 bytes"),
        (Part("a", b"x" * 99, local=STREAMED, central={"size": 100}), "becomes 99 bytes, the directory says"),
        (Part("a", b"x" * 99, local=STREAMED, central={"crc32": 7}), "CRC-32"),
        (Part("a", b"x" * 99, central={"size": 98}), "local header says"),
        (Part("a", b"x" * 99, local={"size": 98}), "local header says"),
        (Part("a", b"x" * 99, local={"packed": 5}), "local header says"),
        (Part("a", b"x" * 99, local={"crc32": 5}), "local header says"),
        (Part("a", b"x" * 99, local={"method": 0}), "local header says method 0"),
        (Part("a", b"x" * 99, local={"flags": 1}), "flags 0x1"),
        (Part("a", b"x" * 99, extra=bytes(9), central={"offset": 3}), "no local header at byte 3"),
        (Part("a", b"x", 0, extra=bytes(9), local=STREAMED, central=LONG), "behind its ZIP's"),
        (Part("a", b"x" * 99, packed=b"\x07rubbish"), "not deflated data"),
        (Part("a", b"x" * 99, packed=Part("", b"x" * 99).body()[:-1]), "cut off"),
        (Part("a", b"x" * 99, packed=b""), "cut off"),
        (Part("a", b"x" * 99, packed=Part("", b"x" * 99).body() + b"!"), "ends too early"),
        (Part("a", b"x" * 99, packed=Part("", b"x" * 99).body() + bytes(70_000)), "ends too early"),
    ],
)
def test_a_member_that_lies_is_damaged(put: Put, part: Part, word: str) -> None:
    assert word in reason(put(zip_bytes([part]))[0])


def test_two_members_whose_entries_were_swapped_are_damaged(put: Put) -> None:
    second = len(zip_bytes([Part("a", b"x")])) - 22 - 46 - 1
    parts = [
        Part("a", b"x", central={"offset": second}),
        Part("b", b"x", central={"offset": 0}),
        Part("c", b"x"),
    ]
    a, b, c = put(zip_bytes(parts))
    assert reason(a) == "its local header is of b"
    assert reason(b) == "its local header is of a"
    assert zip_source.read(c) == b"x"
    source = ZipSource({"z/a": a}, {}, [], {})
    with pytest.raises(Refused, match="its local header is of b") as refused:
        source.read(memory_source.entry("z/a"))
    assert refused.value.public == "...: its local header is of ..."


def test_the_name_of_the_member_that_another_overlaps_is_private() -> None:
    bad = RefusedMember("memory://r/e.zip", "40817201", "overlaps 40817202", ("40817202",))
    with pytest.raises(Refused, match=r"e.zip:40817201: overlaps 40817202") as refused:
        ZipSource({}, {"e.zip/40817201": bad}, [], {}).read(memory_source.entry("e.zip/40817201"))
    assert refused.value.public == "...: overlaps ..."


def test_a_bomb_that_lies_about_its_size_stops_at_once(put: Put, asked: list[tuple[int, int]]) -> None:
    """10 MB of zeros that claim to be 100 bytes: not even the second piece is made."""
    engine = zlib.compressobj(9, wbits=-15)
    packed = engine.compress(bytes(10_000_000)) + engine.flush()
    entry = put(zip_bytes([Part("a", bytes(100), packed=packed)]))[0]
    pieces = zip_source.chunks(entry, 2**20)
    with pytest.raises(DamagedZip, match="more than the 100 bytes"):
        next(pieces)


def test_damage_travels_between_processes() -> None:
    damage = DamagedZip("x.zip", "a\nb", "why")
    assert str(pickle.loads(pickle.dumps(damage))) == str(damage) == "x.zip:a\\nb: why"


@pytest.mark.parametrize("seed", range(5))
def test_whatever_bytes_flip_a_member_is_right_or_refused(seed: int) -> None:
    """100 mutants: up to three bytes changed, or a stretch moved, cut out or doubled."""
    parts = [Part("a/1", NOISE[:300]), Part("b/2", NOISE[:90], 0), Part("c/3", bytes(4000)), Part("d/4", b"")]
    whole = [zip_bytes(parts), zip_bytes(parts, wide=True)]
    truth = {part.name: part.data for part in parts}
    rng = random.Random(seed)
    came = 0
    for i in range(100):
        data = bytearray(whole[i % 2])
        if i % 5 < 3:
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        else:
            start, stop = sorted(rng.choices(range(len(data)), k=2))
            data[start:stop] = data[start:stop] * 2 if i % 5 == 3 else b""
        url = "memory://zips-fuzz.zip"
        store.write(url, bytes(data))
        for entry in zip_directory.read(url)[0]:
            try:
                got = zip_source.read(entry)
            except DamagedZip:
                continue
            assert zlib.crc32(got) == entry.crc32
            assert len(got) == entry.size
            assert got == truth.get(entry.name, got)
            came += 1
    assert came > 100  # of 400: the mutants are not all beyond saving


# A release in its ZIPs -----------------------------------------------------------------------------------


def test_a_release_reads_from_its_zips_as_it_reads_unpacked(tmp_path: Path) -> None:
    root = zipped(tmp_path / "zipped", FILES, SPLITS)
    bare = unpacked(tmp_path / "bare", FILES, SPLITS)
    release = read_release(str(root))
    found, refused, unlisted = zip_source.open_release(release)
    found = pickle.loads(pickle.dumps(found))
    assert (refused, unlisted) == ([], [])
    first, second, missing = release.entries
    for entry in (first, second):
        assert found.has(entry.path)
        assert found.read(entry) == (bare / entry.path).read_bytes()
        assert found.fingerprint(entry.path).size == (bare / entry.path).stat().st_size
    assert not found.has(missing.path)
    with pytest.raises(FileNotFoundError, match="is in no ZIP"):
        found.read(missing)


def test_a_damaged_member_of_a_release_says_so(tmp_path: Path) -> None:
    root = zipped(tmp_path, FILES, SPLITS)
    path = root / "topcon_triton" / "topcon_triton.zip"
    data = bytearray(path.read_bytes())
    data[300] ^= 0x55
    path.write_bytes(bytes(data))
    release = read_release(str(root))
    found, refused, _ = zip_source.open_release(release)
    assert refused == []
    with pytest.raises(Refused, match=r"^unreadable_member: topcon_triton.zip:1001/.*dcm: "):
        found.read(release.entries[0])
    assert found.read(release.entries[1]) == FILES[1].data


def test_a_row_whose_only_member_is_refused_says_why(tmp_path: Path) -> None:
    """The first file's member is locked in one ZIP and sound in another, the second's only locked."""
    root = zipped(tmp_path, FILES[:1], SPLITS)
    names = ["/".join(file.path.split("/")[-2:]) for file in FILES]
    locked = [Part(name, b"x", central={"flags": 1}) for name in names[:2]]
    (root / "topcon_triton" / "b.zip").write_bytes(zip_bytes(locked))
    release = read_release(str(zipped(tmp_path / "all", FILES, SPLITS)))
    found, refused, _ = zip_source.open_release(replace(release, root=str(root)))
    assert [r.reason for r in refused] == ["encrypted", "encrypted"]
    first, second, missing = release.entries
    assert found.read(first) == FILES[0].data
    with pytest.raises(Refused, match=r"^unreadable_member: b.zip:4001/.*: encrypted$"):
        found.read(second)
    with pytest.raises(FileNotFoundError, match="is in no ZIP"):
        found.read(missing)


def test_a_zip_within_a_zip_is_an_unlisted_member(tmp_path: Path) -> None:
    root = zipped(tmp_path, FILES[:1], SPLITS)
    inner = (root / "topcon_triton" / "topcon_triton.zip").read_bytes()
    with zipfile.ZipFile(root / "topcon_triton" / "outer.zip", "w") as archive:
        archive.writestr("topcon_triton/topcon_triton.zip", inner)
    source, refused, unlisted = zip_source.open_release(read_release(str(root)))
    assert (len(source.entries), refused) == (1, [])
    assert [name.rsplit(":", 1)[1] for name in unlisted] == ["topcon_triton/topcon_triton.zip"]


def test_names_with_backslashes_match_too(tmp_path: Path) -> None:
    root = zipped(tmp_path, FILES[:1], SPLITS)
    name = "\\".join(FILES[0].path.split("/")[-2:])
    data = zip_bytes([Part("1001\\", b""), Part(name, FILES[0].data or b"")])
    (root / "topcon_triton" / "topcon_triton.zip").write_bytes(data)
    release = read_release(str(root))
    found, refused, unlisted = zip_source.open_release(release)
    assert (refused, unlisted) == ([], [])
    assert found.read(release.entries[0]) == FILES[0].data


def test_names_that_two_rows_could_want_are_decided_by_their_folders(tmp_path: Path) -> None:
    """Two persons, one file name: the person's folder decides; without it nobody can tell."""
    root = zipped(tmp_path, FILES[:1], SPLITS)
    paths = [f"retinal_oct/structural_oct/topcon_triton/{person}/same.dcm" for person in ("1001", "4001")]
    rows = "".join(f"{path.split('/')[3]}\t/{path}\n" for path in paths)
    (root / "manifest.tsv").write_text("participant_id\tfilepath\n" + rows)
    data = zip_bytes([Part("4001/same.dcm", b"four"), Part("1001/same.dcm", b"one"), Part("same.dcm", b"?")])
    (root / "topcon_triton" / "topcon_triton.zip").write_bytes(data)
    source, _, unlisted = zip_source.open_release(read_release(str(root)))
    assert {path: zip_source.read(entry) for path, entry in source.entries.items()} == {
        paths[0]: b"one",
        paths[1]: b"four",
    }
    assert [name.rsplit(":", 1)[1] for name in unlisted] == ["same.dcm"]


def test_a_release_without_zips_is_asked_for_wrongly(tmp_path: Path) -> None:
    root = unpacked(tmp_path, FILES, SPLITS)
    with pytest.raises(UsageError, match="no ZIP in"):
        zip_source.open_release(read_release(str(root)))


def test_a_release_reads_from_cloud_storage(tmp_path: Path, cloud: str) -> None:
    root = zipped(tmp_path, FILES, SPLITS)
    for name in ("manifest.tsv", "participants.tsv", "topcon_triton/topcon_triton.zip"):
        store.copy(str(root / name), f"{cloud}/{name}")
    release = read_release(cloud)
    found, _, _ = zip_source.open_release(release)
    assert [found.read(entry) for entry in release.entries[:2]] == [file.data for file in FILES[:2]]


@pytest.mark.realdata
def test_real_zips_say_what_zipfile_says(realdata: Path) -> None:
    release = read_release(str(realdata))
    source, refused, unlisted = zip_source.open_release(release)
    assert (len(source.entries), refused, unlisted) == (12, [], [])
    for entry in source.entries.values():
        with zipfile.ZipFile(entry.zip) as opened:
            assert zip_source.read(entry) == opened.read(entry.name)
