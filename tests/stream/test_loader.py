"""The stream: the order of `order`, each sample verified, cropped, padded; errors reach the consumer."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from octshard.config.train import TrainConfig
from octshard.dataset import stored_scale, tables
from octshard.dataset.shard import BadSample
from octshard.dataset.tables import SampleRow
from octshard.devices.buffers import BufferPool
from octshard.errors import OctshardError, UsageError
from octshard.imaging.retina_band import NOT_FOUND, RetinaBand
from octshard.models import normalize
from octshard.storage import remote, store
from octshard.stream import loader, read_ahead, sampler
from octshard.stream.batch import Batch, BatchTransform, RankSlice
from octshard.stream.index import SampleIndex, SampleRef, load_index, sampler_config
from octshard.stream.sampler import StreamPosition
from tests.support import faulty_store
from tests.support.log_lines import log_lines
from tests.support.tiny_run import SHAPE, config_for, none_wide, odd_wide, voxels_of, write_dataset

WHOLE = RankSlice(4, 0, 1)
START = StreamPosition(0, 0)


def way_of(prepare: Callable[[Batch], Any]) -> BatchTransform[Any]:
    return BatchTransform(prepare, BufferPool().empty)


WAY: BatchTransform[Batch] = way_of(lambda batch: batch)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 17, "val": 6})


def config_of(shards: str, *more: str) -> TrainConfig:
    return config_for(shards, "nowhere", "run.epochs=1", *more)


def take(
    index: SampleIndex, cfg: TrainConfig, rank_slice: RankSlice, start: StreamPosition, batches: int
) -> list[Batch]:
    with contextlib.closing(loader.train_batches(index, cfg, rank_slice, start, WAY)) as iterator:
        return list(islice(iterator, batches))


def test_the_band_follows_the_crop_and_is_not_found_in_padding(tmp_path: Path) -> None:
    def band_of(key: str) -> RetinaBand | None:
        """Rows by B-scan, alike in all blocks, since crops begin at any column; every third key has none."""
        number = int(key[-10:], 16)
        first_D = 2 + (np.arange(6) + number) % 9
        rows_DQ2 = np.repeat(np.stack([first_D, first_D + 5], axis=1)[:, None], 3, axis=1)
        return RetinaBand(rows_DQ2.astype(np.int16)) if number % 3 else None

    url = write_dataset(tmp_path / "device", {"train": 12}, band_of=band_of)
    cfg = config_of(url)
    batches = take(load_index(cfg, "train", 0), cfg, WHOLE, START, 3)
    assert {band_of(key) is None for batch in batches for key in batch.keys} == {True, False}
    for batch in batches:
        assert batch.band_BDQ2 is not None
        assert (batch.band_BDQ2.shape, batch.band_BDQ2.dtype) == ((4, 6, 2, 2), torch.int16)
        for slot, key in enumerate(batch.keys):
            band = band_of(key)
            expected_DQ2 = np.full((6, 2, 2), NOT_FOUND) if band is None else band.rows_DQ2[:, :2]
            np.testing.assert_array_equal(batch.band_BDQ2[slot].numpy(), expected_DQ2)
    taller = config_of(url, "model.image_size=[8,16,48]")  # rows are cut, columns padded
    (batch,) = take(load_index(taller, "train", 0), taller, WHOLE, START, 1)
    assert batch.band_BDQ2 is not None
    assert batch.valid_B3.tolist() == [[6, 16, 24]] * 4
    assert batch.band_BDQ2.shape == (4, 6, 3, 2)
    assert batch.band_BDQ2.max() <= 16


def test_shards_without_bands_give_batches_without(shards: str) -> None:
    cfg = config_of(shards)
    assert all(batch.band_BDQ2 is None for batch in take(load_index(cfg, "train", 0), cfg, WHOLE, START, 4))


def test_a_damaged_band_is_a_bad_sample_that_names_its_place(tmp_path: Path) -> None:
    def band_of(_: str) -> RetinaBand:
        return RetinaBand(np.full((6, 3, 2), (3, 21), np.int16))  # of 20 rows

    cfg = config_of(write_dataset(tmp_path / "device", {"train": 4}, band_of=band_of))
    with pytest.raises(BadSample, match=r"train-000000.tar at \d+ .*retina_band has rows outside"):
        take(load_index(cfg, "train", 0), cfg, WHOLE, START, 1)


def test_batches_follow_the_order_and_hold_the_stored_voxels(shards: str) -> None:
    cfg = config_of(shards, "data.threads=3")
    index = load_index(cfg, "train", 0)
    expected = sampler.batch_samples(sampler_config(index, cfg), START, 4, 0, 1)
    for batch, global_batch in zip(take(index, cfg, WHOLE, START, 9), expected, strict=False):
        assert batch.keys == tuple(index.samples[i].row.key for i in global_batch.samples_B)
        assert batch.epoch_B == tuple(global_batch.passes_B)
        assert (batch.position, batch.count) == (global_batch.position, 4)
        assert batch.voxels_BDHW.shape == (4, 6, 24, 16)  # whole patches of 2, 8, 8
        assert batch.valid_B3.tolist() == [[6, 20, 16]] * 4
        for slot, key in enumerate(batch.keys):
            voxels, whole = batch.voxels_BDHW[slot].numpy(), voxels_of(key, SHAPE)
            crops = [whole[:, :, first : first + 16] for first in range(9)]
            assert any(np.array_equal(voxels[:6, :20], crop) for crop in crops)
            assert not voxels[6:].any()
            assert not voxels[:, 20:].any()
            assert batch.mean_B[slot].item() == pytest.approx(whole.mean(), rel=1e-5)
            assert batch.std_B[slot].item() == pytest.approx(whole.std(), rel=1e-5)


def test_crops_follow_seed_epoch_and_key_alone(shards: str) -> None:
    first_cfg, second_cfg = (
        config_of(shards, "data.threads=1"),
        config_of(shards, "data.threads=4", "data.prefetch_bytes=1", "data.read_ahead_bytes=1"),
    )
    index = load_index(first_cfg, "train", 0)
    for a, b in zip(
        take(index, first_cfg, WHOLE, START, 9), take(index, second_cfg, WHOLE, START, 9), strict=True
    ):
        assert np.array_equal(a.voxels_BDHW, b.voxels_BDHW)


def test_readers_and_resumes_give_the_tail_of_the_same_batches(shards: str) -> None:
    cfg = config_of(shards)
    index = load_index(cfg, "train", 0)
    whole = take(index, cfg, WHOLE, START, 8)
    tails = [take(index, cfg, RankSlice(4, reader, 2), whole[2].position, 5) for reader in (0, 1)]
    for k, batch in enumerate(whole[3:]):
        for reader in (0, 1):
            assert tails[reader][k].keys == batch.keys[reader::2]
            assert np.array_equal(tails[reader][k].voxels_BDHW, batch.voxels_BDHW[reader::2])


def test_evaluation_sees_all_once_in_table_order_with_centre_crops(shards: str) -> None:
    cfg = config_of(shards)
    index = load_index(cfg, "val", 0)
    batches = list(loader.eval_batches(index, cfg, WHOLE, 0, WAY))
    assert [(batch.count, len(batch.keys)) for batch in batches] == [(4, 4), (2, 4)]
    keys = [key for batch in batches for key in batch.keys[: batch.count]]
    assert keys == [entry.row.key for entry in index.samples]
    centre = voxels_of(batches[1].keys[0], SHAPE)[:, :, 4:20]
    assert np.array_equal(batches[1].voxels_BDHW[0, :6, :20].numpy(), centre)
    assert len(list(loader.eval_batches(index, cfg, WHOLE, 3, WAY))) == 1


def test_a_limited_evaluation_takes_its_share_of_every_dataset(tmp_path: Path) -> None:
    """Else the validation loss of several devices would be that of the first."""
    folders = [write_dataset(tmp_path / name, {"val": 8}, device=name) for name in ("one", "two", "three")]
    cfg = config_of(",".join(folders))
    index = load_index(cfg, "val", 0)
    batches = list(loader.eval_batches(index, cfg, WHOLE, 12, WAY))
    devices = [key.split("-")[1] for batch in batches for key in batch.keys[: batch.count]]
    assert devices == ["one"] * 4 + ["two"] * 4 + ["three"] * 4


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_bad_shard_names_shard_offset_and_key(tmp_path: Path, damage: str) -> None:
    cfg = config_of(write_dataset(tmp_path / "data", {"train": 8}))
    index = load_index(cfg, "train", 0)
    last = index.samples[-1]
    path = Path(last.shard.url)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[last.row.offset + 700] ^= 1  # type: ignore[operator]
    path.write_bytes(data[: last.row.offset + 512] if damage == "cut" else data)  # type: ignore[operator]
    if damage == "gone":
        path.unlink()
    error_class = OctshardError if damage == "gone" else BadSample
    with pytest.raises(error_class, match=r"train-000001.tar at \d+ \(train00\d") as raised:
        take(index, cfg, WHOLE, START, 4)
    assert "\n" not in str(raised.value)


def test_an_error_in_prepare_reaches_the_consumer_at_its_turn(shards: str) -> None:
    cfg = config_of(shards)
    index = load_index(cfg, "train", 0)

    def prepare(batch: Batch) -> Batch:
        if batch.position.samples_seen == 12:
            raise ZeroDivisionError("third batch")
        return batch

    batches = loader.train_batches(index, cfg, WHOLE, START, way_of(prepare))
    assert [next(batches).position.samples_seen for _ in range(2)] == [4, 8]
    with pytest.raises(ZeroDivisionError, match="third batch"):
        next(batches)


def test_prefetch_is_bounded_and_closing_stops_the_threads(shards: str) -> None:
    """Two batches ahead of the one that is waited for."""
    cfg = config_of(shards, f"data.prefetch_bytes={2 * 4 * 6 * 24 * 16}")
    tensors: list[torch.Tensor] = []
    buffers = BufferPool()

    def counted(size: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        tensors.append(buffers.empty(size, dtype))
        return tensors[-1]

    transform = BatchTransform(lambda batch: batch, counted)
    batches = loader.train_batches(load_index(cfg, "train", 0), cfg, WHOLE, START, transform)
    for count in range(4):
        next(batches)
        assert len(tensors) == 3 + count
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stream")]


@pytest.mark.parametrize("distance", ["near", "far"])
def test_read_ahead_is_bounded_in_bytes(shards: str, distance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch of four may come on top of the bound, and one batch is always asked for."""
    near = config_of(shards)
    size = max(entry.stop - entry.start for entry in load_index(near, "train", 0).samples)
    url = shards if distance == "near" else remote_copy(shards, f"memory://{uuid.uuid4().hex}")
    held_bytes: list[int] = []
    submit = read_ahead.ReadAhead.submit

    def watched(reader: read_ahead.ReadAhead, sample: SampleRef) -> read_ahead.Request:
        request = submit(reader, sample)
        held_bytes.append(reader.held_bytes)
        return request

    monkeypatch.setattr(read_ahead.ReadAhead, "submit", watched)
    for bound in (1, 10 * size):
        held_bytes.clear()
        cfg = config_of(url, f"data.read_ahead_bytes={bound}", "data.prefetch_bytes=100000000")
        take(load_index(cfg, "train", 0), cfg, WHOLE, START, 30)
        assert max(held_bytes) <= bound + 4 * size
    assert max(held_bytes) > 5 * size


