"""Optovue .OCT (RTVue, Avanti, Solix): single-precision numbers alone; the text beside it tells all of them.

Layout as OCT-Converter, oct-to-tiff and OCT viewers for the Avanti read it: little endian, A-scan by A-scan,
each from the bottom to the top. The text, called as the file is, has a step of the scan for each
kind of B-scan in it: XY Scan Length (A-scans), XY Scan Usage (B-scans), XY Scan Size1 and XY Scan Interval1.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from octshard.dataset.eyes import EYES
from octshard.prep import lengths
from octshard.prep.dicom import signatures
from octshard.prep.readers import side_text
from octshard.prep.readers.array_scan import NOWHERE, ArrayScan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.readers.side_text import Line
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import Concatenation, PixelMeasures, ScanFacts
from octshard.storage.checksum import Buffer

ENDING = ".oct"
SAMPLE = np.dtype("<f4")
HEIGHT, DEPTH, EYE = "oct window height", "scan depth", "eye scanned"
GROUP_FRAMES, GROUPS = "frames per data group", "total data groups"
COLS, FRAMES, WIDTH, INTERVAL = "xy scan length", "xy scan usage", "xy scan size1", "xy scan interval1"
STEP = re.compile(r"step (\d+)\b")
PATTERNS = {  # words in names of Optovue's scans, the first that is there
    "3d": "raster", "angio": "raster", "cube": "raster", "raster": "raster", "radial": "radial",
    "pachymetry": "radial", "pachymetrywide": "radial", "cross": "mixed", "grid": "mixed", "gcc": "mixed",
    "onh": "mixed", "line": "line", "lines": "line",
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """B-scans of one kind. section: its name in the text; values: by their keys."""

    section: str
    values: Mapping[str, Line]

    def count(self, key: str) -> int:
        """Refused `unreadable` where it is missing, or no number."""
        return _count(self.values, key)


def is_one(file: ScanBytes) -> bool:
    """True for a name in .OCT whose text tells its height, unless its bytes look like something else."""
    if not _may_be(file):
        return False
    return any(line.key == HEIGHT for line in side_text.beside(file))


def missing_text(file: ScanBytes) -> str:
    """The name of the text that is not there, if the file could be one with it; else empty."""
    if not _may_be(file) or side_text.beside(file):
        return ""
    return next(iter(side_text.names_beside(file.name)), "")


def open_scan(file: ScanBytes) -> ArrayScan:
    """The B-scans of the greatest step; Refused `truncated`, `several_volumes` or `unreadable`."""
    lines = side_text.beside(file)
    top, steps = _parse(lines)
    rows = _count(top, HEIGHT)
    if not steps:
        raise Refused("unreadable", f"no {COLS} with {FRAMES} in the text beside it")
    step = max(steps, key=lambda step: step.count(FRAMES))
    frames, cols = step.count(FRAMES), step.count(COLS)
    if (groups := _count(top, GROUPS, 1)) > 1:
        raise Refused("several_volumes", f"{groups} data groups, want one")
    if frames > 1 and sum(other.count(FRAMES) == frames for other in steps) > 1:
        raise Refused("several_volumes", f"several steps of {frames} B-scans, want one")
    offset = _offset(file.data, rows, steps, step, _count(top, GROUP_FRAMES, frames))
    facts = ScanFacts(
        sop_instance_uid="",
        transfer_syntax="",
        manufacturer="Optovue",
        model="",
        eye=EYES.get(top[EYE].value.lower(), "") if EYE in top else "",
        frames=frames,
        rows=rows,
        cols=cols,
        bits=8 * SAMPLE.itemsize,
        measures=_measures(top, step.values, rows, cols),
        locations=(),
        placement=NOWHERE,
        concatenation=Concatenation(),
        pattern=_pattern(step.section, file.name),
    )
    return ArrayScan(facts, SAMPLE, partial(_volume, file.data, offset, facts))


def _may_be(file: ScanBytes) -> bool:
    return file.name.lower().endswith(ENDING) and not signatures.name_of(file.data)


def _parse(lines: Iterable[Line]) -> tuple[Mapping[str, Line], Sequence[Step]]:
    """What the text says of the file, and its steps in their order.

    A step has a number in the name of its sections; where sections have none it begins with its A-scans.
    """
    top: dict[str, Line] = {}
    steps: dict[str, dict[str, Line]] = {}
    sections: dict[str, str] = {}
    unnumbered = ""
    for line in lines:
        number = STEP.search(line.section.lower())
        if number is None and line.key == COLS:
            unnumbered = f"#{len(steps) + 1}"
        name = number[1] if number else unnumbered
        if line.key not in (COLS, FRAMES, WIDTH, INTERVAL):
            top.setdefault(line.key, line)
        elif name:
            sections.setdefault(name, line.section)
            steps.setdefault(name, {}).setdefault(line.key, line)
    return top, [
        Step(sections[name], values) for name, values in steps.items() if {COLS, FRAMES} <= values.keys()
    ]


def _count(values: Mapping[str, Line], key: str, otherwise: int | None = None) -> int:
    """A whole number; without `otherwise` Refused if it is missing."""
    if key not in values:
        if otherwise is None:
            raise Refused("unreadable", f"{key} is missing in the text beside it")
        return otherwise
    return side_text.count(values[key])


def _offset(data: Buffer, rows: int, steps: Sequence[Step], step: Step, group_frames: int) -> int:
    """Where its B-scans begin. Files hold those of all steps, of the data group, or of this step alone.

    Refused `truncated` or `unreadable` for other sizes.
    """
    column = rows * SAMPLE.itemsize
    sizes = [column * other.count(COLS) * other.count(FRAMES) for other in steps]
    place = steps.index(step)
    whole, alone, stored = sum(sizes), sizes[place], len(data)
    group = column * step.count(COLS) * group_frames
    if stored == whole:
        offset = sum(sizes[:place])
    elif stored == alone or (place == 0 and stored == group > alone):
        offset = 0
    else:
        shape = f"{step.count(FRAMES)} x {rows} x {step.count(COLS)}"
        reason = "truncated" if stored < max(whole, alone) else "unreadable"
        raise Refused(reason, f"{stored} bytes, want {alone} of {shape} numbers, or {whole} with other steps")
    last = column * step.count(COLS)
    if alone and not any(memoryview(data)[offset + alone - last : offset + alone]):
        raise Refused("truncated", f"only zeros in the last {last} bytes of its B-scans")
    return offset


def _measures(
    top: Mapping[str, Line], step: Mapping[str, Line], rows: int, cols: int
) -> tuple[PixelMeasures, ...]:
    """The text tells the depth of the scan, the width of a B-scan, and the step between B-scans."""
    mm: dict[str, float | None] = {}
    unreadable = []
    for key, values in ((DEPTH, top), (WIDTH, step), (INTERVAL, step)):
        reading = lengths.read(key, values[key].value if key in values else "", 1)
        mm[key] = reading.mm[0] if reading.mm else None
        unreadable += [reading.problem] if reading.problem else []
    depth, width = mm[DEPTH], mm[WIDTH]
    plane = (depth / rows, width / cols) if depth and width and rows and cols else None
    return (
        PixelMeasures("file", plane, spacing_between_slices_mm=mm[INTERVAL], unreadable=tuple(unreadable)),
    )


def _pattern(section: str, name: str) -> str:
    """One of volume.GEOMETRIES by the name of the scan, in its section or else its file; empty if unknown."""
    for text in (section, name.rpartition("/")[2]):
        words = re.findall(r"[a-z0-9]+", text.lower())
        for word, pattern in PATTERNS.items():
            if word in words:
                return pattern
    return ""


def _volume(data: Buffer, offset: int, facts: ScanFacts) -> np.ndarray:
    frames, rows, cols = facts.shape
    flat = np.frombuffer(data, SAMPLE, frames * rows * cols, offset)
    return flat.reshape(frames, cols, rows).transpose(0, 2, 1)[:, ::-1]
