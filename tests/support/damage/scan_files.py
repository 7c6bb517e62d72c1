"""Damaged copies of the sound scans of `every_format`: of the bytes of a file, of one beside it, of its name.

Half of the damage lies in a header or another small part of the file, as most bytes are pixels. Numbers that
are written as text become others, and what is packed is damaged before it is packed, too.
"""

import gzip
import io
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import NamedTuple

from octshard.rng import rng_for
from tests.support import every_format
from tests.support.array_files import Files
from tests.support.damage import byte_damage, dicom_tags
from tests.support.damage.byte_damage import Kind
from tests.support.damage.case import Rng, pick

LEAD = bytes(132)  # byte_damage spares so many bytes, those of a DICOM preamble
NUMBERS = (b"0", b"-1", b"1", b"7", b"1e308", b"nan", b"inf", b"65536", b"4294967297", b"9" * 25, b"0.5", b"")
DIGITS = re.compile(rb"\d+")


class FileDamage(NamedTuple):
    """One damaged scan. files: by their names, the first is the one that a manifest lists."""

    kind: str
    text: str
    files: Files


def case(form: str, seed: int, i: int) -> FileDamage:
    """Damaged scan i of a format and a seed; the ways in which the format stores it come in turn."""
    ways = every_format.scans()[form]
    way = list(ways)[i % len(ways)]
    rng = rng_for(seed, "damaged scan", form, i)
    (first, data), *beside = ways[way].items()
    if rng.random() < 0.05 or (form == "img" and rng.random() < 0.3):
        text, name = _digits(first.encode(), rng)
        return FileDamage("name", f"{way}: name {text}", {name.decode(): data, **dict(beside)})
    if way in PACKED and rng.random() < 0.5:
        unpack, pack = PACKED[way]
        kind, text, damaged = _damaged(unpack(data), form, rng)
        return FileDamage(kind, f"{way}, before it was packed: {text}", {first: pack(damaged)})
    files = dict(ways[way])
    name = first if rng.random() < 0.7 else pick(rng, list(files))
    kind, text, files[name] = _damaged(files[name], form, rng)
    return FileDamage(kind, f"{way}: {text}", files)


def _damaged(data: bytes, form: str, rng: Rng) -> tuple[str, str, bytes]:
    """(kind, what was done, the bytes): to all of them, to the first ones, or somewhere to a few."""
    kinds = {**KINDS, **(dicom_tags.KINDS if form == "dicom" else {})}
    kind = pick(rng, list(kinds))
    start, stop = (0, len(data)) if kind in dicom_tags.KINDS else _span(len(data), rng)
    lead = b"" if kind in dicom_tags.KINDS else LEAD
    text, piece = kinds[kind](lead + data[start:stop], rng)
    return kind, f"{text}, of [{start}, {stop})", data[:start] + piece[len(lead) :] + data[stop:]


def _span(size: int, rng: Rng) -> tuple[int, int]:
    """All, the first bytes, or a few somewhere."""
    draw, length = rng.random(), 2 ** int(rng.integers(4, 12))
    start = 0 if draw < 0.75 else int(rng.integers(size))
    return start, size if draw < 0.5 else min(size, start + length)


def _digits(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """One of the numbers near the beginning."""
    places = [match.span() for match in DIGITS.finditer(data, 0, 4096)]
    if not places:
        return "no number", data
    start, stop = pick(rng, places)
    number = pick(rng, NUMBERS)
    return f"[{start}, {stop}) becomes {number.decode()!r}", data[:start] + number + data[stop:]


KINDS: Mapping[str, Kind] = {**byte_damage.KINDS, "digits": _digits}


def _unzipped(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read("oct_bscans.npy")


def _zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("oct_bscans.npy", data)
    return file.getvalue()


PACKED: Mapping[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "npz": (_unzipped, _zipped),
    "nifti, gzipped": (gzip.decompress, lambda data: gzip.compress(data, mtime=0)),
}
