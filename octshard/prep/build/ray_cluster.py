"""Builds shards with the workers of a Ray cluster; the only ray import."""

import logging
import signal
from collections.abc import Sequence
from typing import Any

from octshard.config.prep import PrepConfig
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.extras import install_advice
from octshard.prep.build import shard_writer
from octshard.prep.build.work import Work
from octshard.prep.convert.worker import WorkerJob
from octshard.prep.convert.worker_pool import WorkerPool
from octshard.prep.plan import Member, ShardPlan
from octshard.storage import follow, lease, store
from octshard.storage.follow import Ticket

logger = logging.getLogger(__name__)

SHARDS_AHEAD = 2  # shards per core of a cluster that are submitted before the first is done
RETRIES = 3  # of a shard whose Ray worker or machine died
LOOK_S = 5.0  # between two looks whether the folder is still ours
CANCELLED_S = 60.0  # that cancelled tasks may take to end


def make_shards(plans: Sequence[ShardPlan], work: Work) -> None:
    """One task per shard, a bounded number submitted at once; plans and rows are sent, never a volume."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        _submit_all(plans, work, _ray(work))
    finally:
        _restore_sigterm(before)


def _restore_sigterm(before: Any) -> None:
    """Puts back the SIGTERM handler that Ray replaces when it starts in the main thread."""
    if before is not None and signal.getsignal(signal.SIGTERM) is not before:
        signal.signal(signal.SIGTERM, before)


def _submit_all(plans: Sequence[ShardPlan], work: Work, ray: Any) -> None:
    job = ray.put((work.job, work.duplicate_of, follow.ticket(work.folder)))
    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_shard_on_ray)
    ahead = SHARDS_AHEAD * _cores_of(ray)
    waiting, running = list(reversed(plans)), dict[Any, str]()
    try:
        while waiting or running:
            while waiting and len(running) < ahead:
                plan = waiting.pop()
                running[remote.remote(plan, job, work.folder)] = plan.name
            ready, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_S)
            lease.seconds_left(store.join(work.folder, "tables"))  # no tasks for a folder that is lost
            for reference in ready:
                name = running.pop(reference)
                try:
                    rows = ray.get(reference)
                except ray.exceptions.RayError as error:
                    text = str(getattr(error, "cause", None) or error).strip().splitlines()
                    raise OctshardError(f"{work.folder}: {name}: {text[-1] if text else error!r}") from error
                for row in rows:
                    work.count.add(row)
    finally:  # no task may still write when the next run starts
        for reference in running:
            ray.cancel(reference, force=True)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=CANCELLED_S)


def workers(cfg: PrepConfig) -> int:
    """The cores of the whole cluster, whatever cfg.workers says."""
    return _cores_of(_connected())


def _cores_of(ray: Any) -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _ray(work: Work) -> Any:
    ray = _connected()
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    for name, url in (("src", work.job.cfg.src), ("dst", work.job.cfg.dst)):
        if nodes > 1 and not store.is_remote(url):
            logger.info(
                "%s=%s: a local path, which all %d machines of the cluster must share", name, url, nodes
            )
    return ray


def _connected() -> Any:
    """Ray, connected to the cluster of RAY_ADDRESS, or to one on this machine, else to a small new one."""
    try:
        import ray
    except ImportError as error:
        raise UsageError(f"engine=ray: Ray is not installed; {install_advice('ray')}") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    return ray


def _shard_on_ray(
    plan: ShardPlan, shared: tuple[WorkerJob, dict[Member, str], Ticket | None], folder: str
) -> list[SampleRow]:
    """Runs in a worker of the cluster, with one child process for the decoding."""
    job, duplicate_of, ticket = shared
    rows: list[SampleRow] = []
    with follow.followed(ticket), WorkerPool(job, 1) as workers:
        shard_writer.build_shard(
            plan, workers.in_order(shard_writer.tasks(plan, duplicate_of)), folder, rows.append
        )
    return rows
