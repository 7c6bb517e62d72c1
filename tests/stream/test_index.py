"""The index of a run: what is in it, what is left out, what does not fit, and its domains."""

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from octshard.config.train import TrainConfig
from octshard.dataset import tables
from octshard.errors import OctshardError, UsageError
from octshard.stream import sampler
from octshard.stream.index import build_index, load_index, open_datasets, sampler_config
from octshard.stream.sampler import StreamPosition
from tests.support.tiny_run import config_for, write_dataset


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 17, "val": 6})


def config_of(shards: str, *more: str) -> TrainConfig:
    return config_for(shards, "nowhere", "run.epochs=1", *more)


def test_the_index_lists_what_is_there(shards: str) -> None:
    index = load_index(config_of(shards), "train", 0)
    assert index.samples_per_shard == (5, 5, 5, 2)
    assert [sample.row.key[:8] for sample in index.samples] == [f"train{i:03d}" for i in range(17)]
    assert (index.left_out, index.refused) == ((), 1)


def test_datasets_are_joined_in_config_order(shards: str, tmp_path: Path) -> None:
    second = write_dataset(tmp_path / "other", {"train": 3}, device="other")
    index = load_index(config_of(f"{second},{shards}"), "train", 0)
    assert index.samples_per_shard == (3, 5, 5, 5, 2)
    assert index.samples[0].shard.url.startswith(second)
    assert index.digest != load_index(config_of(f"{shards},{second}"), "train", 0).digest


def test_volumes_with_too_few_tokens_are_left_out_and_named(shards: str, tmp_path: Path) -> None:
    """(6, 20, 24) in (8, 32, 16) with patches (2, 8, 8) fills 3 x 3 x 2 = 18 tokens."""
    small = write_dataset(tmp_path / "small", {"train": 2}, (2, 8, 8))
    index = load_index(config_of(f"{shards},{small}"), "train", 18)
    assert len(index.samples) == 17
    assert len(index.left_out) == 2
    assert len(load_index(config_of(shards), "train", 19).samples) == 0


