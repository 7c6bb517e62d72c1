"""Builds shards with processes of this machine."""

from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from typing import Any

from octshard import pool
from octshard.config.prep import PrepConfig
from octshard.prep.build import shard_writer
from octshard.prep.build.progress import ProgressCounter
from octshard.prep.build.work import Work
from octshard.prep.convert import sample
from octshard.prep.convert.worker_pool import WorkerPool
from octshard.prep.plan import ShardPlan
from octshard.storage import store, transport


def make_shards(plans: Sequence[ShardPlan], work: Work) -> None:
    """Several shards at once, so that no worker waits while a shard is closed; all share the same workers."""
    cfg = work.job.cfg
    if cfg.src.startswith("memory://"):  # no other process can read it
        for plan in plans:
            todo = shard_writer.tasks(plan, work.duplicate_of)
            _build_named(
                work.folder, plan, (sample.convert(task, cfg, work.job.source) for task in todo), work.count
            )
        return
    size = min(workers(cfg), sum(len(plan.members) for plan in plans))
    with (
        transport.thread_pool(min(len(plans), 2 + size // 8), "shard") as threads,
        WorkerPool(work.job, size) as worker_pool,
    ):

        def build(plan: ShardPlan) -> None:
            samples = worker_pool.in_order(shard_writer.tasks(plan, work.duplicate_of))
            _build_named(work.folder, plan, samples, work.count)

        futures = [threads.submit(build, plan) for plan in plans]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)  # before the children are ended
            raise


def workers(cfg: PrepConfig) -> int:
    """Processes that convert files."""
    return pool.worker_count(cfg.workers)


def _build_named(folder: str, plan: ShardPlan, samples: Any, count: ProgressCounter) -> None:
    """Builds a shard; a StoreError names it."""
    try:
        shard_writer.build_shard(plan, samples, folder, count.add)
    except store.StoreError as error:
        raise store.StoreError(f"{folder}: {plan.name}: {error}") from error
