"""A fault, once or twice, ends in the same bytes; for ever, in one line; a refusal is one line at once."""

import random
import re
from collections.abc import Callable

import pytest

from octshard.storage import client, remote, store
from octshard.storage.store import StoreError
from tests.support.faulty_store import HALF, LOST, RESET, SHORT, STALL, FaultyStore

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
    # aiohttp itself asks a second time, at once, where a connection breaks
    assert len(faulty.asked) == 6 * (2 if fault == RESET else 1)


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
