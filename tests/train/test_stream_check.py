"""What stream-check prints: the simulation, a rate for each stage, and advice on the slowest."""

import re
import uuid
from pathlib import Path

import pytest

from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.storage import store
from octshard.stream import simulate
from octshard.stream.index import load_index
from octshard.train import stream_check
from octshard.train.stream_check import Rate
from tests.support.log_lines import log_lines
from tests.support.tiny_run import config_for, write_dataset


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    names = [
        write_dataset(folder / name, {"train": n}, device=name) for name, n in (("one", 64), ("two", 32))
    ]
    return ",".join(names)


def config_of(shards: str, *more: str) -> TrainConfig:
    return config_for(shards, "nowhere", "run.epochs=1", *more)


def test_the_slowest_stage_is_named_with_what_helps(shards: str) -> None:
    rates = [Rate("read", 50, 1), Rate("unpack", 30, 1), Rate("stream", 20, 1)]
    assert stream_check.bottleneck(rates).stage == "unpack"
    cfg = config_of(shards, "data.read_ahead_bytes=1000")
    index = load_index(cfg, "train", 0)
    simulation = simulate.simulate(index, cfg, 4, 1)
    assert "data.threads=2" in stream_check.advice(rates[1], simulation, index, cfg)
    assert "faster disk" in stream_check.advice(rates[0], simulation, index, cfg)
    far = f"memory://{uuid.uuid4().hex}"
    for name in store.list_names(shards.split(",")[0]):
        store.write(f"{far}/{name}", store.read(f"{shards.split(',')[0]}/{name}"))
    remote = config_of(far, "data.read_ahead_bytes=1000")
    remote_index = load_index(remote, "train", 0)
    assert "more than data.read_ahead_bytes" in stream_check.advice(
        rates[0], simulation, remote_index, remote
    )
    roomy = config_of(far)
    assert "data.connections=4" in stream_check.advice(rates[0], simulation, remote_index, roomy)


def test_every_stage_is_measured_and_said(shards: str) -> None:
    lines = list(stream_check.lines(config_of(shards), 2, 4, 0.01))
    stages = [line.split()[0] for line in lines if "volumes/s" in line and "MB/s" in line]
    assert stages == ["read", "unpack", "stream"]
    assert lines[-1].startswith("bottleneck of one reader: ")
    assert "numbers of readers that give this same order: 1, 2, 4" in lines
    short = list(stream_check.lines(config_of(shards), 2, 4, 0))
    assert short == lines[: len(short)]
    assert not any("bottleneck" in line for line in short)


def test_readers_that_do_not_fit_and_empty_tables_are_one_line(shards: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 readers, want a power of two"):
        list(stream_check.lines(config_of(shards), 3, 4, 0))
    empty = write_dataset(tmp_path / "empty", {"val": 3})
    with pytest.raises(UsageError, match="0 usable train samples"):
        list(stream_check.lines(config_of(empty), 1, 0, 0))


@pytest.mark.parametrize(
    "wrong",
    [
        "data.connections=0",
        "data.threads=0",
        "data.lanes=0",
        "data.shuffle_block_size=0",
        "run.per_device_batch=0",
    ],
)
def test_what_train_refuses_is_refused(shards: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=f"{re.escape(wrong)}: want at least 1"):
        list(stream_check.lines(config_of(shards, wrong), 1, 0, 0.01))


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_time_without_end_or_before_the_start_is_refused(shards: str, seconds: float) -> None:
    with pytest.raises(UsageError, match=r"seconds=.*want 0 to 86400"):
        list(stream_check.lines(config_of(shards), 1, 0, seconds))


def test_trouble_of_the_cache_is_logged(shards: str, tmp_path: Path) -> None:
    far = f"memory://{uuid.uuid4().hex}"
    first = shards.split(",")[0]
    for name in store.list_names(first):
        store.write(f"{far}/{name}", store.read(f"{first}/{name}"))
    (tmp_path / "file").touch()
    cfg = config_of(far, f"data.cache_dir={tmp_path}/file/cache", "data.read_ahead_bytes=0")
    with log_lines() as logged:
        list(stream_check.lines(cfg, 1, 0, 0.01))
    assert any(str(tmp_path / "file") in line for line in logged)
