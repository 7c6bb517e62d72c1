"""Memory, disk and limits of this machine, containers' limits included."""

import resource
import tempfile
from functools import partial
from pathlib import Path

from octshard.config.train import DataConfig
from octshard.devices.host_memory import CGROUP, CGROUPS, MEMINFO, cgroup_folders, free_memory
from octshard.doctor.checks import Check, attempt
from octshard.errors import OctshardError
from octshard.pool import worker_count
from octshard.storage import store

WORKER_BYTES = 600_000_000  # a prep worker with the greatest real scan (docs/prep.md)
SPARE_BYTES = 2_000_000_000  # beside the workers (docs/prep.md)
DISK_BYTES = 5_000_000_000  # less on a disk is worth a word
OPEN_FILES = 1024


def checks(cache_dir: str) -> list[Check]:
    """Memory, cores, the current folder, TMPDIR, the cache folder if one is named, open files."""
    folders = {"current folder": ".", "TMPDIR": tempfile.gettempdir()}
    return [
        attempt("memory", lambda: check_memory(_free_memory(), worker_count(0))),
        attempt("CPU limit", lambda: check_cores(core_limit(), worker_count(0))),
        *(attempt(name, partial(check_folder, name, path, DISK_BYTES)) for name, path in folders.items()),
        *([attempt("cache folder", lambda: check_cache(cache_dir))] if cache_dir else []),
        attempt("open files", lambda: check_open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))),
    ]


def _free_memory() -> int:
    free = free_memory()
    if free is None:
        raise OctshardError(f"{MEMINFO}: not there, want it to see how much memory is free")
    return free


def check_memory(free: int, workers: int) -> Check:
    """Against what `prep shard` takes with one worker for each core."""
    need = SPARE_BYTES + workers * WORKER_BYTES
    text = f"{gigabytes(free)} free, prep with {workers} workers takes {gigabytes(need)}"
    if free >= need:
        return Check("memory", "pass", text)
    fitting = max(1, (free - SPARE_BYTES) // WORKER_BYTES)
    return Check("memory", "warn", text, f"octshard prep shard --workers {fitting}")


def check_cores(limit: float | None, usable: int) -> Check:
    """limit: cores that the container may use at once."""
    if limit is None or limit >= usable:
        return Check("CPU limit", "pass", f"none below the {usable} cores")
    advice = f"octshard prep shard --workers {max(1, int(limit))}, data.threads and run.cpu_threads likewise"
    return Check("CPU limit", "warn", f"{limit:g} cores of the {usable} that processes see", advice)


def check_folder(name: str, path: str, enough: int) -> Check:
    """Free space, and that a file can be made there; the file has no name and goes at once."""
    free = store.free_bytes(path)
    assert free is not None  # a local path
    place = next(at for at in (Path(path).absolute(), *Path(path).absolute().parents) if at.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"octshard")
    except OSError as error:
        text = f"{path}: cannot be written ({error.strerror})"
        return Check(name, "fail", text, "choose another folder, or ask its owner")
    text = f"{path}: {gigabytes(free)} free"
    if free >= enough:
        return Check(name, "pass", text)
    return Check(name, "warn", text, f"free some space, {gigabytes(enough)} are wanted")


def check_cache(path: str) -> Check:
    """A folder for data.cache_dir, which takes data.cache_bytes."""
    if store.is_remote(path):
        raise OctshardError(f"{path}: want a local folder for whole shards (data.cache_dir)")
    check = check_folder("cache folder", path, DataConfig().cache_bytes)
    if check.status != "warn":
        return check
    free = store.free_bytes(path) or 0
    return Check(check.name, check.status, check.found, f"set data.cache_bytes below {free}")


def check_open_files(soft: int, hard: int) -> Check:
    """soft and hard: what getrlimit(RLIMIT_NOFILE) says."""
    text = "no limit" if soft == resource.RLIM_INFINITY else f"at most {soft}"
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return Check("open files", "pass", text)
    allowed = hard == resource.RLIM_INFINITY or hard >= OPEN_FILES
    return Check("open files", "warn", text, f"ulimit -n {OPEN_FILES if allowed else hard}")


def core_limit() -> float | None:
    """The fewest cores that any group of this process may use at once; None without a limit."""
    limits = []
    for folder in cgroup_folders(CGROUPS.read_text(), CGROUP, "cpu"):
        if (folder / "cpu.max").exists():  # v2: quota and period in one file
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            files = (folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
            quota, period = (file.read_text().strip() if file.exists() else "-1" for file in files)
        if quota.isdigit() and int(period) > 0:
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
