"""`octshard prep index` on a folder of many small scans: time, memory, and the same again unchanged.

    python benchmarks/index.py --quick
    python benchmarks/index.py --json index.json

Each run is a process of its own, beside one that walks the same folder and reads the same first bytes. A scan
is a DICOM file of a few KB, as written by the phantom, or in `mixed` a file of each format in turn, as the
tests write them; all are in the page cache, as they were just written.
"""

import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from command import benchmark
from table import SectionResult, Table, Timing, at_most, clock, in_fresh_process, report

from octshard.prep.dicom import writer
from octshard.prep.index import look, run
from octshard.prep.index.options import IndexOptions
from octshard.prep.index.path_pattern import parse
from octshard.prep.index.person import PersonRule

SECTIONS = ("dicom", "mixed")
FILES, QUICK_FILES = 60_000, 6_000
COPIES, QUICK_COPIES = 2_000, 200  # of a scan of each format
VISITS, SCANS = 3, 2  # folders of a person, files of a visit
PATTERN = "{person}/{date}/{eye}_{protocol}.dcm"
MIXED_PATTERN = "{person}/*"
SHARE_AGAIN = 0.1  # of the time of the first run, the most for the same again
MOST_MB = 300
PLAIN = "walk and read alone"
RUNS = (  # what, workers
    (PLAIN, 0),
    ("first run, 1 worker", 1),
    ("the same again", 1),
    ("one file changed", 1),
    ("first run, 2 workers", 2),
)
ROOT = Path(__file__).parents[1]


@benchmark(SECTIONS, f"{QUICK_FILES:,} files.")
def main(quick: bool, json_file: str | None, only: tuple[str, ...]) -> None:
    """Time and memory of `octshard prep index`.

    \b
    Example:
      python benchmarks/index.py --quick
    """
    files, copies = (QUICK_FILES, QUICK_COPIES) if quick else (FILES, COPIES)
    sections = {
        "dicom": lambda: measure("DICOM files", lambda folder: _write(folder, files), PATTERN),
        "mixed": lambda: measure("files of all formats", lambda folder: _mix(folder, copies), MIXED_PATTERN),
    }
    report({name: sections[name] for name in only}, json_file, quick=quick)


def measure(what: str, write: Callable[[Path], int], pattern: str) -> SectionResult:
    """The first run, the same again, one changed file, and the plain reading beside them."""
    with tempfile.TemporaryDirectory() as work:
        folder, out = Path(work) / "scans", str(Path(work) / "manifest.tsv")
        files = write(folder)
        rows, timings = [], dict[str, Timing]()
        for name, workers in RUNS:
            if name == "one file changed":
                os.utime(next(folder.rglob("*.dcm")), ns=(1, 1))
            target = out if workers == 1 else f"{out}-{workers}"
            (timing, scans), peak_mb = in_fresh_process(_run, str(folder), target, pattern, workers)
            timings[name] = timing
            rows.append((name, scans, timing.cpu_s, timing.wall_s, 1e6 * timing.cpu_s / files, peak_mb))
        share = timings["the same again"].cpu_s / timings["first run, 1 worker"].cpu_s
        targets = [
            at_most(f"CPU of the same again / the first run, {what}", SHARE_AGAIN, share, "x"),
            at_most(f"memory of the first run, {what}", MOST_MB, rows[1][-1], "MB"),
        ]
    head = ("what", "scans", "CPU s", "wall s", "CPU us per file", "peak MB")
    return [Table(f"prep index of {files:,} {what}", head, tuple(rows))], targets


def _run(folder: str, out: str, pattern: str, workers: int) -> tuple[Timing, int]:
    """workers 0: only what any index must do."""
    with clock() as timing:
        if not workers:
            return timing, sum(1 for _ in _heads(folder))
        people = PersonRule("pattern", parse(pattern), b"")
        result = run.index(folder, out, IndexOptions(people, dates=True, workers=workers))
    return timing, result.scans


def _heads(folder: str) -> Iterator[bytes]:
    for path, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(path, name), "rb") as file:
                yield file.read(look.HEAD)


def _write(folder: Path, files: int) -> int:
    """How many files it wrote."""
    data = writer.write(
        writer.Scan(
            voxels_DHW=np.zeros((4, 16, 16), np.uint8), sop_instance_uid="2.25.1", participant="1", eye="L",
            manufacturer="Topcon", model="Triton", region="Macula", pixel_spacing_mm=(0.01, 0.02),
            slice_thickness_mm=0.1, locations=(), measures="shared", encoding="native",
        )
    )  # fmt: skip
    places = itertools.product(range(files // (VISITS * SCANS)), range(VISITS), ("OD", "OS"))
    for person, visit, eye in places:
        path = folder / f"P{person:05d}" / f"20{visit + 20}-01-15" / f"{eye}_cube.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return files


def _mix(folder: Path, copies: int) -> int:
    """People with a scan of each format, with all its files. How many files it wrote."""
    sys.path.append(str(ROOT))
    from tests.support import every_format

    scans = [next(iter(ways.values())) for ways in every_format.scans().values()]
    files = {name: data for scan in scans for name, data in scan.items()}
    for number in range(copies):
        for name, data in files.items():
            path = folder / f"P{number:05d}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return copies * len(files)


if __name__ == "__main__":
    main()
