"""What the text beside a Zeiss .img says of its cube: sizes, spacing or scan lengths, the eye.

No description of such texts is published, so usual words are understood, in any case and with any
signs between them: `Number of A-scans: 512`, `scan_width = 6.0 mm`, `Scan Size (mm): 6 x 6 x 2`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from octshard.dataset.eyes import EYES
from octshard.prep import lengths
from octshard.prep.readers import side_text
from octshard.prep.readers.side_text import Line

KEYS = {  # what a line tells: its key, letters and digits alone
    "cols": ("ascans", "numberofascans", "ascansperbscan", "columns", "width"),
    "frames": ("bscans", "numberofbscans", "frames", "numberofframes", "slices"),
    "rows": ("ascanlength", "samplesperascan", "pixelsperascan", "rows", "height"),
    "cube": ("scantype", "scanpattern", "scanname", "scan", "cube", "protocol"),
    "width": ("scanwidth", "scanlength", "scanlengthx", "xscanlength", "fastscanlength"),
    "length": ("scanheight", "scanlengthy", "yscanlength", "slowscanlength"),
    "depth": ("scandepth", "scandepthz", "zscandepth"),
    "extent": ("scansize", "scanarea", "cubesize"),  # width x length, or width x length x depth
    "dx": ("ascanspacing", "lateralspacing", "xspacing"),
    "dz": ("bscanspacing", "slicespacing", "bscandistance", "spacingbetweenbscans", "distancebetweenbscans"),
    "dy": ("axialspacing", "depthspacing"),
    "eye": ("eye", "laterality", "eyescanned"),
}
FIELDS = {key: name for name, keys in KEYS.items() for key in keys}
SIZES = ("frames", "rows", "cols")
UNIT = re.compile(r"[(\[]\s*([mu]m|µm)\s*[)\]]", re.IGNORECASE)  # behind a key
CUBE = re.compile(r"(?<!\d)(\d{3,4})x(\d{3,4})(?!\d|\s*[mu]m)", re.IGNORECASE)
SHARED = {"width", "height"}  # words for pixels, and for lengths


@dataclass(frozen=True)
class CubeText:
    """Lines by what they tell, the first of each."""

    lines: Mapping[str, Line] = field(default_factory=dict)

    @property
    def tells_size(self) -> bool:
        """True if A-scans and B-scans are told."""
        return bool({"cols", "frames"} <= self.lines.keys() or self._cube)

    @property
    def eye(self) -> str:
        """L, R or empty."""
        return EYES.get(self.lines["eye"].value.lower(), "") if "eye" in self.lines else ""

    def sizes(self) -> dict[str, int]:
        """Those of frames, rows and cols that are told; Refused `unreadable` for what is no number."""
        told = {name: side_text.count(self.lines[name]) for name in SIZES if name in self.lines}
        cube = self._cube
        return {"cols": int(cube[1]), "frames": int(cube[2]), **told} if cube else told

    def spacing_mm(self, shape: tuple[int, int, int]) -> tuple[list[float | None], list[str]]:
        """(dz, dy, dx), each as told or else by the length of the scan, and what is no length."""
        problems: list[str] = []
        mm = {name: self._length(name, problems) for name in ("dz", "dy", "dx", "length", "depth", "width")}
        for name, extent in zip(("width", "length", "depth"), self._extent(problems), strict=False):
            mm[name] = mm[name] or extent
        by_length = zip(("dz", "dy", "dx"), ("length", "depth", "width"), shape, strict=True)
        return [
            mm[step] or ((mm[whole] or 0) / n if n else None) or None for step, whole, n in by_length
        ], problems

    @property
    def _cube(self) -> re.Match[str] | None:
        """`512x128` in the name of the scan: A-scans, B-scans."""
        return CUBE.search(self.lines["cube"].value) if "cube" in self.lines else None

    def _length(self, name: str, problems: list[str]) -> float | None:
        mm = self._read(name, 1, problems) if name in self.lines else ()
        return mm[0] if mm else None

    def _extent(self, problems: list[str]) -> tuple[float, ...]:
        if "extent" not in self.lines:
            return ()
        return self._read("extent", 3, []) or self._read("extent", 2, problems)

    def _read(self, name: str, count: int, problems: list[str]) -> tuple[float, ...]:
        line = self.lines[name]
        unit = UNIT.search(line.key)
        bare = unit is None or lengths.UNIT.search(line.value)
        reading = lengths.read(name, line.value if bare or unit is None else line.value + unit[1], count)
        if reading.problem:
            problems.append(reading.problem)
        return reading.mm


def parse(lines: Iterable[Line]) -> CubeText:
    """Of the lines that `side_text.beside` gives."""
    told: dict[str, Line] = {}
    for line in lines:
        key = re.sub(r"[^a-z0-9]", "", UNIT.sub("", line.key))
        if key in SHARED and not side_text.COUNT.fullmatch(line.value):
            continue
        if key in FIELDS and line.value:
            told.setdefault(FIELDS[key], line)
    return CubeText(told)
