"""URLs: what is listed and written on every store, and one line with advice for one that fails."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from octshard.doctor import stores
from octshard.doctor.checks import Check
from octshard.extras import install_advice
from octshard.storage import remote, store
from tests.support import faulty_store


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.random, "uniform", lambda low, high: 0.0)


def test_a_local_folder_is_listed_and_its_disk_checked(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    listing, disk = stores.checks(str(tmp_path), write=True)
    assert listing == Check("list", "pass", "1 names, on this machine")
    assert (disk.name, disk.status) in (("disk", "pass"), ("disk", "warn"))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert stores.checks(f"file://{tmp_path}", write=False)[1].found.endswith("GB free")


def test_a_local_folder_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    listing, _ = stores.checks(str(tmp_path / "absent"), write=True)
    assert (listing.status, listing.found) == ("warn", "nothing stands there, on this machine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_store_is_listed_as_an_account_and_written_only_when_asked(scheme: str, faulty: Any) -> None:
    url = f"{scheme}://{faulty_store.BUCKET}/{uuid.uuid4().hex}"
    account = {"gs": "anonymous (no credentials found)", "s3": "access key AKIATESTKEY"}[scheme]
    (listing,) = stores.checks(url, write=False)
    assert (listing.status, listing.found) == ("warn", f"nothing stands there, as {account}")
    store.write(store.join(url, "shard.tar"), b"tar")
    assert stores.checks(url, write=False) == [Check("list", "pass", f"1 names, as {account}")]
    writing = stores.checks(url, write=True)[1]
    assert writing == Check("write", "pass", "written, read back and removed")
    assert store.list_names(url) == ["shard.tar"]


@pytest.mark.gcs
def test_a_store_that_ignores_conditions_is_a_warning(gcs: str) -> None:
    """As Cloud Storage's emulator does."""
    url = f"{gcs}/{uuid.uuid4().hex}"
    check = stores.checks(url, write=True)[1]
    assert check.status == "warn"
    assert check.found.startswith("written and read, but this store heeds no conditions")
    assert "docs/design/storage.md" in check.advice
    assert store.list_names(url) == []


def test_other_bytes_than_were_put_fail(monkeypatch: Any) -> None:
    monkeypatch.setattr(store, "read", lambda url: b"other")
    check = stores.checks(f"memory://{uuid.uuid4().hex}", write=True)[1]
    assert (check.status, check.found) == ("fail", "5 bytes came back, others than were put")


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_refusal_says_as_whom_and_gives_the_store_s_advice(scheme: str, faulty: Any) -> None:
    faulty.fail(*[403] * 20)
    (check,) = stores.checks(f"{scheme}://{faulty_store.BUCKET}/x", write=True)
    assert check.status == "fail"
    assert "does not let" in check.found
    assert check.advice == remote.ADVICE[scheme]
    assert remote.ADVICE[scheme] not in check.found
    assert "\n" not in check.found


@pytest.mark.usefixtures("no_wait")
def test_a_store_that_does_not_answer_is_one_line(faulty: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    (check,) = stores.checks("s3://bucket/shards", write=True)
    assert check.status == "fail"
    assert "gave up after 6 attempts" in check.found
    assert "\n" not in check.found
    assert check.advice == stores.NETWORK


def test_a_missing_client_says_what_to_install() -> None:
    error = store.StoreError(f"gs://: No module named gcsfs; {install_advice('gcs')}")
    assert stores.refusal("list", "gs://b", error) == Check(
        "list", "fail", "gs://: No module named gcsfs", install_advice("gcs")
    )


def test_a_scheme_that_no_client_speaks_is_one_line() -> None:
    (check,) = stores.checks("nope://x", write=True)
    assert check.status == "fail"
    assert "want a local path, gs://, s3:// or memory://" in check.found
