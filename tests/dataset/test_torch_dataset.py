"""ShardDataset: every volume once, verified, from workers and from remote stores, and as MONAI sees it."""

import dataclasses
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import octshard
from octshard.dataset import tables
from octshard.dataset.shard import BadSample
from octshard.errors import OctshardError, UsageError
from octshard.imaging.retina_band import RetinaBand
from octshard.storage import store
from tests.support.tiny_run import BLACK, SHAPE, STEP, odd_wide, voxels_of, write_dataset

COUNTS = {"train": 7, "val": 2, "test": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "shards" / "device", COUNTS)
    return tmp_path / "shards" / "device"


def keys(dataset: octshard.ShardDataset) -> list[str]:
    return [row.key for row in dataset.rows]


def test_an_item_is_what_was_stored(folder: Path) -> None:
    dataset = octshard.ShardDataset(folder)
    assert len(dataset) == 10
    assert len({item["meta"]["key"] for item in dataset}) == 10
    item = dataset[-1]
    key = item["meta"]["key"]
    assert (item["image"].dtype, item["image"].shape) == (torch.uint8, (1, *SHAPE))
    np.testing.assert_array_equal(item["image"][0].numpy(), voxels_of(key, SHAPE))
    assert item["spacing"].tolist() == pytest.approx([0.05, 0.02, 0.02])
    assert item["meta"]["participant"] == key.split("-")[0]
    assert (item["meta"]["slice_axis"], item["meta"]["slice_places"]) == ("", "")  # of all, to be collated
    assert item["meta"]["mean"] == pytest.approx(voxels_of(key, SHAPE).mean())
    item["image"] += 1  # the caller's own memory
    assert torch.equal(dataset[-1]["image"] + 1, item["image"])


def test_volumes_of_both_widths_are_collated(tmp_path: Path) -> None:
    """All as uint16, level by level; as grey the same numbers as of 8 bits."""
    url = write_dataset(tmp_path / "device", COUNTS, is_wide=odd_wide)
    for item in octshard.ShardDataset(url):
        key, grey = item["meta"]["key"], voxels_of(item["meta"]["key"], SHAPE)
        levels = grey.astype(np.uint16) * STEP + BLACK if odd_wide(key) else grey
        assert item["image"].dtype == torch.uint16
        np.testing.assert_array_equal(item["image"][0].numpy(), levels)
        assert not odd_wide(key) or item["meta"]["source_levels"] == [BLACK, BLACK + 255 * STEP]
    train = octshard.ShardDataset(url, "train", as_grey=True)
    for batch in DataLoader(train, batch_size=4, collate_fn=lambda items: [i["image"] for i in items]):
        assert {image.dtype for image in batch} == {torch.float32}
    np.testing.assert_array_equal(train[3]["image"][0], voxels_of(keys(train)[3], SHAPE))
    mixed = octshard.ShardDataset(url, "train")
    stacked = torch.stack([mixed[0]["image"], mixed[1]["image"]])
    assert (stacked.dtype, stacked.shape) == (torch.uint16, (2, 1, *SHAPE))
    eight = octshard.ShardDataset(url, filter="dtype == 'uint8'")
    assert {item["image"].dtype for item in eight} == {torch.uint8}


def test_the_retinal_band_is_part_of_an_item_and_not_found_where_none_is_stored(tmp_path: Path) -> None:
    def band_of(key: str) -> RetinaBand | None:
        return RetinaBand(np.full((6, 3, 2), (4, 11), np.int16)) if key.startswith("val") else None

    write_dataset(tmp_path / "device", {"train": 1, "val": 1}, band_of=band_of)
    train, val = (octshard.ShardDataset(tmp_path, split)[0] for split in ("train", "val"))
    assert (train["retina_band"].dtype, train["retina_band"].shape) == (torch.int16, (6, 3, 2))
    assert train["retina_band"].unique().tolist() == [-1]
    assert val["retina_band"].tolist() == [[[4, 11]] * 3] * 6
    assert "retina_band" not in {*train["meta"], *val["meta"]}
    (batch,) = DataLoader(octshard.ShardDataset(tmp_path), batch_size=2)
    assert batch["retina_band"].shape == (2, 6, 3, 2)


def test_split_and_filter_choose_rows(folder: Path) -> None:
    assert [len(octshard.ShardDataset(str(folder), split)) for split in COUNTS] == [7, 2, 1]
    dataset = octshard.ShardDataset(folder, "train", lambda row: row.key < "train003")
    assert [key[:8] for key in keys(dataset)] == ["train000", "train001", "train002"]
    with pytest.raises(UsageError, match="split 'training': want one of train, val, test"):
        octshard.ShardDataset(folder, "training")


def test_several_folders_come_in_order_and_a_folder_of_folders_holds_them_all(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_dataset(tmp_path / "shards" / name, {"train": 2}, device=name)
    a, b = tmp_path / "shards" / "a", tmp_path / "shards" / "b"
    assert [row.device for row in octshard.ShardDataset([b, a]).rows] == ["b", "b", "a", "a"]
    assert [row.device for row in octshard.ShardDataset(tmp_path / "shards").rows] == ["a", "a", "b", "b"]
    with pytest.raises(UsageError, match="no folder, want at least one"):
        octshard.ShardDataset([])
    with pytest.raises(UsageError, match="found nothing, want a folder made by octshard prep shard"):
        octshard.ShardDataset(tmp_path / "nowhere")


def test_unfinished_folders_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_dataset(tmp_path / "a", {"train": 2})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "plan.json").write_text("{}")
    assert len(octshard.ShardDataset(tmp_path)) == 2
    assert "their build is not finished: b" in caplog.text


