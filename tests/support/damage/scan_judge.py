"""What becomes of a damaged scan of any format: by its reader, as a row of prep, and in an index.

A fault is another exception than Refused, frames of another shape than declared, or a refusal that is no row.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np

from octshard.config.prep import PrepConfig
from octshard.imaging.volume import SampleKey
from octshard.prep.convert import sample
from octshard.prep.convert.sample import ConvertTask
from octshard.prep.index import look
from octshard.prep.index.walk import walk
from octshard.prep.plan import Member
from octshard.prep.readers import recognise
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import LONGEST, REASONS, Refused
from octshard.prep.release.source import FolderSource
from tests.support import every_format
from tests.support.damage import scan_files
from tests.support.damage.case import OK
from tests.support.damage.judges import Notes, Verdict
from tests.support.memory_source import entry

CFG = PrepConfig(
    target_spacing=[0.08, 0.02, 0.04],
    image_size=[4, 8, 8],
    max_output_voxels=2_000_000,
    include_geometry=["line"],  # an image alone
)
BEFORE_DECODING = ("geometry_", "frame_order", "several_volumes", "part_of_scan", "too_large")  # of prep
TOO_FAR_APART = "more than an eye can have"  # of voxels, said before their values are read
LIMIT_S = 10.0  # CPU seconds for one file: none may hang


class ScanJudge:
    """Of files of one format, which it writes into a folder."""

    def __init__(self, form: str, folder: Path) -> None:
        self.form, self.folder = form, folder

    def judge(self, seed: int, i: int) -> Verdict:
        """The outcome is that of the row."""
        damage, notes = scan_files.case(self.form, seed, i), Notes()
        name = next(iter(damage.files))
        if self.form == "images":
            name = every_format.FOLDER
        for other, data in damage.files.items():
            (self.folder / other).parent.mkdir(exist_ok=True)
            (self.folder / other).write_bytes(data)
        began, row = time.process_time(), ("", "")
        with notes.only():
            by_reader = self._by_reader(name, notes)
            row = self._row(name, notes)
            may_differ = row[0].startswith(BEFORE_DECODING) or row[1].endswith(TOO_FAR_APART)
            notes.check(may_differ or by_reader == (row[0] or OK), f"{by_reader} by the reader, but {row}")
            self._look(name, notes)
        notes.check(time.process_time() - began < LIMIT_S, f"{time.process_time() - began:.1f} s")
        for other in damage.files:
            (self.folder / other).unlink()
        recipe = f"scan_files.case({self.form!r}, {seed}, {i}): {damage.text}"
        return Verdict(damage.kind, recipe, row[0] or OK, tuple(notes.faults))

    def _by_reader(self, name: str, notes: Notes) -> str:
        """OK, with frames of the shape that is declared, or a reason."""
        source, listed = FolderSource(str(self.folder)), entry(name)
        try:
            data, above = source.read(listed), name[: name.rfind("/") + 1]
            opened = recognise.open_scan(
                ScanBytes(data, name, folder=lambda other: source.read(entry(above + other)))
            )
            opened.check(CFG.max_voxels)
            facts, frames = opened.facts, 0
            for frame_HW in opened.frames():
                frames += 1
                fits = frame_HW.shape == (facts.rows, facts.cols)
                notes.check(fits, f"{frame_HW.shape} of {facts.shape} declared")
                notes.check(frame_HW.dtype in (np.uint8, np.uint16), f"{frame_HW.dtype}")
            notes.check(frames == facts.frames, f"{frames} frames of {facts.frames}")
            notes.check("\n" not in opened.rescaling(), opened.rescaling())
        except Refused as refusal:
            notes.check(0 < len(refusal.detail) <= LONGEST, f"detail {refusal.detail!r}")
            return refusal.reason
        return OK

    def _row(self, name: str, notes: Notes) -> tuple[str, str]:
        """(reason, detail) of the row."""
        listed = dataclasses.replace(entry(name), eye="", sop_instance_uid="", manufacturer="", model="")
        member = Member(SampleKey.of("1001", "d", "p", "L", "0"), listed, 0, (listed,))
        task = ConvertTask(member, "train-000000.tar", "train")
        row, volume = sample.row_and_volume(task, CFG, FolderSource(str(self.folder)))
        notes.check((row.status == "refused") == (row.reason in REASONS), f"{row.status}, {row.reason}")
        notes.check((volume is None) == (row.status == "refused"), f"{row.status}, {volume}")
        notes.check("\n" not in row.detail and (row.status == "ok" or bool(row.detail)), f"{row.detail!r}")
        return row.reason, row.detail

    def _look(self, name: str, notes: Notes) -> None:
        """An index finds a scan where prep does."""
        for place in walk(str(self.folder)):
            finding = look.look(place, place.content(str(self.folder)), look.Asked(patient=True, dates=True))
            notes.check(not any("\n" in cell for cell in finding), f"{finding}")
            notes.check(finding.kind in (look.SCAN, look.IMAGE, look.OTHER, look.UNREAD), f"{finding}")
