"""One promise on every store: whole objects, exact ranges, one winner, one clear line when it fails."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
import zipfile
from pathlib import Path

import pytest

from octshard.storage import client, remote, store
from octshard.storage.store import StoreError
from tests.support import faulty_store

AWKWARD = bytes(range(256)) * 3 + b"\r\n--edge--\r\n\n\n\r\r--==0==--\n"


@pytest.fixture(
    params=["memory", "gs", "s3", pytest.param("moto", marks=pytest.mark.s3)],
)
def conditional(request: pytest.FixtureRequest) -> str:
    """A fresh folder on each remote store that checks a put's condition, unlike Cloud Storage's emulator."""
    if request.param in ("gs", "s3"):
        request.getfixturevalue("faulty")
        return f"{request.param}://{faulty_store.BUCKET}/{uuid.uuid4().hex}"
    if request.param == "moto":
        return f"{request.getfixturevalue('s3')}/{uuid.uuid4().hex}"
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.random, "uniform", lambda low, high: 0.0)


def test_what_is_written_is_read(root: str) -> None:
    url = store.join(root, "a", "b.bin")
    store.write(url, b"0123456789")
    assert store.read(url) == b"0123456789"
    assert store.map(url) == b"0123456789"
    assert store.read_range(url, 2, 5) == b"234"
    assert store.read_range(url, 5, 5) == b""
    assert store.size(url) == 10
    assert store.exists(url)
    assert store.exists(store.join(root, "a"))


@pytest.mark.parametrize("data", [b"", b"\n", AWKWARD], ids=["empty", "newline", "awkward"])
def test_bytes_stay_bytes(root: str, data: bytes) -> None:
    name = "name with spaces, ü, #1, <a> & b and %20.bin"
    url = store.join(root, name)
    store.write(url, data)
    assert store.read(url) == store.map(url) == data
    assert store.size(url) == len(data)
    with store.open_write(url) as file:
        file.write(data + data)
    assert store.read(url) == data + data
    assert store.list_names(root) == [name]


def test_a_large_object_goes_up_in_parts(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PART", 5 * 2**20)  # the least that S3 takes
    data = random.Random(0).randbytes(11 * 2**20 + 3)
    url = store.join(root, "large")
    with store.open_write(url) as file:
        file.write(data)
        assert not store.exists(url)
    assert store.read(url) == data
    store.write(url, data[::-1])
    assert store.read(url) == data[::-1]
    assert store.list_names(root) == ["large"]


def test_a_short_object_is_an_error(root: str) -> None:
    url = store.join(root, "b.bin")
    store.write(url, b"0123")
    for start, stop in ((2, 8), (4, 8), (9, 12)):
        with pytest.raises(StoreError, match=f"bytes {start} to {stop} asked for, .* the object is shorter"):
            store.read_range(url, start, stop)


def test_missing_objects_are_file_not_found(root: str) -> None:
    store.write(store.join(root, "present"), b"x")
    url = store.join(root, "absent")
    for act in (store.read, store.map, store.size, store.open_read, store.etag):
        with pytest.raises(FileNotFoundError):
            act(url)
    with pytest.raises(FileNotFoundError):
        store.read_range(url, 0, 4)
    assert not store.exists(url)
    assert store.list_names(url) == []
    store.remove(url)


def test_nothing_appears_before_the_block_ends(root: str) -> None:
    url = store.join(root, "new.bin")
    with store.open_write(url) as file:
        file.write(b"half")
        assert not store.exists(url)
    assert store.read(url) == b"half"
    with pytest.raises(ZeroDivisionError), store.open_write(url) as file:
        file.write(b"other" * (1 // 0))
    assert store.read(url) == b"half"
    assert store.list_names(root) == ["new.bin"]


def test_names_are_direct_children(root: str) -> None:
    for name in ("b", "a", "deep/c", "deeper/d/e"):
        store.write(store.join(root, name), b"x")
    assert store.list_names(root) == ["a", "b", "deep", "deeper"]
    assert store.list_names(store.join(root, "deeper")) == ["d"]
    assert store.list_names(store.join(root, "a")) == []
    store.remove(store.join(root, "a"))
    assert store.list_names(root) == ["b", "deep", "deeper"]


def test_copy_and_etag(root: str) -> None:
    source, copy = store.join(root, "one"), store.join(root, "two")
    store.write(source, b"abc")
    store.copy(source, copy)
    assert store.read(copy) == b"abc"
    before = store.etag(copy)
    assert before == store.etag(copy)
    store.write(copy, b"abcd")
    assert store.etag(copy) != before


def test_an_open_file_reads_like_a_local_one(root: str) -> None:
    data = random.Random(1).randbytes(1000)
    url = store.join(root, "file")
    store.write(url, data)
    rng = random.Random(2)
    with store.open_read(url, block_bytes=64) as file:
        for _ in range(60):
            at, count = rng.randrange(1100), rng.choice((0, 1, 7, 64, 200, 2000))
            assert file.seek(at) == at
            assert file.read(count) == data[at : at + count]
            assert file.tell() == max(at, min(at + count, len(data)))
        assert file.seek(-10, os.SEEK_END) == 990
        assert file.read() == data[990:]
        assert file.read(1) == b""
        file.seek(3)
        assert file.read() == data[3:]
        file.seek(0)
        into = bytearray(130)
        assert file.readinto(into) == 130  # type: ignore[attr-defined]
        assert into == data[:130]
        with pytest.raises(OSError, match=r"Invalid argument|before the beginning"):
            file.seek(-1)
    assert file.closed


def test_a_zip_is_read_by_ranges(root: str) -> None:
    url = store.join(root, "a.zip")
    with store.open_write(url) as file, zipfile.ZipFile(file, "w") as archive:
        for number in range(5):
            archive.writestr(f"m{number}", bytes([number]) * 500)
    with store.open_read(url, block_bytes=128) as file, zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.read("m3") == b"\3" * 500


def test_a_remote_file_is_asked_for_in_blocks(faulty: faulty_store.FaultyStore) -> None:
    data = random.Random(3).randbytes(20_000)
    faulty.put("file", data)
    with store.open_read("gs://faulty/file", block_bytes=400) as file:
        assert file.read(10) + file.read(20) == data[:30]
        file.seek(300)
        assert file.read(90) == data[300:390]
        ranges = [request.headers["Range"] for request in faulty.asked if request.headers["Range"]]
        assert ranges == ["bytes=0-399"]
        assert file.read() == data[390:]
    ranges = [request.headers["Range"] for request in faulty.asked if request.headers["Range"]]
    assert ranges == ["bytes=0-399", "bytes=400-19999"]


def test_an_object_that_changes_under_a_reader_is_an_error(conditional: str) -> None:
    url = store.join(conditional, "file")
    store.write(url, b"a" * 100)
    with store.open_read(url, block_bytes=10) as file:
        assert file.read(10) == b"a" * 10
        store.write(url, b"b" * 100)
        with pytest.raises(StoreError, match="the object changed while it was read"):
            file.read(10)
        store.remove(url)
        with pytest.raises(StoreError, match="the object changed while it was read"):
            file.read(10)


def test_an_object_that_shrinks_under_a_reader_is_an_error(root: str) -> None:
    """Cloud Storage's emulator tells no generation; the size is seen there too."""
    if not store.is_remote(root):
        pytest.skip("a local file stays what was opened, for a write puts another in its place")
    url = store.join(root, "file")
    store.write(url, b"a" * 100)
    with store.open_read(url, block_bytes=10) as file:
        store.write(url, b"b" * 50)
        with pytest.raises(StoreError, match="the object changed while it was read"):
            file.read(10)