@pytest.mark.parametrize("box", ["[8,32,16]", "[6,24,24]", "[2,8,8]"])
def test_batches_of_both_widths_are_those_of_eight_bits_in_steps(tmp_path: Path, box: str) -> None:
    """Crops and padding, slots of a whole volume, and resumed in the middle: the same grey, exactly."""
    counts = {"train": 17, "val": 5}
    eight, mixed = (
        config_of(write_dataset(tmp_path / name, counts, is_wide=is_wide), f"model.image_size={box}")
        for name, is_wide in (("eight", none_wide), ("mixed", odd_wide))
    )
    indexes = [load_index(cfg, "train", 0) for cfg in (eight, mixed)]
    assert [index.voxel_dtype for index in indexes] == [torch.uint8, torch.int16]
    pairs = [
        *zip(take(indexes[0], eight, WHOLE, START, 4), take(indexes[1], mixed, WHOLE, START, 4), strict=True),
        *zip(
            *(loader.eval_batches(load_index(cfg, "val", 0), cfg, WHOLE, 0, WAY) for cfg in (eight, mixed)),
            strict=True,
        ),
    ]
    for old, new in pairs:
        assert (old.keys, old.position, old.count) == (new.keys, new.position, new.count)
        assert new.voxels_BDHW.dtype == torch.int16
        assert torch.equal(new.voxels_BDHW, old.voxels_BDHW.to(torch.int16) * 128)
        assert torch.equal(normalize.grey(new.voxels_BDHW), old.voxels_BDHW.float())
        for name in ("mean_B", "std_B", "valid_B3"):
            assert torch.equal(getattr(old, name), getattr(new, name))
    (tail,) = take(indexes[1], mixed, RankSlice(4, 1, 2), pairs[1][1].position, 1)
    assert torch.equal(tail.voxels_BDHW, pairs[2][1].voxels_BDHW[1::2])


