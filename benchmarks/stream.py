"""The stream beside its peers, in one run on the same volumes: speed, memory, slow stores, faults.

    python benchmarks/stream.py --quick --json stream.json

CPU time is compared, with that of worker processes; wall time depends on other load. Two cores. A slow result
is not a failure. The first run makes the volumes and two virtual environments in --work.
"""

import contextlib
import os
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from command import benchmark
from corruption import FAULTS, PLAIN, corrupted_copy
from formats import Volumes, ratio, scans, shards
from loaders import ReaderSpec
from peers import NAMES, ChildFailed, NotInstalled, ReaderProcess, copy
from subprocess_run import truth
from table import SectionResult, Table, Target, at_least, at_most, report

SHAPE = (64, 384, 384)
BATCH = 2
PEERS = ("webdataset", "mds", "litdata", "npz", "dicom")
COPIES = ("mds", "litdata", "npz")  # have a format of their own; webdataset and ours read the same tars
PATIENCE_S = 20  # for one epoch of a damaged copy


@dataclass(frozen=True)
class ReaderSetup:
    """A reader with its workers, and its turns. discard: batches fetched ahead during others' turns."""

    reader: str
    workers: int
    batches: int
    discard: int

    @property
    def parallelism(self) -> str:
        """Its threads or processes, in words."""
        unit = "thread" if self.reader in ("raw", "ours") else "process"
        count = max(1, self.workers)
        if unit == "process" and not self.workers:
            return "in the loop"
        return f"{count} {unit}{'' if count == 1 else 'es' if unit == 'process' else 's'}"


@dataclass(frozen=True)
class Turn:
    """The figures of one turn, for each volume."""

    cpu_ms: float
    rate: float  # volumes/s


def readers(work: Path, *, quick: bool) -> SectionResult:
    """Each reader in its own process, started together, reading in turns; the first round warms up."""
    volumes = _volumes(quick)
    setups = _setups(volumes, quick)
    specs = {setup: _reader_spec(setup, volumes, work, quick) for setup in setups}
    turns: dict[ReaderSetup, list[Turn]] = {setup: [] for setup in setups}
    notes: dict[ReaderSetup, str] = {}
    versions: dict[str, dict[str, str]] = {}
    with contextlib.ExitStack() as stack:
        processes: dict[ReaderSetup, ReaderProcess] = {}
        for setup in setups:
            with _note_failure(notes, setup):
                copied = _copied(specs[setup], work)
                processes[setup] = stack.enter_context(ReaderProcess.start("read", copied, work))
        for setup in list(processes):
            with _note_failure(notes, setup):
                versions[NAMES[setup.reader]] = processes[setup].answer()["versions"]
        for number in range(1 + (1 if quick else 5)):
            for setup in [setup for setup in processes if setup not in notes]:
                with _note_failure(notes, setup):
                    batches = 1 if quick and not number else setup.batches
                    turns[setup].append(_turn(processes[setup], setup.discard, batches))
    stored = ratio(shards(volumes, work), volumes)
    title = f"readers: {volumes.count} volumes of {SHAPE} uint8, zstd {stored:.2f}:1, batches of {BATCH}"
    measured = {setup: rounds[1:] for setup, rounds in turns.items() if setup not in notes}
    rows = [_row(setup, measured, notes) for setup in setups]
    head = ("reader", "workers", "CPU ms a volume", "volumes/s", "CPU to raw limit", "note")
    return [Table(title, head, tuple(rows)), _versions(versions)], _targets(measured)