def test_an_object_is_created_once(conditional: str) -> None:
    url = store.join(conditional, "new")
    assert store.put_if_version(url, b"first", "") is not None
    assert store.put_if_version(url, b"second", "") is None
    assert store.put_if_version(url, b"first", "") is None
    assert store.read(url) == b"first"
    assert store.list_names(conditional) == ["new"]


@pytest.mark.parametrize("scheme", ["memory", "gs", "s3"])
def test_of_many_new_writers_one_wins(scheme: str, faulty: faulty_store.FaultyStore) -> None:
    start = f"memory://{uuid.uuid4().hex}" if scheme == "memory" else f"{scheme}://faulty"
    urls = [store.join(start, f"new{number}") for number in range(5)]
    together, won = threading.Barrier(4), []

    def race(me: bytes) -> None:
        for url in urls:
            together.wait(30)
            if store.put_if_version(url, me, "") is not None:
                won.append((url, me))

    racers = [threading.Thread(target=race, args=(bytes([65 + number]),)) for number in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(url for url, _ in won) == urls
    assert all(store.read(url) == me for url, me in won)


def test_a_version_is_replaced_once(conditional: str) -> None:
    url = store.join(conditional, "lease")
    first = store.put_if_version(url, b"1", "")
    assert first
    assert store.read_version(url) == (b"1", first)
    second = store.put_if_version(url, b"22", first)
    assert second not in (first, None)
    assert store.put_if_version(url, b"333", first) is None
    assert store.put_if_version(url, b"333", "") is None
    assert store.read_version(url) == (b"22", second)
    store.remove(url)
    assert store.put_if_version(url, b"333", second or "") is None
    assert not store.exists(url)


def test_a_put_over_a_version_says_so(faulty: faulty_store.FaultyStore) -> None:
    """The emulator of Cloud Storage does not look at the condition: here is that it is asked for."""
    store.put_if_version("gs://faulty/one", b"1", "")
    assert faulty.asked[-1].query["ifGenerationMatch"] == "0"
    store.put_if_version("gs://faulty/one", b"2", "1")
    assert faulty.asked[-1].query["ifGenerationMatch"] == "1"
    store.write("gs://faulty/one", b"3")
    assert "ifGenerationMatch" not in faulty.asked[-1].query
    store.put_if_version("s3://faulty/two", b"1", "")
    assert faulty.asked[-1].headers["If-None-Match"] == "*"
    version = store.etag("s3://faulty/two")
    store.put_if_version("s3://faulty/two", b"2", version)
    assert faulty.asked[-1].headers["If-Match"] == version


@pytest.mark.usefixtures("no_wait")
@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_lost_reply_does_not_deny_our_own_object(scheme: str, faulty: faulty_store.FaultyStore) -> None:
    faulty.fail(faulty_store.LOST, when="POST|PUT")
    assert store.put_if_version(f"{scheme}://faulty/new", b"mine", "") is not None
    faulty.fail(503, when="POST|PUT")
    assert store.put_if_version(f"{scheme}://faulty/new", b"theirs", "") is None
    assert faulty.objects["new"][0] == b"mine"


def test_a_mapped_file_is_not_copied(tmp_path: Path) -> None:
    url = str(tmp_path / "a")
    store.write(url, b"0123")
    view = store.map(url)
    assert view.readonly
    with open(url, "r+b") as file:
        file.write(b"x")
    assert bytes(view) == b"x123"


WRITER = """import sys; from octshard.storage import client, store
client.PART = 2**18
with store.open_write(sys.argv[1]) as file: file.write(b'x' * 2**19); print('half', flush=True)"""


@pytest.mark.parametrize("place", ["local", "gs", "s3"])
def test_a_killed_writer_leaves_no_object(
    place: str, tmp_path: Path, faulty: faulty_store.FaultyStore
) -> None:
    folder = tmp_path / "target"
    spools = tmp_path / "spools"
    spools.mkdir()
    url = str(folder / "a") if place == "local" else f"{place}://faulty/a"
    code = WRITER if place != "local" else WRITER + "; sys.stdin.read()"
    faulty.fail(faulty_store.STALL, when="PUT")  # the first part, and the writer hangs in its upload
    env = {**os.environ, "TMPDIR": str(spools)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    writer = subprocess.Popen([sys.executable, "-c", code, url], env=env, **pipes)  # type: ignore[call-overload]
    assert writer.stdout.readline() == b"half\n"
    assert place == "local" or faulty.stalled.wait(60)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert not store.exists(url)
    assert store.list_names(store.join(url, "..") if place == "local" else f"{place}://faulty") == []
    assert list(spools.iterdir()) == []
    assert place != "local" or store.remove_partials(str(folder)) == 1


def test_a_full_spool_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"memory://{uuid.uuid4().hex}/a"
    with (
        pytest.raises(StoreError, match=f"{tempfile.gettempdir()}.* is full; free some space or set TMPDIR"),
        store.open_write(url),
    ):
        raise OSError(28, "No space left on device")
    assert not store.exists(url)


def test_an_unknown_scheme_is_one_clear_line() -> None:
    with pytest.raises(StoreError, match="want a local path, gs://, s3:// or memory://"):
        store.read("nowhere://x")


def test_two_names_for_one_store() -> None:
    assert store.is_remote("gs://a/b")
    assert not store.is_remote("file:///a/b")
    assert store.join("gs://a/", "/b/", "c") == "gs://a/b/c"
