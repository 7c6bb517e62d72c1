"""The stream: the order of `order`, each sample verified, cropped, padded; errors reach the consumer."""

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_run import SHAPE, config_for, voxels_of, write_dataset

from octshard import manifest
from octshard.config import TrainConfig
from octshard.errors import OctshardError, UsageError
from octshard.shard import BadSample
from octshard.train import order, reading, stream
from octshard.train.buffers import Buffers
from octshard.train.order import StreamPosition
from octshard.train.reading import Scratch
from octshard.train.stream import Batch, Share, Way
from octshard.train.table import Entry, Table, open_table, order_of, want_separate

WHOLE = Share(4, 0, 1)
START = StreamPosition(0, 0)


def way_of(prepare: Callable[[Batch], Any]) -> Way[Any]:
    return Way(prepare, Buffers().take, pytest.fail)


WAY: Way[Batch] = way_of(lambda batch: batch)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 17, "val": 6})


def config_of(shards: str, *more: str) -> TrainConfig:
    return config_for(shards, "nowhere", "run.epochs=1", *more)


def take(table: Table, cfg: TrainConfig, share: Share, start: StreamPosition, batches: int) -> list[Batch]:
    with contextlib.closing(stream.training(table, cfg, share, start, WAY)) as found:
        return list(islice(found, batches))


def test_the_table_lists_what_is_there(shards: str) -> None:
    table = open_table(config_of(shards), "train", 0)
    assert table.samples_per_shard == (5, 5, 5, 2)
    assert [entry.row.key[:8] for entry in table.entries] == [f"train{i:03d}" for i in range(17)]
    assert (table.left_out, table.refused) == ((), 1)


def test_datasets_are_joined_in_config_order(shards: str, tmp_path: Path) -> None:
    second = write_dataset(tmp_path / "other", {"train": 3}, device="other")
    table = open_table(config_of(f"{second},{shards}"), "train", 0)
    assert table.samples_per_shard == (3, 5, 5, 5, 2)
    assert table.entries[0].shard.url.startswith(second)
    assert table.digest != open_table(config_of(f"{shards},{second}"), "train", 0).digest


def test_volumes_with_too_few_tokens_are_left_out_and_named(shards: str, tmp_path: Path) -> None:
    """(6, 20, 24) in (8, 32, 16) with patches (2, 8, 8) fills 3 x 3 x 2 = 18 tokens."""
    small = write_dataset(tmp_path / "small", {"train": 2}, (2, 8, 8))
    table = open_table(config_of(f"{shards},{small}"), "train", 18)
    assert len(table.entries) == 17
    assert len(table.left_out) == 2
    assert len(open_table(config_of(shards), "train", 19).entries) == 0


def test_batches_follow_the_order_and_hold_the_stored_voxels(shards: str) -> None:
    cfg = config_of(shards, "data.threads=3")
    table = open_table(cfg, "train", 0)
    expected = order.draws(order_of(table, cfg), START, 4, 0, 1)
    for batch, draw in zip(take(table, cfg, WHOLE, START, 9), expected, strict=False):
        assert batch.keys == tuple(table.entries[i].row.key for i in draw.samples_B)
        assert batch.epoch_B == tuple(draw.passes_B)
        assert (batch.position, batch.count) == (draw.position, 4)
        assert batch.voxels_BDHW.shape == (4, 8, 32, 16)
        assert batch.valid_B3.tolist() == [[6, 20, 16]] * 4
        for slot, key in enumerate(batch.keys):
            found, whole = batch.voxels_BDHW[slot].numpy(), voxels_of(key, SHAPE)
            crops = [whole[:, :, first : first + 16] for first in range(9)]
            assert any(np.array_equal(found[:6, :20], crop) for crop in crops)
            assert not found[6:].any()
            assert not found[:, 20:].any()
            assert batch.mean_B[slot].item() == pytest.approx(whole.mean(), rel=1e-5)
            assert batch.std_B[slot].item() == pytest.approx(whole.std(), rel=1e-5)


def test_crops_follow_seed_epoch_and_key_alone(shards: str) -> None:
    one, two = (
        config_of(shards, "data.threads=1"),
        config_of(shards, "data.threads=4", "data.prefetch_bytes=1", "data.read_ahead_bytes=1"),
    )
    table = open_table(one, "train", 0)
    for a, b in zip(take(table, one, WHOLE, START, 9), take(table, two, WHOLE, START, 9), strict=True):
        assert np.array_equal(a.voxels_BDHW, b.voxels_BDHW)
    places = {stream.window((6, 20, 24), (8, 32, 16), np.random.default_rng(i))[2].start for i in range(99)}
    assert places == set(range(9))


def test_readers_and_resumes_give_the_tail_of_the_same_batches(shards: str) -> None:
    cfg = config_of(shards)
    table = open_table(cfg, "train", 0)
    whole = take(table, cfg, WHOLE, START, 8)
    tails = [take(table, cfg, Share(4, reader, 2), whole[2].position, 5) for reader in (0, 1)]
    for k, batch in enumerate(whole[3:]):
        for reader in (0, 1):
            assert tails[reader][k].keys == batch.keys[reader::2]
            assert np.array_equal(tails[reader][k].voxels_BDHW, batch.voxels_BDHW[reader::2])


