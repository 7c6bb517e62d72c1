"""The walk: its order, and the names that are octshard's own."""

from pathlib import Path

import pytest

from octshard.prep.index import walk
from octshard.prep.release.scan_path import OWN
from octshard.storage import store
from tests.support.scan_folder import write

OURS = (
    "lock", "LOCK", ".x.lock", ".topcon.sources.json", ".a.partial", "manifest.tsv", "Participants.TSV",
    "plan.json", "dataset.json", "run.json", "samples.parquet", "shards.parquet", "train-000000.done.json",
    "val-1.tar", "test-000001.rows.parquet", "TRAIN-2.TAR",
)  # fmt: skip
OTHERS = ("a.dcm", ".a.dcm", "lock.dcm", "list.tsv", "x.json", "train.tar", "block", "", "a.lock")


@pytest.mark.parametrize("name", [*OURS, *OTHERS])
def test_own_files_are_those_of_the_manifests_rule(name: str) -> None:
    assert walk.is_own(name) == bool(OWN.fullmatch(name)) == (name in OURS)


@pytest.mark.parametrize("remote", [False, True])
def test_files_come_in_the_order_of_paths_split_at_slashes(tmp_path: Path, remote: bool) -> None:
    paths = ["b/x", "a-b", "a/c/d", "a/b", "z", "a/c-d", "B", "manifest.tsv", "a/plan.json"]
    root = "memory://walked" if remote else str(write(tmp_path, dict.fromkeys(paths, b"1")))
    for path in paths if remote else ():
        store.write(f"{root}/{path}", b"1")
    places = list(walk.walk(root))
    assert [place.path for place in places] == ["B", "a/b", "a/c/d", "a/c-d", "a-b", "b/x", "z"]
    assert [place.key for place in places] == sorted(place.key for place in places)
    assert {place.size for place in places} == {1}
