"""The stream on a store with latency and slow connections, beside the limit of such a store.

Each of c connections waits `LATENCY_S` for a reply and then gets `BYTES_PER_S`: with requests of 16 MB the
limit is c x 16 MB / (50 ms + 16 / 60 s).
"""

import contextlib
import itertools
import os
import time
from pathlib import Path

import slow_store
from formats import Volumes, shards
from table import SectionResult, Table, Target, at_least

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.devices.buffers import BufferPool
from octshard.stream import loader
from octshard.stream.batch import Batch, BatchTransform, RankSlice
from octshard.stream.index import load_index
from octshard.stream.sampler import StreamPosition

LATENCY_S, BYTES_PER_S, REQUEST = 0.05, 60e6, 16e6
FAULTS = 0.05
BATCH = 2


def store(volumes: Volumes, work: Path, *, quick: bool) -> SectionResult:
    """Bytes a second of the whole stream, decompression included, for 1, 2 and 4 connections."""
    folder = shards(volumes, work)
    rows, targets = [], list[Target]()
    undisturbed = _run(str(folder), 4, volumes)[0]
    for connections, faults in ((1, 0.0), (2, 0.0), (4, 0.0), (4, FAULTS)):
        if quick and connections < 4:
            continue
        with slow_store.serving(
            folder, latency_s=LATENCY_S, bytes_per_s=BYTES_PER_S, fault_share=faults, seed=connections
        ) as endpoint:
            keys, rate, cpu = _from(endpoint, connections, volumes)
        ceiling = connections * REQUEST / (LATENCY_S + REQUEST / BYTES_PER_S)
        same = "yes" if keys == undisturbed[: len(keys)] else "NO"
        rows.append((connections, f"{faults:.0%}", ceiling / 1e6, rate / 1e6, rate / ceiling, cpu, same))
        if not faults:
            what = f"stream / ceiling, {connections} connection{'s' * (connections > 1)}"
            targets.append(at_least(what, 0.9, rate / ceiling))
        else:
            targets.append(at_least("same samples with 5 % of requests failing", 1, float(same == "yes"), ""))
    head = ("connections", "failing", "ceiling MB/s", "stream MB/s", "ratio", "CPU s per GB", "same order")
    return [Table("store with 50 ms latency and 60 MB/s a connection", head, tuple(rows))], targets


def _from(endpoint: str, connections: int, volumes: Volumes) -> tuple[list[str], float, float]:
    before = os.environ.get("STORAGE_EMULATOR_HOST")
    os.environ["STORAGE_EMULATOR_HOST"] = endpoint
    try:
        return _run(f"gs://{slow_store.BUCKET}", connections, volumes)
    finally:
        if before is None:
            del os.environ["STORAGE_EMULATOR_HOST"]
        else:
            os.environ["STORAGE_EMULATOR_HOST"] = before


def _run(url: str, connections: int, volumes: Volumes) -> tuple[list[str], float, float]:
    """(keys in order, stored bytes a second, CPU s per GB of them), after an eighth of the volumes."""
    cfg = load(TrainConfig, [], [f"data.shards=[{url}]", "run.epochs=1", f"data.connections={connections}"])
    index = load_index(cfg, "train", 0)
    size = {sample.row.key: sample.stop - sample.start for sample in index.samples}
    transform: BatchTransform[Batch] = BatchTransform(lambda batch: batch, BufferPool().empty)
    batches = loader.train_batches(index, cfg, RankSlice(BATCH, 0, 1), StreamPosition(0, 0), transform)
    keys: list[str] = []
    with contextlib.closing(batches):
        for batch in itertools.islice(batches, volumes.count // BATCH // 8):
            keys += batch.keys
        warm_up, cpu, wall = len(keys), time.process_time(), time.perf_counter()
        for batch in itertools.islice(batches, volumes.count // BATCH):
            keys += batch.keys
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    nbytes = sum(size[key] for key in keys[warm_up:])
    return keys, nbytes / wall, cpu / nbytes * 1e9
