"""All checks of this machine, side by side; foreign code in processes of its own, each with a time limit."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from octshard.doctor import accelerators, codecs, resources, stores, versions
from octshard.doctor.checks import Check, failure
from octshard.doctor.child_process import checks_in_child
from octshard.doctor.report import Report

Job = tuple[str, Callable[[], list[Check]]]  # the title of a group, and what makes some of its checks

LIMIT_S = 60.0  # of the checks in one process; they take seconds
OVERLOADED = "is this machine overloaded, or its disk? Run it again"
DRIVER = "the driver hangs: look for other processes on the GPU, and restart the machine"
TPU = "the TPU runtime hangs: another process may hold the TPU; or set PJRT_DEVICE=CPU"


def examine(urls: Sequence[str], cache_dir: str, *, write: bool) -> Report:
    """Every group of checks. urls: further places to ask; `write` puts a small object at each of them."""
    jobs: list[Job] = [
        ("versions", versions.checks),
        ("versions", partial(_child, "numba cache", OVERLOADED, versions.compile_cache)),
        ("codecs", partial(_child, "codecs", OVERLOADED, codecs.checks)),
        ("accelerators", partial(_child, "torch", DRIVER, accelerators.torch_checks)),
        ("accelerators", partial(_child, "XLA", TPU, accelerators.xla_checks)),
        ("machine", partial(resources.checks, cache_dir)),
        *((url, partial(_store, url, write=write)) for url in dict.fromkeys(urls)),
    ]
    groups: dict[str, list[Check]] = {title: [] for title, _ in jobs}
    before = set(multiprocessing.active_children())
    with ThreadPoolExecutor(len(jobs)) as pool:
        try:
            for (title, _), checks in zip(jobs, pool.map(_guarded, jobs), strict=True):
                groups[title] += checks
        except BaseException:  # Ctrl-C: the children do not hear it
            for process in set(multiprocessing.active_children()) - before:
                process.kill()
            raise
    return Report(groups)


def _guarded(job: Job) -> list[Check]:
    title, function = job
    try:
        return function()
    except Exception as error:  # what no check expected must not hide the other groups
        return [failure(title, error)]


def _child(name: str, advice: str, function: Callable[[], list[Check]]) -> list[Check]:
    return checks_in_child(name, LIMIT_S, advice, function)


def _store(url: str, *, write: bool) -> list[Check]:
    return checks_in_child("list", stores.ANSWER_S, stores.NETWORK, stores.checks, url, write)
