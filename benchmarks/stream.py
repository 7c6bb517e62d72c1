"""The stream beside its peers, in one run on the same volumes: speed, memory, slow stores, faults.

    python benchmarks/stream.py --quick --json stream.json

CPU time counts, worker processes included; wall time hangs on what else the machine does. Two cores. Nothing
fails because it was slow. The first run makes the volumes and two virtual environments in --work.
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
from child import truth
from damage import FAULTS, PLAIN, damaged
from formats import Volumes, ratio, scans, shards
from loaders import Wish
from peers import NAMES, Child, Failed, NotInstalled, copy
from table import Found, Table, Wanted, report, want_least, want_most

SHAPE = (64, 384, 384)
BATCH = 2
PEERS = ("webdataset", "mds", "litdata", "npz", "dicom")
COPIES = ("mds", "litdata", "npz")  # have a format of their own; webdataset and ours read the same tars
PATIENCE_S = 20  # for one epoch of a damaged copy


@dataclass(frozen=True)
class Entrant:
    """A reader with its workers, and how its turns go. discard: batches fetched ahead in others' turns."""

    reader: str
    workers: int
    batches: int
    discard: int

    @property
    def hands(self) -> str:
        """Who does the work."""
        unit = "thread" if self.reader in ("raw", "ours") else "process"
        count = max(1, self.workers)
        if unit == "process" and not self.workers:
            return "in the loop"
        return f"{count} {unit}{'' if count == 1 else 'es' if unit == 'process' else 's'}"


@dataclass(frozen=True)
class Turn:
    """What one turn took, for each volume."""

    cpu_ms: float
    rate: float  # volumes/s


def readers(work: Path, *, quick: bool) -> Found:
    """Each reader in a process of its own, all at once, in turns; the first round warms up."""
    volumes = _volumes(quick)
    entrants = _entrants(volumes, quick)
    wishes = {entrant: _wish(entrant, volumes, work, quick) for entrant in entrants}
    turns: dict[Entrant, list[Turn]] = {entrant: [] for entrant in entrants}
    notes: dict[Entrant, str] = {}
    versions: dict[str, dict[str, str]] = {}
    with contextlib.ExitStack() as stack:
        children: dict[Entrant, Child] = {}
        for entrant in entrants:
            with _noted(notes, entrant):
                copied = _copied(wishes[entrant], work)
                children[entrant] = stack.enter_context(Child.start("read", copied, work))
        for entrant in list(children):
            with _noted(notes, entrant):
                versions[NAMES[entrant.reader]] = children[entrant].answer()["versions"]
        for number in range(1 + (2 if quick else 5)):
            for entrant in [one for one in children if one not in notes]:
                with _noted(notes, entrant):
                    batches = 1 if quick and not number else entrant.batches
                    turns[entrant].append(_turn(children[entrant], entrant.discard, batches))
    stored = ratio(shards(volumes, work), volumes)
    title = f"readers: {volumes.count} volumes of {SHAPE} uint8, zstd {stored:.2f}:1, batches of {BATCH}"
    measured = {one: taken[1:] for one, taken in turns.items() if one not in notes}
    rows = [_row(one, measured, notes) for one in entrants]
    head = ("reader", "workers", "CPU ms a volume", "volumes/s", "CPU to raw limit", "note")
    return [Table(title, head, tuple(rows)), _versions(versions)], _judged(measured)


