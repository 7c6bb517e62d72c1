"""What the text beside a Zeiss .img says of its cube: sizes, spacing or scan lengths, the eye.

No description of such texts is published, so usual words are understood, in any case and with any
signs between them: `Number of A-scans: 512`, `scan_width = 6.0 mm`, `Scan Size (mm): 6 x 6 x 2`. The order of
lines tells nothing, and two values for one thing tell none.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from octshard.dataset.eyes import EYES
from octshard.prep import lengths
from octshard.prep.readers import side_text
from octshard.prep.readers.side_text import Line
from octshard.prep.refusals import Refused

KEYS = {  # what a line tells: its key, letters and digits alone
    "cols": ("ascans", "numberofascans", "ascansperbscan", "columns", "width"),
    "frames": ("bscans", "numberofbscans", "frames", "numberofframes", "slices"),
    "rows": ("ascanlength", "samplesperascan", "pixelsperascan", "rows", "height"),
    "cube": ("scantype", "scanpattern", "scanname", "scan", "cube", "protocol"),
    "width": ("scanwidth", "scanlengthx", "xscanlength", "fastscanlength"),
    "length": ("scanheight", "scanlengthy", "yscanlength", "slowscanlength"),
    "long": ("scanlength",),  # beside a width it is the length, alone it is the width
    "depth": ("scandepth", "scandepthz", "zscandepth"),
    "extent": ("scansize", "scanarea", "cubesize"),  # width x length, or width x length x depth
    "dx": ("ascanspacing", "lateralspacing", "xspacing"),
    "dz": ("bscanspacing", "slicespacing", "bscandistance", "spacingbetweenbscans", "distancebetweenbscans"),
    "dy": ("axialspacing", "depthspacing"),
    "eye": ("eye", "laterality", "eyescanned"),
}
FIELDS = {key: name for name, keys in KEYS.items() for key in keys}
SAME_MM = 0.01  # share by which two lengths of one thing may differ, as they are rounded
SIZES = ("frames", "rows", "cols")
UNIT = re.compile(r"[(\[]\s*([mu]m|µm)\s*[)\]]", re.IGNORECASE)  # behind a key
CUBE = re.compile(r"(?<!\d)(\d{3,4})x(\d{3,4})(?!\d|\s*[mu]m)", re.IGNORECASE)
SHARED = {"width", "height"}  # words for pixels, and for lengths


@dataclass(frozen=True)
class CubeText:
    """Lines by what they tell."""

    lines: Mapping[str, Sequence[Line]] = field(default_factory=dict)

    @property
    def tells_size(self) -> bool:
        """True if A-scans and B-scans are told."""
        return bool({"cols", "frames"} <= self.lines.keys() or self._cubes)

    @property
    def eye(self) -> str:
        """L, R or empty, as where it tells both."""
        eyes = {EYES.get(line.value.lower(), "") for line in self.lines.get("eye", ())} - {""}
        return eyes.pop() if len(eyes) == 1 else ""

    def sizes(self) -> dict[str, int]:
        """Those of frames, rows and cols that are told; Refused `unreadable` for no number, or two."""
        told = {name: self._count(name) for name in SIZES if name in self.lines}
        cubes = self._cubes
        if len(cubes) > 1:
            sizes = " and ".join(f"{cols} x {frames}" for cols, frames in sorted(cubes))
            raise Refused("unreadable", f"the text beside it names cubes of {sizes} A-scans and B-scans")
        return {
            **{name: n for cube in cubes for name, n in zip(("cols", "frames"), cube, strict=True)},
            **told,
        }

    def spacing_mm(self, shape: tuple[int, int, int]) -> tuple[list[float | None], list[str]]:
        """(dz, dy, dx), each as told or else by the length of the scan, and what is no length."""
        problems: list[str] = []
        mm = {name: self._length(name, problems) for name in ("dz", "dy", "dx", "length", "depth", "width")}
        for name, extent in zip(("width", "length", "depth"), self._extent(problems), strict=False):
            told = mm[name]
            mm[name] = told or extent
            if told and extent and not _same(told, extent):
                problems.append(f"scan {name} {told:g} and {extent:g} mm")
                mm[name] = None
        by_length = zip(("dz", "dy", "dx"), ("length", "depth", "width"), shape, strict=True)
        return [
            mm[step] or ((mm[whole] or 0) / n if n else None) or None for step, whole, n in by_length
        ], problems

    @property
    def _cubes(self) -> set[tuple[int, int]]:
        """`512x128` in names of the scan: A-scans, B-scans."""
        matches = (CUBE.search(line.value) for line in self.lines.get("cube", ()))
        return {(int(match[1]), int(match[2])) for match in matches if match}

    def _count(self, name: str) -> int:
        counts = sorted({side_text.count(line) for line in self.lines[name]})
        if len(counts) > 1:
            numbers = " and ".join(map(str, counts))
            raise Refused("unreadable", f"{name} {numbers} in the text beside it, want one number")
        return counts[0]

    def _length(self, name: str, problems: list[str]) -> float | None:
        mm = self._read(name, (1,), problems)
        return mm[0] if mm else None

    def _extent(self, problems: list[str]) -> tuple[float, ...]:
        return self._read("extent", (3, 2), problems)

    def _read(self, name: str, counts: Sequence[int], problems: list[str]) -> tuple[float, ...]:
        """The lengths of all its lines, in one of these numbers; none if two lines say another thing."""
        told = []
        for line in self.lines.get(name, ()):
            readings = [self._of_line(name, line, count) for count in counts]
            if lengths_mm := next((reading.mm for reading in readings if reading.mm), ()):
                told.append(lengths_mm)
            elif readings[-1].problem:
                problems.append(readings[-1].problem)
        longest = max(told, key=len, default=())
        if any(not all(map(_same, mm, longest)) for mm in told):
            texts = (" x ".join(f"{length:g}" for length in mm) for mm in told)
            problems.append(f"scan {name} {' and '.join(texts)} mm")
            return ()
        return longest

    @staticmethod
    def _of_line(name: str, line: Line, count: int) -> lengths.Reading:
        unit = UNIT.search(line.key)
        bare = unit is None or lengths.UNIT.search(line.value)
        return lengths.read(name, line.value if bare or unit is None else line.value + unit[1], count)


def _same(mm: float, other_mm: float) -> bool:
    return abs(mm - other_mm) <= SAME_MM * max(mm, other_mm)


def parse(lines: Iterable[Line]) -> CubeText:
    """Of the lines that `side_text.beside` gives."""
    told: dict[str, list[Line]] = {}
    for line in lines:
        key = re.sub(r"[^a-z0-9]", "", UNIT.sub("", line.key))
        if key in SHARED and not side_text.COUNT.fullmatch(line.value):
            continue
        if key in FIELDS and line.value:
            told.setdefault(FIELDS[key], []).append(line)
    if "long" in told:
        name = "length" if "width" in told or "extent" in told else "width"
        told[name] = [*told.get(name, ()), *told.pop("long")]
    return CubeText(told)
