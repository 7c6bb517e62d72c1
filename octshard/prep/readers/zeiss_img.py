"""Zeiss Cirrus .img: the voxels of a cube and nothing else; its size and its eye stand in its name.

Where a text of the same name lies beside it and tells them, the text is believed. Layout as LibOctData and
retimat read it: B-scans turned by 180 degrees, the last one first.
"""

import re
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from octshard.dataset.eyes import EYES
from octshard.imaging.volume import Shape, product
from octshard.prep.dicom import signatures
from octshard.prep.readers import cube_text, side_text
from octshard.prep.readers.array_scan import NOWHERE, file_measures
from octshard.prep.readers.cube_text import CubeText
from octshard.prep.readers.frame_scan import FrameScan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import Concatenation, PixelMeasures, ScanFacts
from octshard.storage.checksum import Buffer

ENDING = ".img"
# PERSON_Macular Cube 512x128_DATE_TIME_OD_SERIAL_cube_z.img
NAME = re.compile(r"[ _](\d{2,4})x(\d{2,4})_.*_(OD|OS)_.*_cube_(?:z|raw)\.img\Z", re.IGNORECASE)
ROWS = 1024  # of every cube of which nobody says otherwise


@dataclass(frozen=True)
class CubeName:
    """What the name of a cube tells."""

    cols: int
    frames: int
    eye: str


def is_one(file: ScanBytes) -> bool:
    """True for the name of a cube, or a text that tells its size, unless the bytes look like something else.

    They bear no mark.
    """
    name = _name(file.name)
    if name is not None and len(file.data) == name.frames * ROWS * name.cols:
        return True
    if not file.name.lower().endswith(ENDING) or signatures.name_of(file.data):
        return False
    return name is not None or _text(file).tells_size


def open_scan(file: ScanBytes) -> FrameScan:
    """Refused `truncated` or `unreadable` if there are fewer or more bytes than name or text say."""
    name, text = _name(file.name), _text(file)
    sizes = {"rows": ROWS, **({"cols": name.cols, "frames": name.frames} if name else {}), **text.sizes()}
    shape = sizes["frames"], sizes["rows"], sizes["cols"]
    _check_size(file.data, shape, name, source="the text beside it" if text.sizes() else "its name")
    spacing, unreadable = text.spacing_mm(shape)
    facts = ScanFacts(
        sop_instance_uid="",
        transfer_syntax="",
        manufacturer="Zeiss",
        model="Cirrus",
        eye=text.eye or (name.eye if name else ""),
        frames=shape[0],
        rows=shape[1],
        cols=shape[2],
        bits=8,
        measures=_measures(spacing, unreadable),
        locations=(),
        placement=NOWHERE,
        concatenation=Concatenation(),
        pattern="raster",
        size_in_name=(name.frames, name.cols) if name else None,
    )
    return FrameScan(facts, partial(_frame, file.data, facts))


def _name(name: str) -> CubeName | None:
    match = NAME.search(name.rpartition("/")[2])
    return None if match is None else CubeName(int(match[1]), int(match[2]), EYES[match[3].lower()])


def _text(file: ScanBytes) -> CubeText:
    return cube_text.parse(side_text.beside(file))


def _check_size(data: Buffer, shape: Shape, name: CubeName | None, source: str) -> None:
    """As `open_scan`, and where name and text have as many voxels in other shapes: which of them is it?"""
    frames, rows, cols = shape
    nbytes = product(shape)
    size = f"{frames} x {rows} x {cols} voxels by {source}"
    by_name = None if name is None else (name.frames, rows, name.cols)
    if len(data) != nbytes:
        fits = by_name is not None and by_name != shape and len(data) == product(by_name)
        other = f"; it has as many as {' x '.join(map(str, by_name or ()))} by its name" if fits else ""
        reason = "truncated" if len(data) < nbytes and not fits else "unreadable"
        raise Refused(reason, f"{len(data)} bytes, want {nbytes} of {size}{other}")
    if by_name is not None and by_name != shape and product(by_name) == nbytes:
        raise Refused("unreadable", f"{size}, {' x '.join(map(str, by_name))} by its name: want the same")
    if nbytes and not any(memoryview(data)[-rows * cols :]):
        raise Refused("truncated", f"only zeros in the last {rows * cols} bytes, a B-scan")


def _measures(spacing: list[float | None], unreadable: list[str]) -> tuple[PixelMeasures, ...]:
    if not any(spacing) and not unreadable:
        return ()
    measures = file_measures(spacing)
    return (replace(measures, unreadable=(*measures.unreadable, *unreadable)),)


def _frame(data: Buffer, facts: ScanFacts, index: int) -> np.ndarray:
    nbytes = facts.rows * facts.cols
    flat = np.frombuffer(data, np.uint8, nbytes, (facts.frames - 1 - index) * nbytes)
    return flat.reshape(facts.rows, facts.cols)[::-1, ::-1]
