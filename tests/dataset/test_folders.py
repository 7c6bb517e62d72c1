"""Which dataset folders a URL stands for, and what is said of those that are not finished."""

from pathlib import Path

import pytest

from octshard.dataset import tables
from octshard.dataset.folders import Folders, dataset_folders, find
from octshard.errors import UsageError
from octshard.storage import store
from tests.support.log_lines import log_lines


@pytest.fixture
def shards(tmp_path: Path) -> str:
    for name in ("a/dataset.json", "b/plan.json", "c/dataset.json", ".d/dataset.json", "e/other.txt"):
        store.write(store.join(str(tmp_path), name), b"{}")
    return str(tmp_path)


def test_a_folder_of_device_folders_stands_for_the_finished_ones(shards: str) -> None:
    assert find(shards) == Folders((f"{shards}/a", f"{shards}/c"), ("b",), (".d",))
    assert find(f"{shards}/c") == Folders((f"{shards}/c",), ())


def test_unfinished_folders_are_left_out_with_a_warning(shards: str) -> None:
    with log_lines() as lines:
        assert dataset_folders([f"{shards}/c", shards]) == [f"{shards}/{name}" for name in "cac"]
    assert lines == [
        f"WARNING {shards}: left out, as their build is not finished: b",
        f"WARNING {shards}: left out, as their name begins with a dot: .d",
    ]


def test_hidden_folders_are_there_for_who_asks(shards: str) -> None:
    with log_lines() as lines:
        folders = dataset_folders([shards], with_hidden=True)
    assert folders == [f"{shards}/{name}" for name in (".d", "a", "c")]
    assert lines == [f"WARNING {shards}: left out, as their build is not finished: b"]
    Path(shards, "a", tables.INFO).unlink()
    Path(shards, "c", tables.INFO).unlink()
    assert find(shards, with_hidden=True).whole == (f"{shards}/.d",)


def test_no_dataset_at_all_is_one_clear_line(shards: str) -> None:
    with pytest.raises(UsageError, match=f"e: found 1 other files, want a folder made by .*{tables.INFO}"):
        find(f"{shards}/e")
    with pytest.raises(UsageError, match="b: its build is not finished"):
        dataset_folders([f"{shards}/b"])
