"""A fault, once or twice, ends in the same bytes; for ever, in one line; a refusal is one line at once."""

import random
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from octshard.errors import UsageError
from octshard.storage import client, gcs, remote, store, transport
from octshard.storage.store import StoreError
from tests.support.faulty_store import FLIP, HALF, LOST, RESET, SHORT, SLOW, STALL, FaultyStore

DATA = random.Random(0).randbytes(5000)
READS = [429, 500, 503, RESET, STALL, SHORT]
WRITES = [429, 500, 503, RESET, STALL, LOST]
SCHEMES = pytest.mark.parametrize("scheme", ["gs", "s3"])

pytestmark = pytest.mark.usefixtures("no_wait")


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.random, "uniform", lambda low, high: 0.0)


@SCHEMES
@pytest.mark.parametrize("fault", READS)
def test_reads_outlive_faults(scheme: str, fault: str | int, faulty: FaultyStore) -> None:
    faulty.put("a", DATA)
    url = f"{scheme}://faulty/a"
    faulty.fail(fault)
    assert store.read(url) == DATA
    assert len(faulty.asked) == 2
    faulty.fail(fault, fault)
    assert store.read_range(url, 10, 4000) == DATA[10:4000]
    assert len(faulty.asked) == 5
    assert not faulty.faults


@SCHEMES
def test_an_open_file_outlives_faults(scheme: str, faulty: FaultyStore) -> None:
    faulty.put("a", DATA)
    with store.open_read(f"{scheme}://faulty/a", block_bytes=1000) as file:
        faulty.fail(503, RESET, SHORT, 429)
        assert file.read(1000) == DATA[:1000]
        faulty.fail(SHORT, STALL)
        assert file.read() == DATA[1000:]
    assert not faulty.faults


@SCHEMES
@pytest.mark.parametrize("fault", WRITES)
def test_writes_outlive_faults(scheme: str, fault: str | int, faulty: FaultyStore) -> None:
    faulty.fail(fault, fault)
    store.write(f"{scheme}://faulty/a", DATA)
    assert faulty.objects["a"][0] == DATA
    assert len(faulty.asked) == 3
    with store.open_write(f"{scheme}://faulty/b") as file:
        file.write(DATA)
        faulty.fail(fault)
    assert faulty.objects["b"][0] == DATA
    assert len(faulty.asked) == 5


