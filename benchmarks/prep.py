"""prep beside the usual pipeline, in one run on the same files: CPU seconds, wall, memory, and the floor.

    python benchmarks/prep.py --quick --json prep.json

CPU time counts; wall time is shown where it adds something. Nothing fails because it was slow.
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
import ours
from scans import Input, Wish, listing, make, release
from table import Found, Spent, Table, clock, in_fresh_process, report, want_least, want_most
from volumes import LOSSLESS, LOSSY, NATIVE, compare, decode_alone, label

from octshard.config.prep import PrepConfig


def memory(work: Path, *, quick: bool) -> Found:
    """The peak of a fresh process that makes one 512x992x512 volume."""
    rows, wanted = [], []
    _, base = in_fresh_process(_idle)
    for encoding in (NATIVE,) if quick else (NATIVE, LOSSY):
        one = make(Wish("topcon_triton", "macula_12x12", encoding, distinct=8), work)
        _, peak = in_fresh_process(_one_volume, one)
        rows.append((label(one.wish), one.path.stat().st_size / 1e6, base, peak))
        wanted.append(want_most(f"peak memory of a worker, {label(one.wish)}", 1500, peak, "MB"))
    return [Table("memory, MB", ("scan", "file", "imports alone", "peak"), tuple(rows))], wanted


def workers(work: Path, *, quick: bool) -> Found:
    """The whole command with one worker and with two, in turn, and two bare decoders beside each other.

    Its start, timed on two tiny volumes, is subtracted: real runs take hours, and it would hide the rest.
    Bare decoders are the ceiling: on a machine that is busy otherwise they come to less than 2, too.
    """
    frames, count, pairs = (8, 8, 1) if quick else (0, 16, 5)
    one = make(Wish("topcon_maestro2", "3d_macula", LOSSLESS if quick else LOSSY, frames=frames), work)
    tiny = make(Wish("topcon_maestro2", "3d_macula", NATIVE, scale=0.05), work)
    root, nothing = release("workers", [one], count, work), release("start", [tiny], 2, work)
    start = ours.command(nothing, work / "shards", 2).wall_s
    rows = []
    for _ in range(pairs):
        single, both = (ours.command(root, work / "shards", number) for number in (1, 2))
        ratio = (single.wall_s - start) / (both.wall_s - start)
        label_ = f"{count} x {label(one.wish)}"
        rows.append(
            (label_, start, single.wall_s, both.wall_s, single.cpu_s, both.cpu_s, ratio, _ceiling(one))
        )
    head = (
        "run", "start", "1 worker", "2 workers", "1 worker CPU", "2 workers CPU", "ratio without start",
        "bare decoders",
    )  # fmt: skip
    found, ceiling = (statistics.median(row[i] for row in rows) for i in (-2, -1))
    wanted = [
        want_least("two workers against one, wall without start, median of pairs", 1.7, found),
        want_least("the same, as a share of what bare decoders reach", 0.85, found / ceiling),
    ]
    return [Table("one and two workers, s", head, tuple(rows))], wanted


def growth(work: Path, *, quick: bool) -> Found:
    """CPU seconds of the whole command over ever more small volumes.

    What a volume more costs is compared between the later and the earlier ones, so that the start cancels;
    quick runs are too short for that.
    """
    counts = (10, 40) if quick else (50, 275, 500)
    wishes = [Wish("topcon_maestro2", "3d_macula", encoding, scale=0.2) for encoding in (NATIVE, LOSSY)]
    inputs = [make(wish, work) for wish in wishes]
    took = [ours.command(release("growth", inputs, count, work), work / "shards", 1) for count in counts]
    more: list[float | None] = [None]
    for (a, before), (b, after) in pairwise(zip(counts, took, strict=True)):
        more.append(1e3 * (after.cpu_s - before.cpu_s) / (b - a))
    rows = [(n, spent.cpu_s, spent.wall_s, each) for n, spent, each in zip(counts, took, more, strict=True)]
    table = Table("growth", ("volumes", "CPU s", "wall s", "CPU ms per volume more"), tuple(rows))
    ratio = more[2] / more[1] if len(more) > 2 and more[1] and more[2] else None
    what = "CPU of a volume more, 275 to 500 against 50 to 275"
    return [table], [want_most(what, 1.15, ratio, "x")]


def plan(work: Path, *, quick: bool) -> Found:
    """Reading the manifest, planning and digesting, in a fresh process."""
    number = 6_000 if quick else 60_000
    spent, peak = in_fresh_process(_plans_timed, listing(number, work), number)
    wanted = [
        want_most(f"plan of {number:,} rows, wall", 10, spent.wall_s, "s"),
        want_most(f"memory of the plan of {number:,} rows", 1000, peak, "MB"),
    ]
    row = (f"{number:,}", spent.cpu_s, spent.wall_s, peak)
    return [Table("plan", ("rows", "CPU s", "wall s", "peak MB"), (row,))], wanted


SECTIONS: dict[str, Callable[..., Found]] = {
    "volumes": compare,
    "memory": memory,
    "workers": workers,
    "growth": growth,
    "plan": plan,
}


def _idle() -> None:
    """A worker before its first volume."""


def _one_volume(one: Input) -> None:
    ours.begin()
    ours.make(one, PrepConfig())


def _ceiling(one: Input) -> float:
    """How many times as much two processes decode as one, in the same time."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as two:
        list(two.map(decode_alone, [one] * 2))  # both have started and imported
        with clock() as alone:
            two.submit(decode_alone, one).result()
        with clock() as together:
            list(two.map(decode_alone, [one] * 2))
    return 2 * alone.wall_s / together.wall_s


def _plans_timed(root: Path, number: int) -> Spent:
    with clock() as spent:
        count = ours.plans(root)
    if count != number:
        raise SystemExit(f"{root}: {count} members planned, want {number}")
    return spent


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Fewer and smaller scans: under a minute on two cores.")
@click.option("--json", "json_file", type=click.Path(), help="Write all figures to this file.")
@click.option(
    "--only", multiple=True, type=click.Choice(list(SECTIONS)), help="Run this section; may repeat."
)
@click.option("--work", type=click.Path(), help="Keeps the made inputs.  [default: a temporary folder]")
def main(quick: bool, json_file: str | None, only: tuple[str, ...], work: str | None) -> None:
    """prep beside the usual pipeline: speed, memory, growth.

    \b
    Example:
      python benchmarks/prep.py --quick --json prep.json
    """
    home = Path(work or Path(tempfile.gettempdir()) / "octshard-benchmarks")
    home.mkdir(parents=True, exist_ok=True)
    sections = {name: partial(SECTIONS[name], home, quick=quick) for name in only or SECTIONS}
    report(sections, json_file, quick=quick)


if __name__ == "__main__":
    main()
