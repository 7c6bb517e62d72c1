"""Shards made by processes of this machine."""

from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

from octshard import pool
from octshard.prep.build import shard_writer
from octshard.prep.build.progress import ProgressCounter
from octshard.prep.build.work import Work
from octshard.prep.convert import sample
from octshard.prep.convert.worker_pool import WorkerPool
from octshard.prep.plan import ShardPlan
from octshard.storage import store


def make_shards(shards: Sequence[ShardPlan], work: Work) -> None:
    """Some shards at once, so that no child waits while one is being closed; all share the same children."""
    cfg = work.job.cfg
    if cfg.src.startswith("memory://"):  # which no other process can see
        for one in shards:
            todo = shard_writer.tasks(one, work.duplicate_of)
            _build_named(
                work.folder, one, (sample.convert(task, cfg, work.job.source) for task in todo), work.count
            )
        return
    workers = min(pool.worker_count(cfg.workers), sum(len(one.members) for one in shards))
    with (
        ThreadPoolExecutor(min(len(shards), 2 + workers // 8), "conductor") as conductors,
        WorkerPool(work.job, workers) as children,
    ):

        def conduct(one: ShardPlan) -> None:
            made = children.in_order(shard_writer.tasks(one, work.duplicate_of))
            _build_named(work.folder, one, made, work.count)

        futures = [conductors.submit(conduct, one) for one in shards]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            conductors.shutdown(wait=False, cancel_futures=True)
            raise


def _build_named(folder: str, one: ShardPlan, made: Any, count: ProgressCounter) -> None:
    """Builds a shard; an error says which one it was."""
    try:
        shard_writer.build_shard(one, made, folder, count.add)
    except store.StoreError as error:
        raise store.StoreError(f"{folder}: {one.name}: {error}") from error