def test_a_split_of_eight_bits_has_batches_of_eight_whatever_the_others_are(tmp_path: Path) -> None:
    url = write_dataset(tmp_path / "d", {"train": 4, "val": 4}, is_wide=lambda key: key.startswith("val"))
    dtypes = [load_index(config_of(url), split, 0).voxel_dtype for split in ("train", "val")]
    assert dtypes == [torch.uint8, torch.int16]


def test_bits_that_the_table_denies_are_an_error(tmp_path: Path) -> None:
    cfg = config_of(write_dataset(tmp_path / "device", {"train": 4}, is_wide=lambda key: True))
    index = load_index(cfg, "train", 0)
    samples = tuple(
        dataclasses.replace(sample, row=dataclasses.replace(sample.row, dtype="uint8"))
        for sample in index.samples
    )
    with pytest.raises(BadSample, match=r"uint16\(6, 20, 24\), want uint8\(6, 20, 24\) as samples.parquet"):
        take(dataclasses.replace(index, samples=samples), cfg, WHOLE, START, 1)


def test_sixteen_bits_without_their_scale_are_a_bad_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_scale, "NAME", "something else")
    url = write_dataset(tmp_path / "device", {"train": 4}, is_wide=lambda key: True)
    monkeypatch.undo()
    cfg = config_of(url)
    with pytest.raises(
        BadSample, match=r"train-000000.tar at \d+ .*: source_levels is None, want two levels"
    ):
        take(load_index(cfg, "train", 0), cfg, WHOLE, START, 1)


