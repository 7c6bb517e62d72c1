"""prep beside the MONAI baseline, in one run on the same files: CPU seconds, wall, memory, and the floor.

    python benchmarks/prep.py --quick --json prep.json

CPU time is compared; wall time is shown where it adds information. A slow result is not a failure.
"""

import multiprocessing
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

import click
import octshard_prep
from command import benchmark
from scans import ScanFile, ScanSpec, listing, make, release
from table import SectionResult, Table, Timing, at_least, at_most, clock, in_fresh_process, report
from volumes import LOSSLESS, LOSSY, NATIVE, compare, decode_alone, label

from octshard.config.prep import PrepConfig


def memory(work: Path, *, quick: bool) -> SectionResult:
    """The peak of a fresh process that makes one 512x992x512 volume."""
    rows, targets = [], []
    _, base = in_fresh_process(_idle)
    for encoding in (NATIVE,) if quick else (NATIVE, LOSSY):
        scan_file = make(ScanSpec("topcon_triton", "macula_12x12", encoding, distinct=8), work)
        _, peak = in_fresh_process(_one_volume, scan_file)
        rows.append((label(scan_file.spec), scan_file.path.stat().st_size / 1e6, base, peak))
        targets.append(at_most(f"peak memory of a worker, {label(scan_file.spec)}", 1500, peak, "MB"))
    return [Table("memory, MB", ("scan", "file", "imports alone", "peak"), tuple(rows))], targets


def workers(work: Path, *, quick: bool) -> SectionResult:
    """The whole command with one worker and with two, in turn, and two bare decoders beside each other.

    Its start, timed on two tiny volumes, is subtracted: it would dominate these short runs. Bare decoders are
    the limit: on a busy machine they reach less than 2, too.
    """
    frames, count, pairs = (8, 8, 1) if quick else (0, 16, 5)
    scan_file = make(
        ScanSpec("topcon_maestro2", "3d_macula", LOSSLESS if quick else LOSSY, frames=frames), work
    )
    tiny = make(ScanSpec("topcon_maestro2", "3d_macula", NATIVE, scale=0.05), work)
    root, start_root = release("workers", [scan_file], count, work), release("start", [tiny], 2, work)
    start = octshard_prep.command(start_root, work / "shards", 2).wall_s
    rows = []
    for _ in range(pairs):
        single, both = (octshard_prep.command(root, work / "shards", number) for number in (1, 2))
        ratio = (single.wall_s - start) / (both.wall_s - start)
        label_ = f"{count} x {label(scan_file.spec)}"
        rows.append(
            (
                label_,
                start,
                single.wall_s,
                both.wall_s,
                single.cpu_s,
                both.cpu_s,
                ratio,
                _decoder_ratio(scan_file),
            )
        )
    head = (
        "run", "start", "1 worker", "2 workers", "1 worker CPU", "2 workers CPU", "ratio without start",
        "bare decoders",
    )  # fmt: skip
    ratio, decoder_ratio = (statistics.median(row[i] for row in rows) for i in (-2, -1))
    targets = [
        at_least("two workers against one, wall without start, median of pairs", 1.7, ratio),
        at_least("the same, as a share of what bare decoders reach", 0.85, ratio / decoder_ratio),
    ]
    return [Table("one and two workers, s", head, tuple(rows))], targets


def growth(work: Path, *, quick: bool) -> SectionResult:
    """CPU seconds of the whole command for growing numbers of small volumes.

    The cost of one more volume is compared between later and earlier ones, so that the start cancels; quick
    runs are too short for that.
    """
    counts = (10, 40) if quick else (50, 275, 500)
    specs = [ScanSpec("topcon_maestro2", "3d_macula", encoding, scale=0.2) for encoding in (NATIVE, LOSSY)]
    inputs = [make(spec, work) for spec in specs]
    timings = [
        octshard_prep.command(release("growth", inputs, count, work), work / "shards", 1) for count in counts
    ]
    ms_per_volume: list[float | None] = [None]
    for (a, before), (b, after) in pairwise(zip(counts, timings, strict=True)):
        ms_per_volume.append(1e3 * (after.cpu_s - before.cpu_s) / (b - a))
    rows = [
        (n, timing.cpu_s, timing.wall_s, ms)
        for n, timing, ms in zip(counts, timings, ms_per_volume, strict=True)
    ]
    table = Table("growth", ("volumes", "CPU s", "wall s", "CPU ms per volume more"), tuple(rows))
    ratio = (
        ms_per_volume[2] / ms_per_volume[1]
        if len(ms_per_volume) > 2 and ms_per_volume[1] and ms_per_volume[2]
        else None
    )
    what = "CPU of a volume more, 275 to 500 against 50 to 275"
    return [table], [at_most(what, 1.15, ratio, "x")]


def plan(work: Path, *, quick: bool) -> SectionResult:
    """Reading the manifest, planning and digesting, in a fresh process."""
    number = 6_000 if quick else 60_000
    timing, peak = in_fresh_process(_plans_timed, listing(number, work), number)
    targets = [
        at_most(f"plan of {number:,} rows, wall", 10, timing.wall_s, "s"),
        at_most(f"memory of the plan of {number:,} rows", 1000, peak, "MB"),
    ]
    row = (f"{number:,}", timing.cpu_s, timing.wall_s, peak)
    return [Table("plan", ("rows", "CPU s", "wall s", "peak MB"), (row,))], targets


SECTIONS: dict[str, Callable[..., SectionResult]] = {
    "volumes": compare,
    "memory": memory,
    "workers": workers,
    "growth": growth,
    "plan": plan,
}


def _idle() -> None:
    """A worker before its first volume."""


def _one_volume(scan_file: ScanFile) -> None:
    octshard_prep.init_worker()
    octshard_prep.convert(scan_file, PrepConfig())


def _decoder_ratio(scan_file: ScanFile) -> float:
    """Throughput of two decoding processes divided by that of one."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        list(executor.map(decode_alone, [scan_file] * 2))  # both have started and imported
        with clock() as alone:
            executor.submit(decode_alone, scan_file).result()
        with clock() as together:
            list(executor.map(decode_alone, [scan_file] * 2))
    return 2 * alone.wall_s / together.wall_s


def _plans_timed(root: Path, number: int) -> Timing:
    with clock() as timing:
        count = octshard_prep.plans(root)
    if count != number:
        raise SystemExit(f"{root}: {count} members planned, want {number}")
    return timing


@benchmark(SECTIONS, "Fewer and smaller scans.")
@click.option("--work", type=click.Path(), help="Keeps the made inputs.  [default: a temporary folder]")
def main(quick: bool, json_file: str | None, only: tuple[str, ...], work: str | None) -> None:
    """prep beside the MONAI baseline: speed, memory, growth.

    \b
    Example:
      python benchmarks/prep.py --quick --json prep.json
    """
    home = Path(work or Path(tempfile.gettempdir()) / "octshard-benchmarks")
    home.mkdir(parents=True, exist_ok=True)
    sections = {name: partial(SECTIONS[name], home, quick=quick) for name in only}
    report(sections, json_file, quick=quick)


if __name__ == "__main__":
    main()
