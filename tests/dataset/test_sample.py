"""One sample by its row: bytes altered on their way are read again, changed ones are named."""

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from octshard.config.prep import PrepConfig
from octshard.dataset import sample, tables
from octshard.dataset.shard import BadSample
from octshard.errors import OctshardError
from octshard.prep import verify
from octshard.prep.build import run
from octshard.storage import store
from tests.support.faulty_store import FLIP, FaultyStore
from tests.support.made_release import sound, unpacked


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of one sample."""
    there = tmp_path_factory.mktemp("sample")
    root = unpacked(there / "release", [sound(1)], {"1001": "train"})
    cfg = PrepConfig(src=str(root), dst=str(there / "shards"), target_spacing=[0.08, 0.04, 0.04], workers=1)
    run.shard(cfg, ["topcon_triton"])
    return there / "shards" / "topcon_triton"


@pytest.fixture
def far(made: Path, faulty: FaultyStore) -> str:
    """It, in a store whose replies can be altered."""
    folder = f"s3://faulty/{uuid.uuid4().hex}"
    for path in made.iterdir():
        store.copy(str(path), store.join(folder, path.name))
    return folder


def test_a_sample_altered_on_its_way_is_read_again(far: str, faulty: FaultyStore) -> None:
    (row,) = tables.open_dataset(far).rows
    faulty.fail(FLIP, when="GET")
    assert sample.read(far, row).meta["key"] == row.key
    faulty.fail(FLIP, FLIP, when="GET")
    with pytest.raises(BadSample, match=r"xxh3 .*, want"):
        sample.read(far, row)


def test_a_type_that_the_row_denies_is_named(made: Path) -> None:
    (row,) = tables.open_dataset(str(made)).rows
    with pytest.raises(BadSample, match=r"train-000000.tar at 0 .*: uint8, want uint16 as in samples"):
        sample.read(str(made), replace(row, dtype="uint16"))


def test_a_table_altered_on_its_way_is_read_again(
    far: str, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the store gives no checksum to compare with."""
    monkeypatch.setattr("octshard.storage.s3._told_checksum", lambda reply: "")
    faulty.fail(FLIP, when=r"GET .*samples\.parquet")
    assert len(tables.open_dataset(far).rows) == 1
    faulty.fail(*[FLIP] * 9, when=r"GET .*samples\.parquet")
    with pytest.raises(OctshardError, match=r"samples\.parquet: sha256 .*, want"):
        tables.open_dataset(far)


def test_a_tar_altered_on_its_way_is_no_finding(
    far: str, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("octshard.storage.s3._told_checksum", lambda reply: "")
    faulty.fail(FLIP, when=r"GET .*\.tar")
    assert verify.verify(far, deep=False) == []
    faulty.fail(*[FLIP] * 9, when=r"GET .*\.tar")
    assert "sha256" in verify.verify(far, deep=False)[-1].what