def memory(work: Path, *, quick: bool) -> SectionResult:
    """Resident memory of octshard's reader over many samples, after a warm-up of a tenth of a quarter."""
    volumes, samples = _volumes(quick), 240 if quick else 20_000
    setup = ReaderSetup("ours", 2, samples // 4 // BATCH, samples // 40 // BATCH)
    rss: list[tuple[int, float]] = []
    with ReaderProcess.start("read", _reader_spec(setup, volumes, work, quick), work) as process:
        process.answer()
        rss.append((0, process.ask(setup.discard, 1)["rss_mb"]))
        for quarter in range(1, 5):
            rss.append((quarter * samples // 4, process.ask(0, setup.batches)["rss_mb"]))
    table = Table("host memory of octshard", ("samples after warm-up", "RSS MB"), tuple(rss))
    if quick:
        return [table], []
    growth = max(mb for _, mb in rss[1:]) / rss[0][1]
    return [table], [at_most("memory over 20,000 samples, largest quarter to start", 1.05, growth, "x")]


def faults(work: Path, *, quick: bool) -> SectionResult:
    """The outcome of each reader on damaged copies of 12 small volumes; an undamaged copy is the control."""
    volumes = Volumes("faults", 12, (16, 64, 64), 6)
    source = str(shards(volumes, work))
    specs = [
        ReaderSpec(
            reader, source, str(volumes.folder(work) / reader), 0, BATCH, volumes.count, volumes.per_file
        )
        for reader in ("ours", "webdataset", "mds", "litdata", "npz")
    ]
    with ThreadPoolExecutor(2) as pool:
        words = list(pool.map(partial(_fault_words, work=work), specs))
    rows = tuple((NAMES[spec.reader], *reader_words) for spec, reader_words in zip(specs, words, strict=True))
    sound = words[0][0].endswith("right")  # else an error would prove nothing
    detected = sum(word.startswith("error") for word in words[0][1:]) if sound else 0
    targets = [at_least("faults that octshard answers with an error", len(FAULTS) - 1, detected, "")]
    return [Table("faults", ("reader", *FAULTS), rows)], targets


def store(work: Path, *, quick: bool) -> SectionResult:
    """The whole stream on a store with latency and slow connections; imports torch."""
    import read_limits

    return read_limits.store(_volumes(quick), work, quick=quick)


SECTIONS: dict[str, Callable[..., SectionResult]] = {
    "readers": readers,
    "memory": memory,
    "store": store,
    "faults": faults,
}


def _volumes(quick: bool) -> Volumes:
    """Equal files and samples for each of two workers, so that no peer waits for its last worker."""
    return Volumes("readers", 16 if quick else 96, SHAPE, 4 if quick else 12)


def _setups(volumes: Volumes, quick: bool) -> list[ReaderSetup]:
    """All readers with their workers. Slow ones have shorter turns."""
    whole = volumes.count // BATCH
    setups = [ReaderSetup("raw", 0, whole, 1), ReaderSetup("raw", 2, whole, 1)]
    setups += [ReaderSetup("ours", threads, whole, 6) for threads in (1, 2)]
    setups += [
        ReaderSetup(reader, n, whole, 6) for reader in ("webdataset", "mds", "litdata") for n in (0, 2)
    ]
    setups.append(ReaderSetup("npz", 0, whole // 4, 0))
    if quick:
        return [*setups, ReaderSetup("dicom", 0, 1, 0)]
    return [
        *setups,
        ReaderSetup("npz", 2, whole // 2, 4),
        ReaderSetup("dicom", 0, 1, 0),
        ReaderSetup("dicom", 2, 2, 2),
    ]


def _reader_spec(setup: ReaderSetup, volumes: Volumes, work: Path, quick: bool) -> ReaderSpec:
    source, folder = shards(volumes, work), volumes.folder(work) / setup.reader
    if setup.reader == "dicom":
        folder = scans(2 if quick else 8, 16 if quick else 128, SHAPE, work)
    return ReaderSpec(
        setup.reader, str(source), str(folder), setup.workers, BATCH, volumes.count, volumes.per_file
    )


def _copied(spec: ReaderSpec, work: Path) -> ReaderSpec:
    """The spec with its copy made. MosaicML needs one folder for each job that runs at the same time."""
    if spec.reader in COPIES:
        copy(spec, work)
    if spec.reader != "mds":
        return spec
    link = Path(f"{spec.folder}-{spec.workers}")
    if not link.exists():
        link.symlink_to(spec.folder)
    return replace(spec, folder=str(link))


@contextlib.contextmanager
def _note_failure(notes: dict[ReaderSetup, str], setup: ReaderSetup) -> Any:
    """Turns a failure of a reader into its note, in one line."""
    try:
        yield
    except NotInstalled as error:
        notes[setup] = f"not installed: {error}"
    except ChildFailed as error:
        notes[setup] = str(error)


def _turn(process: ReaderProcess, discard: int, batches: int) -> Turn:
    reply = process.ask(discard, batches)
    return Turn(1e3 * reply["cpu_s"] / reply["samples"], reply["samples"] / reply["wall_s"])


def _row(
    setup: ReaderSetup, measured: dict[ReaderSetup, list[Turn]], notes: dict[ReaderSetup, str]
) -> tuple[Any, ...]:
    name = (NAMES[setup.reader], setup.parallelism)
    if setup in notes:
        return (*name, None, None, None, notes[setup])
    cpu, rate = _medians(measured[setup])
    raw = _find(measured, "raw", 0)
    to_raw = _ratio(measured, setup, raw, "cpu_ms") if raw else None
    return (*name, cpu, rate, to_raw, "")


def _targets(measured: dict[ReaderSetup, list[Turn]]) -> list[Target]:
    """The targets; ratios are medians over rounds, in which all readers took their turns."""
    ours, raw = _find(measured, "ours", 2), _find(measured, "raw", 0)
    peers = [setup for setup in measured if setup.reader in PEERS]
    with_workers = [setup for setup in peers if setup.workers]
    least = min(with_workers, key=lambda setup: _medians(measured[setup])[0], default=None)
    fastest = max(peers, key=lambda setup: _medians(measured[setup])[1], default=None)
    cpu, rate = partial(_ratio, measured, ours, field="cpu_ms"), partial(_ratio, measured, ours, field="rate")
    return [
        at_most("CPU, octshard with 2 threads to the raw limit with 1", 1.25, cpu(other=raw), "x"),
        at_most(
            f"CPU, octshard to the best peer with workers{_setup_name(least)}", 0.7, cpu(other=least), "x"
        ),
        at_least(f"volumes/s, octshard to the best peer{_setup_name(fastest)}", 1.3, rate(other=fastest)),
    ]


def _ratio(
    measured: dict[ReaderSetup, list[Turn]], setup: ReaderSetup | None, other: ReaderSetup | None, field: str
) -> float | None:
    if setup is None or other is None:
        return None
    pairs = zip(measured[setup], measured[other], strict=True)
    return statistics.median(getattr(a, field) / getattr(b, field) for a, b in pairs)


def _medians(turns: list[Turn]) -> tuple[float, float]:
    return statistics.median(t.cpu_ms for t in turns), statistics.median(t.rate for t in turns)


def _find(measured: dict[ReaderSetup, list[Turn]], reader: str, workers: int) -> ReaderSetup | None:
    return next((setup for setup in measured if (setup.reader, setup.workers) == (reader, workers)), None)


def _setup_name(setup: ReaderSetup | None) -> str:
    return f" ({NAMES[setup.reader]}, {setup.parallelism})" if setup else ""


def _versions(versions: dict[str, dict[str, str]]) -> Table:
    rows = [
        (name, ", ".join(f"{package} {v}" for package, v in packages.items()))
        for name, packages in versions.items()
    ]
    return Table("versions", ("reader", "packages"), tuple(rows))


def _fault_words(spec: ReaderSpec, work: Path) -> list[str]:
    """The outcome for each fault, in a few words, or the reason why there is none."""
    try:
        return _words(spec, work)
    except (NotInstalled, ChildFailed) as error:
        words = f"not installed: {error}" if isinstance(error, NotInstalled) else str(error)
        return [words] + ["-"] * (len(FAULTS) - 1)


def _words(spec: ReaderSpec, work: Path) -> list[str]:
    plain = replace(spec, folder=f"{spec.folder}-plain", plain=True)
    kinds = dict.fromkeys(FAULTS, spec)
    if spec.reader in COPIES:
        copy(spec, work)
    if spec.reader not in ("ours", "npz"):  # the check is part of these two formats
        copy(plain, work)
        kinds[PLAIN] = plain
    with ReaderProcess.start("check", spec, work) as process:
        answers = {
            fault: process.ask(str(corrupted_copy(kinds[fault], fault)), PATIENCE_S) for fault in FAULTS
        }
    stored = truth(spec)
    return [_fault_word(answers[fault], stored) for fault in FAULTS]


def _fault_word(answer: dict[str, Any], stored: dict[str, Any]) -> str:
    if answer["word"] != "silent":
        kind = str(answer.get("what", "")).partition(":")[0]
        return f"{answer['word']} ({kind})" if kind else str(answer["word"])
    marks = answer["what"]
    fewer = len(stored) - len(marks)
    wrong = sum(stored.get(key) != value for key, value in marks.items())
    losses = [f"{fewer} samples fewer"] * (fewer > 0) + [f"{wrong} wrong"] * (wrong > 0)
    return f"silent, {', '.join(losses)}" if losses else f"all {len(marks)}, right"


@benchmark(SECTIONS, "Fewer volumes, made once before.")
@click.option(
    "--work", type=click.Path(), help="Keeps volumes and environments.  [default: a temporary folder]"
)
def main(quick: bool, json_file: str | None, only: tuple[str, ...], work: str | None) -> None:
    """The stream beside its peers: speed, memory, slow stores, faults.

    \b
    Example:
      python benchmarks/stream.py --quick --json stream.json
    """
    home = Path(work or Path(tempfile.gettempdir()) / "octshard-benchmarks").absolute()
    home.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # children inherit it
    sections = {name: partial(SECTIONS[name], home, quick=quick) for name in only}
    report(sections, json_file, quick=quick)


if __name__ == "__main__":
    main()
