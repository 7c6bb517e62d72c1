"""Shared by all benchmarks: a clock for CPU and wall time, peak memory, printed tables and the JSON file.

No benchmark passes or fails: the target is printed beside the measured value, and the reader judges.
"""

import contextlib
import ctypes
import json
import multiprocessing
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux


@dataclass
class Timing:
    """Seconds. cpu_s counts this process, all its threads, and those of its children that have ended."""

    cpu_s: float = 0.0
    wall_s: float = 0.0


@dataclass(frozen=True)
class Target:
    """A figure that the project aims at, beside the measured one (None: not measured in this run)."""

    what: str
    limit: str
    measured: float | None
    unit: str
    met: bool | None


@dataclass(frozen=True)
class Table:
    """A heading, columns and rows, as printed and as written to JSON."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


SectionResult = tuple[list[Table], list[Target]]  # of one section of a benchmark


@contextlib.contextmanager
def clock() -> Iterator[Timing]:
    """Yields a Timing that is filled in when the block ends."""
    timing, cpu, wall = Timing(), _cpu_s(), time.perf_counter()
    yield timing
    timing.cpu_s, timing.wall_s = _cpu_s() - cpu, time.perf_counter() - wall


def middle(timings: Sequence[Timing]) -> Timing:
    """The medians of CPU and wall time."""
    return Timing(statistics.median(s.cpu_s for s in timings), statistics.median(s.wall_s for s in timings))


def at_least(what: str, least: float, measured: float | None, unit: str = "x") -> Target:
    """A figure that should be `least` or more."""
    return Target(what, f">= {least:g}", measured, unit, None if measured is None else measured >= least)


def at_most(what: str, most: float, measured: float | None, unit: str) -> Target:
    """A figure that should be `most` or less."""
    return Target(what, f"<= {most:g}", measured, unit, None if measured is None else measured <= most)


def in_fresh_process(action: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """(what `action` returns, the peak memory of a new process that does nothing else, in MB)."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(there, action, arguments))
    process.start()
    there.close()
    try:
        answer: tuple[Any, float] = here.recv()
    except EOFError:
        process.join()
        raise SystemExit(f"the process that ran {action.__name__} ended with {process.exitcode}") from None
    process.join()
    return answer


def run_alone(words: Sequence[str]) -> Timing:
    """The time of one command, with all processes that it started, also those that outlive it."""
    timing, _ = in_fresh_process(_run_and_reap, list(words))
    assert isinstance(timing, Timing)
    return timing


def machine() -> dict[str, Any]:
    """The machine, for the report."""
    model = next(iter(re.findall(r"model name\s*: (.*)", _text("/proc/cpuinfo"))), platform.processor())
    memory = next(iter(re.findall(r"MemTotal:\s*(\d+)", _text("/proc/meminfo"))), "0")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(memory) / 2**20, 1),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def report(
    sections: Mapping[str, Callable[[], SectionResult]], json_file: str | None, *, quick: bool
) -> None:
    """Runs the sections, prints tables and targets as Markdown, and writes them to json_file."""
    tables: list[Table] = []
    targets: list[Target] = []
    for name, section in sections.items():
        with clock() as timing:
            section_tables, section_targets = section()
        click.echo(f"{name}: {timing.wall_s:.0f} s", err=True)
        tables, targets = tables + section_tables, targets + section_targets
    m = machine()
    click.echo(f"{datetime.now(UTC):%Y-%m-%d} {_command()}")
    click.echo(
        f"{m['cores']} cores of {m['cpu']}, {m['memory_gb']} GB, load {m['load']}, Python {m['python']}"
    )
    target_rows = [
        (t.what, t.limit, "-" if t.measured is None else f"{t.measured:.3g} {t.unit}", _word(t.met))
        for t in targets
    ]
    last = Table("wanted", ("what", "wanted", "found", "met"), tuple(target_rows))
    for table in [*tables, *([last] if target_rows else [])]:
        click.echo(f"\n{table.title}\n")
        _print(table)
    if json_file:
        write_json(json_file, tables, targets, quick=quick)


def write_json(path: str, tables: Sequence[Table], targets: Sequence[Target], *, quick: bool) -> None:
    """machine, command, date, quick, tables {title: [{column: value}]} and wanted [{what, wanted, ...}]."""
    content = {
        "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "command": _command(),
        "quick": quick,
        "machine": machine(),
        "tables": {t.title: [dict(zip(t.head, row, strict=True)) for row in t.rows] for t in tables},
        "wanted": [
            {"what": t.what, "wanted": t.limit, "found": t.measured, "unit": t.unit, "met": t.met}
            for t in targets
        ],
    }
    Path(path).write_text(json.dumps(content, indent=1) + "\n")


def _run_and_reap(words: list[str]) -> Timing:
    """Orphans of the command become children of this process, whose CPU time is counted when they end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1)
    with clock() as timing:
        process = subprocess.run(words, check=False, capture_output=True, text=True)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: {process.stdout}{process.stderr}")
    return timing


def _tell(there: Connection, action: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    there.send((action(*arguments), _peak_mb()))


def _peak_mb() -> float:
    """VmHWM, because on Linux ru_maxrss begins with what the parent held when it started this process."""
    peak = re.search(r"VmHWM:\s*(\d+) kB", _text("/proc/self/status"))
    if peak:
        return int(peak[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def _cpu_s() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _command() -> str:
    return " ".join(["python", *sys.argv])


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # not Linux
        return ""


def _word(met: bool | None) -> str:
    return "-" if met is None else "yes" if met else "no"


def _print(table: Table) -> None:
    texts = [tuple(_cell(value) for value in row) for row in table.rows]
    widths = [max(len(row[i]) for row in (table.head, *texts)) for i in range(len(table.head))]
    rule = tuple("-" * width for width in widths)
    for row in (table.head, rule, *texts):
        click.echo(
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)