def memory(work: Path, *, quick: bool) -> Found:
    """Resident memory of ours over many samples, after a warm-up of a tenth of a quarter."""
    volumes, samples = _volumes(quick), 240 if quick else 20_000
    entrant = Entrant("ours", 2, samples // 4 // BATCH, samples // 40 // BATCH)
    found: list[tuple[int, float]] = []
    with Child.start("read", _wish(entrant, volumes, work, quick), work) as child:
        child.answer()
        found.append((0, child.ask(entrant.discard, 1)["rss_mb"]))
        for quarter in range(1, 5):
            found.append((quarter * samples // 4, child.ask(0, entrant.batches)["rss_mb"]))
    table = Table("host memory of octshard", ("samples after warm-up", "RSS MB"), tuple(found))
    if quick:
        return [table], []
    grown = max(mb for _, mb in found[1:]) / found[0][1]
    return [table], [want_most("memory over 20,000 samples, largest quarter to start", 1.05, grown, "x")]


def faults(work: Path, *, quick: bool) -> Found:
    """What each reader makes of damaged copies of 12 small volumes; the whole one checks the check."""
    volumes = Volumes("faults", 12, (16, 64, 64), 6)
    source = str(shards(volumes, work))
    wishes = [
        Wish(reader, source, str(volumes.folder(work) / reader), 0, BATCH, volumes.count, volumes.per_file)
        for reader in ("ours", "webdataset", "mds", "litdata", "npz")
    ]
    with ThreadPoolExecutor(2) as pool:
        words = list(pool.map(partial(_met, work=work), wishes))
    rows = tuple((NAMES[wish.reader], *met) for wish, met in zip(wishes, words, strict=True))
    sound = words[0][0].endswith("right")  # else an error would prove nothing
    found = sum(word.startswith("error") for word in words[0][1:]) if sound else 0
    wanted = [want_least("faults that octshard answers with an error", len(FAULTS) - 1, found, "")]
    return [Table("faults", ("reader", *FAULTS), rows)], wanted


def store(work: Path, *, quick: bool) -> Found:
    """The whole stream on a store with latency and slow connections; it brings torch along."""
    import ceiling

    return ceiling.store(_volumes(quick), work, quick=quick)


SECTIONS: dict[str, Callable[..., Found]] = {
    "readers": readers,
    "memory": memory,
    "store": store,
    "faults": faults,
}


def _volumes(quick: bool) -> Volumes:
    """As many files for each of two workers, with as many samples each: no peer waits for its last worker."""
    return Volumes("readers", 16 if quick else 96, SHAPE, 4 if quick else 12)


def _entrants(volumes: Volumes, quick: bool) -> list[Entrant]:
    """Who competes. The slow ones have shorter turns."""
    whole = volumes.count // BATCH
    found = [Entrant("raw", 0, whole, 1), Entrant("raw", 2, whole, 1)]
    found += [Entrant("ours", threads, whole, 6) for threads in (1, 2)]
    found += [Entrant(reader, n, whole, 6) for reader in ("webdataset", "mds", "litdata") for n in (0, 2)]
    found.append(Entrant("npz", 0, whole // 4, 0))
    if quick:
        return [*found, Entrant("dicom", 0, 1, 0)]
    return [*found, Entrant("npz", 2, whole // 2, 4), Entrant("dicom", 0, 1, 0), Entrant("dicom", 2, 2, 2)]


def _wish(entrant: Entrant, volumes: Volumes, work: Path, quick: bool) -> Wish:
    source, folder = shards(volumes, work), volumes.folder(work) / entrant.reader
    if entrant.reader == "dicom":
        folder = scans(2 if quick else 8, 16 if quick else 128, SHAPE, work)
    return Wish(
        entrant.reader, str(source), str(folder), entrant.workers, BATCH, volumes.count, volumes.per_file
    )


def _copied(wish: Wish, work: Path) -> Wish:
    """The wish with its copy made. MosaicML wants a folder for each job that runs at the same time."""
    if wish.reader in COPIES:
        copy(wish, work)
    if wish.reader != "mds":
        return wish
    link = Path(f"{wish.folder}-{wish.workers}")
    if not link.exists():
        link.symlink_to(wish.folder)
    return replace(wish, folder=str(link))


@contextlib.contextmanager
def _noted(notes: dict[Entrant, str], entrant: Entrant) -> Any:
    """What keeps a reader from reading becomes its note, in one line."""
    try:
        yield
    except NotInstalled as why:
        notes[entrant] = f"not installed: {why}"
    except Failed as why:
        notes[entrant] = str(why)


def _turn(child: Child, discard: int, batches: int) -> Turn:
    took = child.ask(discard, batches)
    return Turn(1e3 * took["cpu_s"] / took["samples"], took["samples"] / took["wall_s"])


def _row(entrant: Entrant, measured: dict[Entrant, list[Turn]], notes: dict[Entrant, str]) -> tuple[Any, ...]:
    name = (NAMES[entrant.reader], entrant.hands)
    if entrant in notes:
        return (*name, None, None, None, notes[entrant])
    cpu, rate = _medians(measured[entrant])
    raw = _find(measured, "raw", 0)
    to_raw = _ratio(measured, entrant, raw, "cpu_ms") if raw else None
    return (*name, cpu, rate, to_raw, "")


def _judged(measured: dict[Entrant, list[Turn]]) -> list[Wanted]:
    """The figures asked for; ratios are medians over rounds, in which all readers took their turns."""
    ours, raw = _find(measured, "ours", 2), _find(measured, "raw", 0)
    peers = [one for one in measured if one.reader in PEERS]
    with_workers = [one for one in peers if one.workers]
    least = min(with_workers, key=lambda one: _medians(measured[one])[0], default=None)
    fastest = max(peers, key=lambda one: _medians(measured[one])[1], default=None)
    cpu, rate = partial(_ratio, measured, ours, field="cpu_ms"), partial(_ratio, measured, ours, field="rate")
    return [
        want_most("CPU, octshard with 2 threads to the raw limit with 1", 1.25, cpu(other=raw), "x"),
        want_most(f"CPU, octshard to the best peer with workers{_named(least)}", 0.7, cpu(other=least), "x"),
        want_least(f"volumes/s, octshard to the best peer{_named(fastest)}", 1.3, rate(other=fastest)),
    ]


def _ratio(
    measured: dict[Entrant, list[Turn]], one: Entrant | None, other: Entrant | None, field: str
) -> float | None:
    if one is None or other is None:
        return None
    pairs = zip(measured[one], measured[other], strict=True)
    return statistics.median(getattr(a, field) / getattr(b, field) for a, b in pairs)


def _medians(turns: list[Turn]) -> tuple[float, float]:
    return statistics.median(t.cpu_ms for t in turns), statistics.median(t.rate for t in turns)


def _find(measured: dict[Entrant, list[Turn]], reader: str, workers: int) -> Entrant | None:
    return next((one for one in measured if (one.reader, one.workers) == (reader, workers)), None)


def _named(entrant: Entrant | None) -> str:
    return f" ({NAMES[entrant.reader]}, {entrant.hands})" if entrant else ""


def _versions(versions: dict[str, dict[str, str]]) -> Table:
    rows = [(name, ", ".join(f"{what} {v}" for what, v in found.items())) for name, found in versions.items()]
    return Table("versions", ("reader", "packages"), tuple(rows))


def _met(wish: Wish, work: Path) -> list[str]:
    """A word for each fault, or why there is none."""
    try:
        return _words(wish, work)
    except (NotInstalled, Failed) as why:
        words = f"not installed: {why}" if isinstance(why, NotInstalled) else str(why)
        return [words] + ["-"] * (len(FAULTS) - 1)


def _words(wish: Wish, work: Path) -> list[str]:
    plain = replace(wish, folder=f"{wish.folder}-plain", plain=True)
    kinds = dict.fromkeys(FAULTS, wish)
    if wish.reader in COPIES:
        copy(wish, work)
    if wish.reader not in ("ours", "npz"):  # the check is part of these two formats
        copy(plain, work)
        kinds[PLAIN] = plain
    with Child.start("check", wish, work) as child:
        answers = {fault: child.ask(str(damaged(kinds[fault], fault)), PATIENCE_S) for fault in FAULTS}
    stored = truth(wish)
    return [_word(answers[fault], stored) for fault in FAULTS]


def _word(answer: dict[str, Any], stored: dict[str, Any]) -> str:
    if answer["word"] != "silent":
        kind = str(answer.get("what", "")).partition(":")[0]
        return f"{answer['word']} ({kind})" if kind else str(answer["word"])
    found = answer["what"]
    fewer = len(stored) - len(found)
    wrong = sum(stored.get(key) != value for key, value in found.items())
    said = [f"{fewer} samples fewer"] * (fewer > 0) + [f"{wrong} wrong"] * (wrong > 0)
    return f"silent, {', '.join(said)}" if said else f"all {len(found)}, right"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Fewer volumes: under a minute on two cores, once they are made.")
@click.option("--json", "json_file", type=click.Path(), help="Write all figures to this file.")
@click.option(
    "--only", multiple=True, type=click.Choice(list(SECTIONS)), help="Run this section; may repeat."
)
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
    sections = {name: partial(SECTIONS[name], home, quick=quick) for name in only or SECTIONS}
    report(sections, json_file, quick=quick)


if __name__ == "__main__":
    main()