def test_crops_differ_from_pass_to_pass(shards: str) -> None:
    cfg = config_of(shards)
    crops_by_key: dict[str, list[np.ndarray]] = {}
    for batch in take(load_index(cfg, "train", 0), cfg, WHOLE, START, 12):
        for key, voxels_DHW in zip(batch.keys, batch.voxels_BDHW, strict=True):
            crops_by_key.setdefault(key, []).append(voxels_DHW.numpy())
    changed = [not np.array_equal(crops[0], crops[1]) for crops in crops_by_key.values() if len(crops) > 1]
    assert sum(changed) > len(changed) / 2  # one of nine places each: 8 of 9 change


def test_voxels_that_the_table_denies_are_an_error(shards: str) -> None:
    cfg = config_of(shards)
    index = load_index(cfg, "train", 0)
    entry = index.samples[0]
    wrong = dataclasses.replace(entry, row=dataclasses.replace(entry.row, shape_out=(6, 24, 20)))
    with pytest.raises(OctshardError, match=r"\(6, 20, 24\), want uint8\(6, 24, 20\)"):
        take(dataclasses.replace(index, samples=(wrong,) * 17), cfg, WHOLE, START, 1)


def remote_copy(shards: str, to: str) -> str:
    """The dataset folder, on another store."""
    for name in store.list_names(shards):
        store.write(store.join(to, name), store.read(store.join(shards, name)))
    return to


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        (a.keys, a.position) == (b.keys, b.position) and np.array_equal(a.voxels_BDHW, b.voxels_BDHW)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize(
    "how",
    [
        "data.read_ahead_bytes=1",
        "data.connections=4",
        "data.shuffle_block_size=256",
        "data.cache_bytes=100000",  # two shards of four: some come and go
        "data.cache_bytes=10000000",
    ],
)
def test_a_remote_store_gives_the_batches_of_a_local_one(shards: str, how: str, tmp_path: Path) -> None:
    far = remote_copy(shards, f"memory://{uuid.uuid4().hex}")
    cache = [f"data.cache_dir={tmp_path}"] if "cache" in how else []
    near_cfg, far_cfg = config_of(shards, how), config_of(far, how, *cache)
    near, far_index = (load_index(cfg, "train", 0) for cfg in (near_cfg, far_cfg))
    transform = BatchTransform(lambda batch: batch, BufferPool().empty)  # a full cache says that it is
    with contextlib.closing(loader.train_batches(far_index, far_cfg, WHOLE, START, transform)) as iterator:
        batches = list(islice(iterator, 13))
    assert same(take(near, near_cfg, WHOLE, START, 13), batches)


