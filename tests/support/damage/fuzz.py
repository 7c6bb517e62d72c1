"""Runs judges over thousands of inputs in a process of bounded memory, and counts what became of them."""

import multiprocessing
import os
import resource
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.damage import datasets
from tests.support.damage.judges import FolderJudge, TableJudge, Verdict, judge_tar, judge_zip

MEMORY = 1_500_000_000  # bytes that a judging process may take in all
PATIENCE_S = 120.0  # for one input: that nothing hangs, not how fast it is
Judge = Callable[[int, int], Verdict]


@dataclass
class Tally:
    """What became of many inputs."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    faults: list[str] = field(default_factory=list)
    peak: int = 0  # bytes
    cpu_s: float = 0.0
    slowest: tuple[float, str] = (0.0, "")

    def add(self, verdict: Verdict, seconds: float, peak: int) -> None:
        self.outcomes[verdict.kind][verdict.outcome] += 1
        self.faults += [f"{verdict.recipe} -> {verdict.outcome}: {fault}" for fault in verdict.faults]
        self.peak = max(self.peak, peak)
        self.slowest = max(self.slowest, (seconds, verdict.recipe))

    def text(self, form: str) -> str:
        """A table of the outcomes by kind of damage."""
        total = sum((counts for counts in self.outcomes.values()), Counter[str]())
        faults, peak = len(self.faults), f"{self.peak / 1e6:.0f} MB, {self.cpu_s:.0f} CPU s"
        lines = [f"{form}: {sum(total.values())} inputs, {faults} faults, peak {peak}"]
        lines += [f"slowest {self.slowest[0]:.2f} s: {self.slowest[1][:150]}"]
        for kind, counts in [*self.outcomes.items(), ("all", total)]:
            lines.append(f"  {kind:<26} " + ", ".join(f"{word} {n}" for word, n in counts.most_common()))
        return "\n".join([*lines, *self.faults])


_judge: Judge | None = None


def judges(form: str, folder: Path, files: datasets.Files) -> Judge:
    """The judge of a form, or format, of input. folder: an empty one for its files; files: a dataset's."""
    return {
        "zip": lambda: judge_zip,
        "tar": lambda: judge_tar,
        "json": lambda: FolderJudge(files, datasets.json_case).judge,
        "parquet": lambda: FolderJudge(files, datasets.parquet_case).judge,
        "table": lambda: TableJudge(folder).judge,
    }.get(form, lambda: _scan_judge(form, folder))()


def _scan_judge(form: str, folder: Path) -> Judge:
    from tests.support.damage.scan_judge import ScanJudge  # its libraries take memory that others need

    return ScanJudge(form, folder).judge


def run(form: str, numbers: Iterable[int], seed: int, folder: Path, files: datasets.Files) -> Tally:
    """Judges these inputs of a seed one by one; a process that dies or hangs is a fault, and is replaced."""
    tally = Tally()
    pool = _pool(form, folder, files)
    for i in numbers:
        start = time.monotonic()
        try:
            verdict, peak, cpu_s = pool.submit(_judged, seed, i).result(PATIENCE_S)
            tally.cpu_s += cpu_s
        except (BrokenProcessPool, TimeoutError) as error:
            verdict, peak = Verdict(form, f"{form} {seed}, {i}", "lost", (type(error).__name__,)), 0
            _kill(pool)
            pool = _pool(form, folder, files)
        tally.add(verdict, time.monotonic() - start, peak)
    pool.shutdown()
    return tally


def _pool(form: str, folder: Path, files: datasets.Files) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("forkserver")
    return ProcessPoolExecutor(1, context, _begin, (form, folder, files))


def _kill(pool: ProcessPoolExecutor) -> None:
    for process in list((pool._processes or {}).values()):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    pool.shutdown(wait=False)


def _begin(form: str, folder: Path, files: datasets.Files) -> None:
    global _judge
    _judge = judges(form, folder, files)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _judged(seed: int, i: int) -> tuple[Verdict, int, float]:
    """(verdict on one input, the most memory that the process held meanwhile, its CPU seconds)."""
    assert _judge is not None
    Path("/proc/self/clear_refs").write_text("5")  # from here on the peak is counted anew
    began = time.process_time()
    verdict = _judge(seed, i)
    return verdict, peak_of(os.getpid()), time.process_time() - began


def peak_of(pid: int) -> int:
    """The most memory that a process held, in bytes; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def cpu_of(pid: int) -> float:
    """CPU seconds that a process used; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def below(pid: int) -> Iterator[int]:
    """The processes that descend from one."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):  # of each thread
        try:
            children = path.read_text().split()
        except OSError:
            continue
        for child in map(int, children):
            yield child
            yield from below(child)
