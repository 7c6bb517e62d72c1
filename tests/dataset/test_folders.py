"""Dataset folders below a URL: in order, and what is not finished is named."""

from pathlib import Path

import pytest

from octshard.dataset.folders import dataset_folders, find
from octshard.errors import UsageError
from tests.support.tiny_run import write_dataset


def unfinished(folder: Path) -> None:
    folder.mkdir()
    (folder / "plan.json").write_text("{}")


def test_folders_come_in_the_order_of_their_urls_and_names(tmp_path: Path) -> None:
    for name in ("shards/b", "shards/a", "c"):
        write_dataset(tmp_path / name, {"train": 1}, device=name)
    (tmp_path / "shards" / "notes.txt").write_text("no dataset")
    shards, c = str(tmp_path / "shards"), str(tmp_path / "c")
    assert dataset_folders([c, shards]) == [c, f"{shards}/a", f"{shards}/b"]


def test_a_folder_whose_build_is_not_finished_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_dataset(tmp_path / "a", {"train": 1})
    unfinished(tmp_path / "b")
    assert find(str(tmp_path)).unfinished == ("b",)
    assert dataset_folders([str(tmp_path)]) == [str(tmp_path / "a")]
    assert caplog.messages == [f"{tmp_path}: left out, as their build is not finished: b"]
    with pytest.raises(UsageError, match="b: its build is not finished"):
        dataset_folders([str(tmp_path / "b")])