def test_one_request_in_twenty_fails_and_nothing_changes(
    shards: str, faulty: faulty_store.FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote.random, "uniform", lambda low, high: 0.0)
    far = remote_copy(shards, f"gs://{faulty_store.BUCKET}/{uuid.uuid4().hex}")
    near_cfg, cfg = config_of(shards), config_of(far, "data.connections=3", "data.read_ahead_bytes=1")
    index = load_index(cfg, "train", 0)
    begun = len(faulty.asked)
    rng = np.random.default_rng(0)
    kinds: list[str | int] = [429, 500, 503, faulty_store.RESET, faulty_store.SHORT]
    script: list[Any] = [kinds[rng.integers(5)] if rng.random() < 0.05 else None for _ in range(200)]
    faulty.fail(*script)
    batches = take(index, cfg, WHOLE, START, 60)
    assert len(faulty.asked) - begun > 60
    assert same(take(load_index(near_cfg, "train", 0), near_cfg, WHOLE, START, 60), batches)


def test_samples_altered_on_their_way_are_read_again(shards: str, faulty: faulty_store.FaultyStore) -> None:
    far = remote_copy(shards, f"gs://{faulty_store.BUCKET}/{uuid.uuid4().hex}")
    near_cfg, cfg = config_of(shards), config_of(far, "data.connections=1", "data.read_ahead_bytes=1")
    index = load_index(cfg, "train", 0)
    faulty.fail(faulty_store.FLIP)
    batches = take(index, cfg, WHOLE, START, 12)
    assert not faulty.faults
    assert same(take(load_index(near_cfg, "train", 0), near_cfg, WHOLE, START, 12), batches)
    faulty.fail(*[faulty_store.FLIP] * 1000)
    with pytest.raises(BadSample, match=r"gs://faulty/.* at .*: xxh3 .*, want "):
        take(index, cfg, WHOLE, START, 12)


def damaged(
    shards: str, folder: Path, change: Callable[[bytearray, SampleRow], bytearray]
) -> tuple[str, SampleRow]:
    """A copy of the dataset in which the third train sample is changed; and its row."""
    copy = remote_copy(shards, str(folder))
    row = tables.open_dataset(copy).samples("train")[2]
    path = store.join(copy, row.shard)
    store.write(path, bytes(change(bytearray(store.read(path)), row)))
    return copy, row


def flipped(data: bytearray, row: SampleRow) -> bytearray:
    data[(row.offset or 0) + 900] ^= 4
    return data