def test_evaluation_sees_all_once_in_table_order_with_centre_crops(shards: str) -> None:
    cfg = config_of(shards)
    table = open_table(cfg, "val", 0)
    batches = list(stream.evaluation(table, cfg, WHOLE, 0, WAY))
    assert [(batch.count, len(batch.keys)) for batch in batches] == [(4, 4), (2, 4)]
    seen = [key for batch in batches for key in batch.keys[: batch.count]]
    assert seen == [entry.row.key for entry in table.entries]
    centre = voxels_of(batches[1].keys[0], SHAPE)[:, :, 4:20]
    assert np.array_equal(batches[1].voxels_BDHW[0, :6, :20].numpy(), centre)
    assert len(list(stream.evaluation(table, cfg, WHOLE, 3, WAY))) == 1


def test_a_limited_evaluation_takes_its_share_of_every_dataset(tmp_path: Path) -> None:
    """Else the validation loss of several devices would be that of the first."""
    folders = [write_dataset(tmp_path / name, {"val": 8}, device=name) for name in ("one", "two", "three")]
    cfg = config_of(",".join(folders))
    table = open_table(cfg, "val", 0)
    batches = list(stream.evaluation(table, cfg, WHOLE, 12, WAY))
    devices = [key.split("-")[1] for batch in batches for key in batch.keys[: batch.count]]
    assert devices == ["one"] * 4 + ["two"] * 4 + ["three"] * 4


def test_a_volume_in_two_datasets_is_refused(shards: str) -> None:
    with pytest.raises(UsageError, match=r"17 volumes stand in more than one of them, want each once"):
        open_table(config_of(f"{shards},{shards}"), "train", 0)


def test_a_participant_in_train_and_val_is_refused(shards: str, tmp_path: Path) -> None:
    train = open_table(config_of(shards), "train", 0)
    val = open_table(config_of(shards), "val", 0)
    want_separate(train, val)
    with pytest.raises(UsageError, match=r"participants stand in train and in val, want none"):
        want_separate(train, train)


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_bad_shard_names_shard_offset_and_key(tmp_path: Path, damage: str) -> None:
    cfg = config_of(write_dataset(tmp_path / "data", {"train": 8}))
    table = open_table(cfg, "train", 0)
    last = table.entries[-1]
    path = Path(last.shard.url)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[last.row.offset + 700] ^= 1  # type: ignore[operator]
    path.write_bytes(data[: last.row.offset + 512] if damage == "cut" else data)  # type: ignore[operator]
    if damage == "gone":
        path.unlink()
    wanted = OctshardError if damage == "gone" else BadSample
    with pytest.raises(wanted, match=r"train-000001.tar at \d+ \(train00\d") as raised:
        take(table, cfg, WHOLE, START, 4)
    assert "\n" not in str(raised.value)


def test_an_error_in_prepare_reaches_the_consumer_at_its_turn(shards: str) -> None:
    cfg = config_of(shards)
    table = open_table(cfg, "train", 0)

    def prepare(batch: Batch) -> Batch:
        if batch.position.samples_seen == 12:
            raise ZeroDivisionError("third batch")
        return batch

    batches = stream.training(table, cfg, WHOLE, START, way_of(prepare))
    assert [next(batches).position.samples_seen for _ in range(2)] == [4, 8]
    with pytest.raises(ZeroDivisionError, match="third batch"):
        next(batches)


def test_prefetch_is_bounded_and_closing_stops_the_threads(
    shards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config_of(shards, f"data.prefetch_bytes={2 * 4 * 8 * 32 * 16}", "data.read_ahead_bytes=1")
    table = open_table(cfg, "train", 0)
    reads: list[str] = []
    read_local = reading.read_local

    def counted(entry: Entry, path: str, scratch: Scratch) -> memoryview:
        reads.append(path)
        return read_local(entry, path, scratch)

    monkeypatch.setattr(reading, "read_local", counted)
    batches = stream.training(table, cfg, WHOLE, START, WAY)
    next(batches)
    batches.close()
    assert len(reads) <= 4 * (1 + 2 + 1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stream")]


def test_voxels_that_the_table_denies_are_an_error(shards: str) -> None:
    cfg = config_of(shards)
    table = open_table(cfg, "train", 0)
    entry = table.entries[0]
    wrong = dataclasses.replace(entry, row=dataclasses.replace(entry.row, shape_out=(6, 24, 20)))
    with pytest.raises(OctshardError, match=r"\(6, 20, 24\), want uint8\(6, 24, 20\)"):
        take(dataclasses.replace(table, entries=(wrong,) * 17), cfg, WHOLE, START, 1)


def test_no_shards_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.shards: empty"):
        open_table(config_for("", tmp_path), "train", 0)
    with pytest.raises(UsageError, match=manifest.INFO):
        open_table(config_of(str(tmp_path)), "train", 0)