def test_a_volume_in_two_datasets_is_refused(shards: str) -> None:
    with pytest.raises(UsageError, match=r"17 volumes stand in more than one folder, want each in one"):
        load_index(config_of(f"{shards},{shards}"), "train", 0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"shape_out": (1000, 10000, 10000)}, r"\(1000, 10000, 10000\) voxels, want 1 to 400000000"),
        ({"shape_out": (0, 20, 24)}, r"\(0, 20, 24\) voxels"),
        ({"nbytes": 10**11}, r"bytes 0 to 100000000000 of a shard of "),
        ({"offset": -512}, r"bytes -512 to "),
    ],
    ids=str,
)
def test_a_row_that_claims_too_much_is_one_line(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    url = write_dataset(tmp_path / "device", {"train": 5, "val": 3})
    rows = tables.read_rows(f"{url}/{tables.SAMPLES}")
    tables.write_rows(f"{url}/{tables.SAMPLES}", [dataclasses.replace(rows[0], **change), *rows[1:]])
    tables.write_info(f"{url}/{tables.INFO}", tables.read_info(url))
    with pytest.raises(OctshardError, match=f"{rows[0].key}.*{text}.*run octshard prep verify"):
        load_index(config_of(url), "train", 0)


def test_a_folder_of_device_folders_stands_for_them_all(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_dataset(tmp_path / "all" / name, {"train": 9, "val": 3}, device=name)
    both = load_index(config_of(str(tmp_path / "all")), "train", 0)
    one_by_one = load_index(config_of(f"{tmp_path}/all/a,{tmp_path}/all/b"), "train", 0)
    assert both == one_by_one
    assert [sample.folder for sample in both.samples] == [0] * 9 + [1] * 9
    weighted = config_of(str(tmp_path / "all"), "data.weights=[3,1]")
    assert [domain.weight for domain in sampler_config(both, weighted).domains] == [3.0, 1.0]
    with pytest.raises(UsageError, match="1 numbers, want one for each of the 2 dataset folders"):
        sampler_config(both, config_of(str(tmp_path / "all"), "data.weights=[3]"))


def test_the_sampler_config_needs_no_store(tmp_path: Path) -> None:
    """The folders are gone when it is made: their number is in the index, one without samples included."""
    first = write_dataset(tmp_path / "first", {"train": 7})
    second = write_dataset(tmp_path / "second", {"val": 3}, device="second")
    cfg = config_of(f"{first},{second}", "data.weights=[1,2]")
    index = load_index(cfg, "train", 0)
    shutil.rmtree(first)
    shutil.rmtree(second)
    assert index.folders == 2
    domains = sampler_config(index, cfg).domains
    assert [(domain.name, domain.shards, domain.weight) for domain in domains] == [
        ("data.shards[0]", ((0, 5), (5, 2)), 1.0),
        ("data.shards[1]", (), 2.0),
    ]


def test_tables_that_are_read_once_give_the_index_of_every_split(shards: str) -> None:
    cfg = config_of(shards)
    datasets = open_datasets(cfg)
    assert [len(build_index(datasets, cfg, split, 0).samples) for split in ("train", "val")] == [17, 6]
    assert build_index(datasets, cfg, "val", 0) == load_index(cfg, "val", 0)


def test_no_shards_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.shards: empty"):
        load_index(config_for("", tmp_path), "train", 0)
    with pytest.raises(UsageError, match=tables.INFO):
        load_index(config_of(str(tmp_path)), "train", 0)


def test_devices_can_be_drawn_equally_or_by_weight(tmp_path: Path) -> None:
    folders = [
        write_dataset(tmp_path / name, {"train": n}, device=name) for name, n in (("one", 40), ("two", 16))
    ]
    both = ",".join(folders)
    for more, share in (("data.balance=device", 0.5), ("data.weights=[1,3]", 0.75)):
        cfg = config_of(both, more)
        index = load_index(cfg, "train", 0)
        assert sampler.epoch_length(sampler_config(index, cfg)) == 56
        batch = next(sampler.batch_samples(sampler_config(index, cfg), StreamPosition(0, 0), 56, 0, 1))
        devices = [index.samples[number].row.device for number in batch.samples_B]
        assert devices.count("two") == share * 56
    assert batch.passes_B.max() == 2  # 42 samples of 16: a third pass
    for more, text in (
        ("data.weights=[1]", "1 numbers, want one for each of the 2 dataset folders of data.shards"),
    ):
        cfg = config_of(both, more)
        with pytest.raises(UsageError, match=re.escape(text)):
            sampler.check(sampler_config(load_index(cfg, "train", 0), cfg), 4, 1)
    with pytest.raises(UsageError, match=re.escape("data.weights=[1.0, 0.0]: want more than 0")):
        config_of(both, "data.weights=[1,0]")
    cfg = config_of(both, "data.weights=[1,1]", "data.balance=device")
    with pytest.raises(UsageError, match="want one of the two"):
        sampler_config(load_index(cfg, "train", 0), cfg)


def test_a_shard_that_the_tables_do_not_list_is_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", {"train": 7})
    tables.write_shards(f"{folder}/{tables.SHARDS}", tables.open_dataset(folder).shards[:1])
    tables.write_info(f"{folder}/{tables.INFO}", {})  # as if the build had made it so
    with pytest.raises(OctshardError, match=r"lies in train-000001\.tar, which shards\.parquet"):
        load_index(config_of(folder), "train", 0)


def test_data_filter_leaves_out_rows_and_counts_them(shards: str, tmp_path: Path) -> None:
    second = write_dataset(tmp_path / "other", {"train": 3, "val": 2}, device="other")
    whole = load_index(config_of(f"{shards},{second}"), "train", 0)
    assert whole.filtered == 0
    cfg = config_of(f"{shards},{second}", "data.filter=device != 'other' and key > 'train009'")
    index = load_index(cfg, "train", 0)
    kept = [s.row.key for s in whole.samples if s.row.device != "other" and s.row.key > "train009"]
    assert [sample.row.key for sample in index.samples] == kept
    assert (len(kept), index.filtered) == (8, 12)  # of train009 too, whose key goes on
    assert index.digest != whole.digest
    assert load_index(cfg, "val", 0).filtered == 2 + 0
    only = load_index(config_of(f"{shards},{second}", "data.filter=device == 'other'"), "train", 19)
    assert (only.filtered, len(only.left_out)) == (17, 3)  # what the filter leaves out is not counted twice


def test_a_folder_with_a_weight_that_the_filter_empties_is_named_with_it(shards: str, tmp_path: Path) -> None:
    second = write_dataset(tmp_path / "other", {"train": 3, "val": 2}, device="other")
    cfg = config_of(f"{shards},{second}", "data.weights=[1,1]", "data.filter=device != 'other'")
    message = (
        r"data\.filter=\"device != 'other'\": true for none of the 3 train volumes of data\.shards\[1\], "
        r"which has a weight in data\.weights; want another filter, or no such folder"
    )
    with pytest.raises(UsageError, match=message):
        sampler_config(load_index(cfg, "train", 0), cfg)
    some = config_of(f"{shards},{second}", "data.weights=[1,1]", "data.filter=key > 'train001'")
    assert len(sampler_config(load_index(some, "train", 0), some).domains) == 2


def test_a_mistake_in_data_filter_is_named_before_any_table_is_read() -> None:
    with pytest.raises(
        UsageError, match=r"data.filter=\"devise == 'x'\": no column devise; did you mean device\?"
    ):
        load_index(config_of("no/such/folder", "data.filter=devise == 'x'"), "train", 0)