def test_another_of_its_lane_stands_in_for_a_bad_sample(shards: str, tmp_path: Path) -> None:
    copy, row = damaged(shards, tmp_path, flipped)
    cfg = config_of(copy, "data.on_bad_sample=substitute")
    whole = take(load_index(config_of(shards), "train", 0), config_of(shards), WHOLE, START, 12)
    batches = take(load_index(cfg, "train", 0), cfg, WHOLE, START, 12)
    bad = [line for batch in batches for line in batch.substituted]
    assert len(bad) == 3  # one in each of the epochs of 16 samples
    lanes: dict[tuple[int, int], set[str]] = {}
    for batch in whole:  # two lanes of an epoch are its even and its odd places
        for place, key in enumerate(batch.keys):
            lanes.setdefault((batch.epoch_B[0], place % 2), set()).add(key)
    for a, b in zip(whole, batches, strict=True):
        assert (a.position, a.epoch_B) == (b.position, b.epoch_B)
        differ = [(old, new) for old, new in zip(a.keys, b.keys, strict=True) if old != new]
        assert len(differ) == len(b.substituted)
        for (old, new), line in zip(differ, b.substituted, strict=True):
            assert old == row.key
            assert f"({old}): xxh3 " in line
            assert line.endswith(f"{new} stands in for it")
            assert new in voxels_found(b)
            assert new in lanes[b.epoch_B[0], b.keys.index(new) % 2]
            assert b.seeds[b.keys.index(new)] == f"{new} for {old}"
    tails = [
        take(load_index(cfg, "train", 0), cfg, RankSlice(4, r, 2), batches[1].position, 10) for r in (0, 1)
    ]
    for k, batch in enumerate(batches[2:]):  # the same one stands in, whoever reads and from wherever
        assert tuple(np.ravel([[tails[0][k].keys[i], tails[1][k].keys[i]] for i in (0, 1)])) == batch.keys


def voxels_found(batch: Batch) -> list[str]:
    """The keys whose voxels are indeed in the batch."""
    return [
        key
        for slot, key in enumerate(batch.keys)
        if any(
            np.array_equal(batch.voxels_BDHW[slot, :6, :20].numpy(), voxels_of(key, SHAPE)[:, :, i : i + 16])
            for i in range(9)
        )
    ]


def test_substitutes_are_few_or_the_run_stops(shards: str, tmp_path: Path) -> None:
    copy, _ = damaged(shards, tmp_path, flipped)
    cfg = config_of(copy, "data.on_bad_sample=substitute", "data.max_substitutes=0")
    with pytest.raises(BadSample, match=r"none could stand in for it in data\.max_substitutes=0 tries"):
        take(load_index(cfg, "train", 0), cfg, WHOLE, START, 5)
    text = (
        r"xxh3 .*stands in for it; that makes 2 substitutes in epoch 0, want at most data\.max_substitutes=1"
    )
    two, _ = damaged(
        copy, tmp_path / "two", lambda data, row: flipped(data, dataclasses.replace(row, offset=0))
    )
    lengths = []
    for threads in (1, 4):  # what is prefetched is not charged before its turn
        cfg = config_of(
            two, "data.on_bad_sample=substitute", "data.max_substitutes=1", f"data.threads={threads}"
        )
        batches = loader.train_batches(load_index(cfg, "train", 0), cfg, WHOLE, START, WAY)
        with pytest.raises(BadSample, match=text):  # noqa: PT012 (the batches before the error are counted)
            lengths.append(0)
            while True:
                next(batches)
                lengths[-1] += 1
    assert lengths[0] == lengths[1] > 0
    with pytest.raises(UsageError, match=r"data\.on_bad_sample=skip: want raise or substitute"):
        config_of(copy, "data.on_bad_sample=skip")


