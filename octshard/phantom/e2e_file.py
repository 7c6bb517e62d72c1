"""An .e2e file, written from the structures that uocte's and eyepy's documentation lists.

For practice folders, and for tests of the reader.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

NOBODY = 0xFFFFFFFF  # an id that does not apply
PATIENT = 41
FUNDUS, TOMOGRAM = 33620481, 35652097  # kinds of an image


@dataclass(frozen=True)
class Series:
    """One scan. lines: the ends of each B-scan (x1, y1, x2, y2) in degrees."""

    number: int
    values_DHW: np.ndarray  # reflectance
    lines: Sequence[tuple[float, float, float, float]]
    eye: str = "L"
    scale_mm: float = 0.01
    pattern: int = 3
    declared: int | None = None  # B-scans, where it is not their number
    study: int = 7


@dataclass
class _Content:
    series: int
    slice: int
    ind: int
    kind: int
    data: bytes
    study: int = 7
    patient: int = PATIENT
    extra: dict[str, int] = field(default_factory=dict)


def to_float16u(values: np.ndarray) -> np.ndarray:
    """uint16: no sign, six bits of exponent with a bias of 63, ten bits of mantissa behind a hidden 1."""
    fraction, power = np.frexp(values.astype(np.float64))  # fraction in [0.5, 1)
    mantissa = np.rint((2 * fraction - 1) * 1024).astype(np.int64)
    exponent = power - 1 + 63
    return np.where(values > 0, exponent * 1024 + mantissa, 0).astype("<u2")  # 1024 carries into the exponent


def write(series: Sequence[Series], *, prefix: bytes = b"", directories: int = 2) -> bytes:
    """The file. prefix: bytes before it, which no position counts; directories: how many hold the entries."""
    contents = [
        _Content(NOBODY, NOBODY, 0xFFFF, 9, b"JANE".ljust(31, b"\0") + b"DOE".ljust(66, b"\0") + bytes(30))
    ]
    device = "Spectralis HRA+OCT".encode("utf-16-le")
    contents.append(_Content(NOBODY, NOBODY, 0xFFFF, 13, device.ljust(260, b"\0")))
    for one in series:
        contents += _contents(one)
    return prefix + _file(contents, directories)


def _contents(one: Series) -> list[_Content]:
    frames, rows, cols = one.values_DHW.shape
    fundus = struct.pack("<5I", 600, FUNDUS, 600, 20, 30) + bytes(600)
    made = [
        _Content(one.number, NOBODY, 0, 0x40000000, fundus),
        _Content(one.number, NOBODY, 0xFFFF, 11, bytes(14) + one.eye.encode() + bytes(12)),
    ]
    for index in np.random.default_rng(one.number).permutation(frames):  # they need not be in order
        x1, y1, x2, y2 = one.lines[index]
        meta = struct.pack(
            "<3I4fIf f fI2fI 4I 2f", 20, rows, cols, x1, y1, x2, y2, 0, 0.5, one.scale_mm, 0.25, 0,
            1.0, 2.0, 0, cols, frames if one.declared is None else one.declared, index, one.pattern,
            (x1 + x2) / 2, (y1 + y2) / 2,
        )  # fmt: skip
        number = 2 * int(index)
        made.append(_Content(one.number, number, 0xFFFF, 10004, meta.ljust(428, b"\0")))
        layer = struct.pack("<4I", 0, 5, 0, cols) + bytes(4 * cols)
        made.append(_Content(one.number, number, 0xFFFF, 10019, layer))
        image = struct.pack("<5I", 2 * rows * cols, TOMOGRAM, rows * cols, rows, cols)
        made.append(
            _Content(one.number, number, 1, 0x40000000, image + to_float16u(one.values_DHW[index]).tobytes())
        )
    return [replace(content, study=one.study) for content in made]


def _head(magic: bytes) -> bytes:
    return magic.ljust(12, b"\0") + struct.pack("<I", 100) + b"\xff\xff" * 9 + b"\0\0"


def _file(contents: Sequence[_Content], directories: int) -> bytes:
    """Header, main directory, then directories, each before its containers and pointing at the one before."""
    out = bytearray(_head(b"CMDb") + _head(b"MDbMDir") + bytes(16))
    before = 0
    for part in np.array_split(np.arange(len(contents)), directories):
        items, at = [contents[i] for i in part], len(out)
        first = at + 52 + 44 * (len(items) + 1)  # an entry of type 0 at the end is empty
        entries, containers = b"", b""
        for i, one in enumerate(items):
            pos, start = at + 52 + 44 * i, first + len(containers)
            ids = (one.patient, one.study, one.series, one.slice)
            entries += struct.pack("<8I2H2I", pos, start, len(one.data), 0, *ids, one.ind, 0, one.kind, 0)
            containers += b"MDbData".ljust(12, b"\0") + struct.pack("<2I3I", 0, 0, pos, len(one.data), 0)
            containers += struct.pack("<4I2H2I", *ids, one.ind, 0, one.kind, 0) + one.data
        directory = _head(b"MDbDir") + struct.pack("<4I", len(items) + 1, at, before, 0)
        out += directory + entries + bytes(44) + containers
        before = at
    struct.pack_into("<4I", out, 36 + 36, 0, before, 0, 0)
    return bytes(out)