@SCHEMES
@pytest.mark.parametrize("fault", WRITES)
def test_a_failed_part_is_sent_again_and_no_other(
    scheme: str, fault: str | int, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PART", 2**18)
    data = random.Random(1).randbytes(3 * 2**18 + 5)
    faulty.fail(fault, fault, when="PUT")
    store.write(f"{scheme}://faulty/a", data)
    assert faulty.objects["a"][0] == data
    assert faulty.count("PUT") == 4 + 2
    faulty.fail(fault, when="POST")  # the beginning, and for S3 the end too
    store.write(f"{scheme}://faulty/b", data)
    assert faulty.objects["b"][0] == data


def test_a_part_kept_by_half_goes_on_from_there(faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PART", 2**19)
    data = random.Random(2).randbytes(2**20)
    faulty.fail(HALF, when="PUT")
    store.write("gs://faulty/a", data)
    assert faulty.objects["a"][0] == data
    spans = [request.headers["Content-Range"] for request in faulty.asked if request.method == "PUT"]
    assert spans == [
        "bytes 0-524287/1048576",
        "bytes 262144-786431/1048576",
        "bytes 786432-1048575/1048576",
    ]


def test_parts_that_are_never_kept_are_given_up(faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PART", 2**18)
    faulty.fail(*[HALF] * 100, when="PUT")
    with pytest.raises(
        StoreError, match="gave up after 6 attempts: bytes from 0 on were sent, 0 stand there"
    ):
        store.write("gs://faulty/a", bytes(2**19))
    assert faulty.objects == {}


def test_the_last_reply_of_an_upload_may_be_lost(
    faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PART", 2**18)
    data = random.Random(3).randbytes(2**18 + 1)
    faulty.fail(LOST, when="POST .*uploadId=")
    store.write("s3://faulty/a", data)
    assert faulty.objects["a"][0] == data
    faulty.fail(LOST, when="PUT")
    store.write("gs://faulty/b", data)
    assert faulty.objects["b"][0] == data
    assert not faulty.faults


@SCHEMES
def test_an_upload_that_fails_is_taken_back(
    scheme: str, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PART", 2**18)
    faulty.fail(*[503] * remote.ATTEMPTS, when="PUT")
    with pytest.raises(StoreError, match="gave up after 6 attempts"):
        store.write(f"{scheme}://faulty/a", bytes(2**18 + 1))
    assert faulty.objects == {}
    assert faulty.sessions == {}
    assert faulty.count("DELETE") == 1


@SCHEMES
@pytest.mark.parametrize("fault", [429, 503, RESET, SHORT])
def test_faults_without_end_are_one_line(scheme: str, fault: str | int, faulty: FaultyStore) -> None:
    faulty.put("a", DATA)
    faulty.fail(*[fault] * 100)
    with pytest.raises(StoreError) as caught:
        store.read(f"{scheme}://faulty/a")
    assert str(caught.value).startswith(f"{scheme}://faulty/a: gave up after 6 attempts: ")
    assert "\n" not in str(caught.value)
    # aiohttp itself asks a second time, at once, where a connection breaks: of a short reply, where its end
    # is seen before its beginning is looked at
    times = {RESET: (12,), SHORT: range(6, 13)}
    assert len(faulty.asked) in times.get(fault, (6,))


OPERATIONS: list[tuple[str, Callable[[str], object]]] = [
    ("size", store.size),
    ("etag", store.etag),
    ("exists", store.exists),
    ("list", lambda url: store.list_names(url.rsplit("/", 1)[0])),
    ("remove", store.remove),
    ("open", lambda url: store.open_read(url).close()),
]


@SCHEMES
@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_everything_else_outlives_faults(
    scheme: str, name: str, operation: Callable[[str], object], faulty: FaultyStore
) -> None:
    faulty.put("folder/a", DATA)
    url = f"{scheme}://faulty/folder/a"
    expected = operation(url)
    faulty.put("folder/a", DATA)
    expected = expected if name != "etag" else store.etag(url)
    faulty.fail(503, RESET, 429)
    assert operation(url) == expected
    assert not faulty.faults
    assert name != "remove" or faulty.objects == {}


@SCHEMES
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("operation", [store.read, store.list_names, lambda url: store.write(url, b"x")])
def test_a_refusal_is_one_line_and_final(
    scheme: str, status: int, operation: Callable[[str], object], faulty: FaultyStore
) -> None:
    faulty.put("a", DATA)
    faulty.fail(*[status] * 100)
    with pytest.raises(StoreError) as caught:
        operation(f"{scheme}://faulty/a")
    line = str(caught.value)
    assert line.startswith(f"{scheme}://faulty/a: {scheme}://faulty does not let ")
    assert {"gs": "anonymous", "s3": "access key AKIATESTKEY"}[scheme] in line
    assert {"gs": "gcloud auth application-default login", "s3": "AWS_PROFILE"}[scheme] in line
    assert "\n" not in line
    assert "attempts" not in line
    assert len(faulty.asked) == 1


class Account:
    """Credentials of a service account, as google-auth has them."""

    valid, expiry = True, None
    service_account_email = "prep@lab.iam.gserviceaccount.com"

    def apply(self, headers: dict[str, str]) -> None:
        headers["Authorization"] = "Bearer token"


def test_a_refusal_names_the_service_account(faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.client_for("gs://faulty").fs.credentials, "credentials", Account())
    faulty.fail(403)
    with pytest.raises(StoreError, match=r"does not let prep@lab\.iam\.gserviceaccount\.com do this"):
        store.write("gs://faulty/a", b"x")
    assert faulty.asked[0].headers["Authorization"] == "Bearer token"


def test_no_account_at_all_is_one_line(faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv(
        "AWS_ENDPOINT_URL", faulty.url + "/"
    )  # another client, as there is one for each endpoint
    with pytest.raises(StoreError, match=r"s3://faulty does not let anonymous .* do this .*credentials"):
        store.read("s3://faulty/a")
    assert faulty.asked == []


@SCHEMES
@pytest.mark.parametrize(
    "operation",
    [store.read, store.size, store.open_read, store.list_names, lambda url: store.write(url, b"x")],
)
def test_a_missing_bucket_is_one_line(
    scheme: str, operation: Callable[[str], object], faulty: FaultyStore
) -> None:
    expected = re.escape(f"{scheme}://nowhere/a: no bucket nowhere, want one that exists")
    with pytest.raises(StoreError, match=f"^{expected}[^\n]*$"):
        operation(f"{scheme}://nowhere/a")
    assert len(faulty.asked) <= 4


@SCHEMES
def test_a_bucket_is_asked_for_once(
    scheme: str, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_known_buckets", set())
    for name in ("a", "b", "c"):
        with pytest.raises(FileNotFoundError, match=f"{scheme}://faulty/{name}"):
            store.read(f"{scheme}://faulty/{name}")
    assert len(faulty.asked) == 4


@SCHEMES
def test_a_bucket_that_may_not_be_listed_stands(
    scheme: str, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_known_buckets", set())
    faulty.fail(403, when=r"GET /storage/v1/b/faulty/o\?|GET /faulty\?")
    with pytest.raises(FileNotFoundError):
        store.read(f"{scheme}://faulty/absent")
    assert not faulty.faults


@pytest.mark.gcs
def test_the_emulator_knows_no_other_bucket(gcs: str) -> None:
    with pytest.raises(StoreError, match="no bucket another, want one that exists"):
        store.write("gs://another/a", b"x")
    with pytest.raises(StoreError, match="no bucket another, want one that exists"):
        store.read("gs://another/a")
    assert not store.exists(f"{gcs}/absent")


@pytest.mark.s3
def test_moto_knows_no_other_bucket(s3: str) -> None:
    with pytest.raises(StoreError, match="no bucket another, want one that exists"):
        store.write("s3://another/a", b"x")
    with pytest.raises(StoreError, match="no bucket another, want one that exists"):
        store.read("s3://another/a")
    assert not store.exists(f"{s3}/absent")


@SCHEMES
def test_waits_grow_and_are_drawn(scheme: str, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody but us tries again, not after a stall either."""
    drawn = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return 0.0

    monkeypatch.setattr(remote.random, "uniform", draw)
    faulty.fail(STALL, *[503] * 5)
    with pytest.raises(StoreError):
        store.read(f"{scheme}://faulty/a")
    assert drawn == [(0, 0.5), (0, 1.0), (0, 2.0), (0, 4.0), (0, 8.0)]
    assert len(faulty.asked) == 6


@SCHEMES
def test_bytes_altered_on_their_way_are_read_again(scheme: str, faulty: FaultyStore) -> None:
    faulty.put("a", DATA)
    faulty.fail(FLIP, FLIP, when="GET")
    assert store.read(f"{scheme}://faulty/a") == DATA
    assert not faulty.faults
    faulty.fail(FLIP, when="GET")  # also where a ranged read brings the whole
    assert store.read_range(f"{scheme}://faulty/a", 0, len(DATA)) == DATA


@SCHEMES
def test_bytes_that_are_always_altered_are_one_line(scheme: str, faulty: FaultyStore) -> None:
    faulty.put("a", DATA)
    faulty.fail(*[FLIP] * 100, when="GET")
    name = {"gs": "crc32c", "s3": "md5"}[scheme]
    with pytest.raises(
        StoreError, match=f"{name} .*, want .*: altered on the way, or in the store"
    ) as caught:
        store.read(f"{scheme}://faulty/a")
    assert "\n" not in str(caught.value)


def test_a_large_object_is_compared_as_a_whole(faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PART", 1000)
    faulty.put("a", DATA)
    for scheme in ("gs", "s3"):
        faulty.asked.clear()
        assert store.read(f"{scheme}://faulty/a") == DATA
        assert len(faulty.asked) == 5
        faulty.fail(FLIP, when="GET")
        assert store.read(f"{scheme}://faulty/a") == DATA
        assert len(faulty.asked) == 15
        faulty.fail(*[FLIP] * 100, when="GET")
        with pytest.raises(StoreError, match="altered on the way, or in the store"):
            store.read(f"{scheme}://faulty/a")
        faulty.fail()


@SCHEMES
def test_a_copy_is_compared_as_a_whole(scheme: str, faulty: FaultyStore, tmp_path: Path) -> None:
    faulty.put("a", DATA)
    with store.open_read(f"{scheme}://faulty/a", block_bytes=1000) as file:
        faulty.fail(FLIP, when="GET")
        with pytest.raises(StoreError, match="altered on the way, or in the store"):
            list(iter(lambda: file.read(1000), b""))
    faulty.fail()
    store.copy(f"{scheme}://faulty/a", str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == DATA


def test_bytes_altered_on_their_way_to_cloud_storage_are_sent_again(
    faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, sent = gcs.checksum.crc32c, []

    def altered_once(data: bytes, before: int = 0) -> int:
        sent.append(data)
        return right(data, before) ^ (len(sent) == 1)

    monkeypatch.setattr(gcs.checksum, "crc32c", altered_once)
    store.write("gs://faulty/a", DATA)
    assert faulty.objects["a"][0] == DATA
    assert len(faulty.asked) == 2


def test_an_empty_object_without_a_size(faulty: FaultyStore, tmp_path: Path) -> None:
    """JSON made of a protocol buffer, as by Google's storage-testbench, leaves out a size of 0."""
    url = "gs://faulty/folder/empty"
    store.write(url, b"")
    assert store.size(url) == 0
    assert store.etag(url)
    assert store.read(url) == store.map(url) == b""
    assert store.read_version(url)[0] == b""
    assert store.exists(url)
    assert store.list_names("gs://faulty/folder") == ["empty"]
    with store.open_read(url) as file:
        assert file.read() == b""
    store.copy(url, str(tmp_path / "empty"))
    assert (tmp_path / "empty").read_bytes() == b""


@pytest.fixture
def one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline that a test can wait for."""
    monkeypatch.setenv(remote.DEADLINE_NAME, "1")


@SCHEMES
@pytest.mark.usefixtures("one_second")
@pytest.mark.parametrize(
    ("fault", "name"),
    [
        *((STALL, name) for name in ("read", "write", "list", "remove", "size")),
        (SLOW, "read"),
        (SLOW, "list"),
    ],
)
def test_a_silent_store_is_given_up_at_the_deadline(
    scheme: str, fault: str, name: str, faulty: FaultyStore
) -> None:
    operations = {"read": store.read, "write": lambda url: store.write(url, DATA), **dict(OPERATIONS)}
    faulty.put("folder/a", DATA)
    faulty.fail(*[fault] * 100)
    start = time.monotonic()
    with pytest.raises(
        StoreError, match=r"gave up after 1 s and [1-6] attempts: .*OCTSHARD_STORE_DEADLINE_S"
    ):
        operations[name](f"{scheme}://faulty/folder/a")
    assert time.monotonic() - start < 5
    faulty.clear()


@SCHEMES
def test_a_request_is_cancelled_from_another_thread(scheme: str, faulty: FaultyStore) -> None:
    faulty.fail(STALL)
    scope, ends = transport.Scope(), []

    def read() -> None:
        with scope.active():
            try:
                store.read(f"{scheme}://faulty/a")
            except StoreError as error:
                ends.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    assert faulty.stalled.wait(30)
    scope.cancel()
    reader.join(30)
    assert ends == ["the request was cancelled"]
    assert len(faulty.asked) == 1
    with scope.active(), pytest.raises(transport.Cancelled):
        store.read(f"{scheme}://faulty/a")


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf"])
def test_a_deadline_that_is_none_is_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(remote.DEADLINE_NAME, text)
    with pytest.raises(
        UsageError, match=f"OCTSHARD_STORE_DEADLINE_S={text}: want a number of seconds above 0"
    ):
        store.read("memory://a/b")


@SCHEMES
@pytest.mark.parametrize("status", [301, 307, 400, 405, 409, 408, 412, 416, 501])
@pytest.mark.parametrize("name", ["read", "write", "list", "remove", "size"])
def test_whatever_a_store_answers_is_one_line(
    scheme: str, status: int, name: str, faulty: FaultyStore
) -> None:
    operations = {"read": store.read, "write": lambda url: store.write(url, DATA), **dict(OPERATIONS)}
    faulty.put("folder/a", DATA)
    faulty.fail(*[status] * 100)
    with pytest.raises((StoreError, FileExistsError)) as caught:
        operations[name](f"{scheme}://faulty/folder/a")
    assert "\n" not in str(caught.value)
    assert f"{scheme}://faulty/folder" in str(caught.value)