def test_evaluation_takes_no_substitutes(shards: str, tmp_path: Path) -> None:
    copy, _ = damaged(shards, tmp_path, flipped)
    cfg = config_of(copy, "data.on_bad_sample=substitute")
    with pytest.raises(BadSample, match="xxh3"):
        list(loader.eval_batches(load_index(cfg, "train", 0), cfg, WHOLE, 0, WAY))


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damage_at_every_block_is_an_error_or_changes_nothing(
    shards: str, tmp_path: Path, damage: str
) -> None:
    """A byte of each 512 flipped, or the shard cut there: what is given is right, and whole, or an error."""
    copy = remote_copy(shards, str(tmp_path))
    cfg = config_of(copy)
    index = load_index(cfg, "train", 0)
    path = Path(index.samples[0].shard.url)
    intact = path.read_bytes()

    def everything() -> list[Batch]:
        return list(loader.eval_batches(index, cfg, WHOLE, 0, WAY))

    whole = everything()
    for at in range(0, len(intact), 512):
        data = bytearray(intact)
        data[at + at // 512 % 512] ^= 1 << at // 512 % 8
        path.write_bytes(intact[:at] if damage == "cut" else bytes(data))
        if damage == "flip" and at >= index.samples[4].stop:  # the end of archive, which holds no sample
            assert same(everything(), whole)
            continue
        with pytest.raises(BadSample, match=rf"{path} at \d+ \(train00\d-device-proto-l-\w+\): "):
            everything()


KILLED = """
import contextlib, json, os, random, signal, sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
import numpy as np
from tests.support.tiny_run import config_for
from octshard.stream import loader
from octshard.devices.buffers import BufferPool
from octshard.stream.sampler import StreamPosition
from octshard.stream.batch import BatchTransform, RankSlice
from octshard.stream.index import load_index

cfg = config_for({shards!r}, "nowhere", "data.threads=2")
log = Path({log!r})

def read(readers, until):
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    start = StreamPosition(*lines[-1][1]) if lines else StreamPosition(0, 0)
    table = load_index(cfg, "train", 0)
    way = BatchTransform(lambda batch: batch, BufferPool().empty)
    with contextlib.ExitStack() as stack, open(log, "a") as file:
        streams = [stack.enter_context(contextlib.closing(
            loader.train_batches(table, cfg, RankSlice(8, r, readers), start, way))) for r in range(readers)]
        for _ in range(until - len(lines)):
            parts = [next(one) for one in streams]
            assert len({{part.position for part in parts}}) == 1
            keys = np.array([part.keys for part in parts]).T.ravel().tolist()
            file.write(json.dumps([keys, parts[0].position]) + "\\n")
            file.flush()  # one write: a line is whole or is not there

def written():
    return log.stat().st_size if log.exists() else 0

rng = random.Random(0)
kills = 0
while True:
    child = os.fork()
    if child == 0:
        read(rng.choice([1, 2, 4]), {batches})
        os._exit(0)
    if kills < {kills}:
        until = written() + rng.randrange(1, 4000)  # bytes
        while os.waitpid(child, os.WNOHANG) == (0, 0) and written() < until:
            time.sleep(0.0005)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        kills += 1
        rng.random()
        continue
    assert os.waitpid(child, 0)[1] == 0
    break
"""


def test_killed_twenty_times_with_other_readers_each_time_it_is_the_undisturbed_run(tmp_path: Path) -> None:
    shards = write_dataset(tmp_path / "data", {"train": 133})
    logs = []
    for kills in (0, 20):
        log = tmp_path / f"{kills}.jsonl"
        script = KILLED.format(
            tests=str(Path(__file__).parents[2]), shards=shards, log=str(log), batches=150, kills=kills
        )
        subprocess.run([sys.executable, "-c", script], timeout=400, check=True)
        logs.append([json.loads(line) for line in log.read_text().splitlines()])
    assert logs[0] == logs[1]
    assert len(logs[1]) == 150
    assert logs[1][-1][1][0] > 5  # epochs


def test_a_copy_that_rots_in_the_cache_is_read_again_from_the_store(shards: str, tmp_path: Path) -> None:
    """The damage is the cache's, not the sample's: nothing is substituted, nothing stops, a line is said."""
    far = remote_copy(shards, f"memory://{uuid.uuid4().hex}")
    cfg = config_of(
        far, f"data.cache_dir={tmp_path}", "data.on_bad_sample=substitute", "data.read_ahead_bytes=1"
    )
    transform = BatchTransform(lambda batch: batch, BufferPool().empty)
    index = load_index(cfg, "train", 0)
    with (
        log_lines() as logged,
        contextlib.closing(loader.train_batches(index, cfg, WHOLE, START, transform)) as batches,
    ):
        results = list(islice(batches, 8))
        for _ in range(200):  # epochs, until all four shards are there
            if len(list(tmp_path.glob("*.tar"))) == 4:
                break
            results += list(islice(batches, 4))
        results += list(islice(batches, 8))  # each is opened
        for copy in tmp_path.glob("*.tar"):
            data = bytearray(copy.read_bytes())
            for entry in index.samples:
                if entry.start + 900 < len(data):
                    data[entry.start + 900] ^= 1
            with open(copy, "r+b") as file:  # the same file, as a failing disk would have it
                file.write(data)
        results += list(islice(batches, 12))
    near = config_of(shards)
    assert same(take(load_index(near, "train", 0), near, WHOLE, START, len(results)), results)
    assert not any(batch.substituted for batch in results)
    assert any("a damaged copy, read from the store instead" in line for line in logged)