def test_a_volume_in_two_folders_is_refused(folder: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "again", {"train": 1})
    with pytest.raises(
        UsageError,
        match=r"stand in more than one folder, want each in one; the first is .*, in .*device and .*again",
    ):
        octshard.ShardDataset([folder, tmp_path / "again"])


def test_a_participant_on_two_sides_is_refused_where_a_split_is_asked_for(tmp_path: Path) -> None:
    url = write_dataset(tmp_path, {"train": 1, "test": 1})
    rows = tables.read_rows(store.join(url, tables.SAMPLES))
    changed = [dataclasses.replace(row, participant="7") for row in rows]
    tables.write_rows(store.join(url, tables.SAMPLES), changed)
    tables.write_info(store.join(url, tables.INFO), {})
    with pytest.raises(
        UsageError, match=r"ShardDataset: 1 participants stand in more than one split.*7, in test and train"
    ):
        octshard.ShardDataset(url, "train")
    assert len(octshard.ShardDataset(url)) == 2


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_what_is_damaged_is_an_error_that_names_shard_offset_and_key(folder: Path, damage: str) -> None:
    dataset = octshard.ShardDataset(folder, "test")
    path, row = folder / "test-000000.tar", dataset.rows[0]
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data if damage == "flip" else data[:600])
    with pytest.raises(BadSample, match=rf"test-000000.tar at 0 \({row.key}\)"):
        dataset[0]
    path.unlink()
    with pytest.raises(OctshardError, match=rf"test-000000.tar at 0 \({row.key}\): the shard is missing"):
        dataset[0]


def test_a_shape_that_the_table_does_not_know_is_an_error(folder: Path) -> None:
    dataset = octshard.ShardDataset(folder, "test")
    row = dataset.rows[0]
    object.__setattr__(row, "shape_out", (1, 2, 3))
    with pytest.raises(BadSample, match=r"shape \(6, 20, 24\), want \(1, 2, 3\) as in samples.parquet"):
        dataset[0]


def read_by_workers(dataset: octshard.ShardDataset, context: str, workers: int) -> dict[str, Any]:
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, multiprocessing_context=context)
    batches = list(loader)
    assert batches[0]["image"].shape == (2, 1, *SHAPE)
    return {
        key: image
        for batch in batches
        for key, image in zip(batch["meta"]["key"], batch["image"], strict=True)
    }


@pytest.mark.parametrize(("context", "workers"), [("fork", 2), ("spawn", 1)])
def test_data_loader_workers_read_the_same(folder: Path, context: str, workers: int) -> None:
    dataset = octshard.ShardDataset(folder, filter=lambda row: row.split != "test")
    images = read_by_workers(dataset, context, workers)
    assert sorted(images) == sorted(keys(dataset))
    for key, image in images.items():
        np.testing.assert_array_equal(image[0].numpy(), voxels_of(key, SHAPE))


def test_it_pickles_to_the_same_items(folder: Path) -> None:
    dataset = octshard.ShardDataset(folder, filter=lambda row: True)
    again = pickle.loads(pickle.dumps(dataset))
    assert keys(again) == keys(dataset)
    assert torch.equal(again[3]["image"], dataset[3]["image"])


def test_remote_folders_are_read_by_ranges_also_in_forked_workers(root: str) -> None:
    """The parent has read the tables, so its client of the store exists when the workers are forked."""
    url = write_dataset(store.join(root, "device"), {"train": 4})  # type: ignore[arg-type]
    dataset = octshard.ShardDataset(root)
    assert torch.equal(dataset[0]["image"][0], torch.from_numpy(voxels_of(keys(dataset)[0], SHAPE)))
    images = read_by_workers(octshard.ShardDataset(url), "fork", 2)
    for key, image in images.items():
        np.testing.assert_array_equal(image[0].numpy(), voxels_of(key, SHAPE))


def test_monai_gets_the_true_affine(folder: Path) -> None:
    monai_data = pytest.importorskip("monai.data")
    from monai.transforms import Spacing

    dataset = octshard.ShardDataset(folder, "train", as_metatensor=True)
    image = dataset[0]["image"]
    assert isinstance(image, monai_data.MetaTensor)
    np.testing.assert_array_equal(image.affine.numpy(), np.diag([0.05, 0.02, 0.02, 1]))
    assert image.pixdim.tolist() == pytest.approx([0.05, 0.02, 0.02])
    # MONAI itself resamples by it: twice the spacing along W leaves half the voxels
    coarse = Spacing((0.05, 0.02, 0.04), align_corners=False)(image.float())
    assert coarse.shape == (1, 6, 20, 12)
    batch = next(iter(monai_data.DataLoader(dataset, batch_size=2)))
    assert batch["image"].shape == (2, 1, *SHAPE)


def test_without_monai_the_error_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.data", None)
    with pytest.raises(UsageError, match=r"as_metatensor=True: MONAI is not here .*install"):
        octshard.ShardDataset(folder, as_metatensor=True)


def test_a_text_filters_as_a_function_does(folder: Path) -> None:
    by_function = octshard.ShardDataset(folder, filter=lambda row: row.split == "val" or "000" in row.key)
    by_text = octshard.ShardDataset(folder, filter="split == 'val' or '000' in key")
    assert keys(by_text) == keys(by_function) != []
    with pytest.raises(UsageError, match=r"ShardDataset filter='rows\(\)': rows\(\) is a call"):
        octshard.ShardDataset(folder, filter="rows()")
