"""What becomes of one damaged DICOM file in the children of `prep shard`, and whether it should.

A fault is a reason that is not true of the damage, or a stored file whose grey levels are not pydicom's.
"""

import dataclasses
import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from octshard.config.prep import PrepConfig
from octshard.errors import OctshardError
from octshard.imaging.volume import SampleKey
from octshard.prep.convert.sample import ConvertTask
from octshard.prep.convert.worker import WorkerJob
from octshard.prep.convert.worker_pool import WorkerPool
from octshard.prep.dicom import decode, header
from octshard.prep.plan import Member
from octshard.prep.refusals import REASONS
from octshard.prep.release.entry import Entry
from octshard.prep.release.source import FolderSource
from tests.support.damage import dicoms, fuzz, second_method
from tests.support.damage.case import OK, Case
from tests.support.damage.judges import Verdict

NAME = "1001_triton_3d_macula_oct_l_2.25.1.dcm"
ENTRY = Entry("1001", "topcon_triton", "", "", "p", "", "L", None, None, None, None, None, "", NAME)
CFG = dataclasses.replace(
    PrepConfig(),
    decode_timeout_s=60.0,  # that it ends: machines that do other work are slow
    worker_memory=1_000_000_000,
    target_spacing=[0.08, 0.04, 0.04],
    max_voxels=2**22,
)


def run(numbers: Iterable[int], seed: int, folder: Path) -> fuzz.Tally:
    """Converts these files of a seed one by one in a child, as `prep shard` does."""
    tally, began = fuzz.Tally(), time.process_time()
    task = ConvertTask(Member(SampleKey.of("1001", "topcon_triton", "p", "L", "1"), ENTRY), "s", "train")
    with WorkerPool(WorkerJob(CFG, FolderSource(str(folder))), 1) as pool:
        for i in numbers:
            case = dicoms.case(seed, i)
            (folder / NAME).write_bytes(case.damage.data)
            start = time.monotonic()
            try:
                row = pool.submit(task).result().row
            except OctshardError as error:  # of a run, not of a file
                tally.add(Verdict(case.kind, case.recipe, "error", (str(error),)), 0.0, 0)
                continue
            seconds = time.monotonic() - start
            peak = max((fuzz.peak_of(pid) for pid in fuzz.below(os.getpid())), default=0)
            tally.add(_verdict(case, row.reason or OK, row.detail), seconds, peak)
        children = sum(fuzz.cpu_of(pid) for pid in fuzz.below(os.getpid()))
    tally.cpu_s = time.process_time() - began + children
    return tally


def _verdict(case: Case, outcome: str, detail: str) -> Verdict:
    faults = []
    if outcome not in case.damage.outcomes:
        faults.append(f"not one of {sorted(case.damage.outcomes)}: {detail}")
    if outcome != OK and (outcome not in REASONS or not detail or "\n" in detail):
        faults.append(f"reason {outcome!r}, detail {detail!r}")
    if outcome == OK:
        data = case.damage.data
        levels_DHW = np.stack(list(decode.frames(data, header.read_header(data, CFG.max_voxels))))
        try:
            reference_DHW, followed = second_method.meaning(data)
            outcome = OK if followed else "ok, pydicom needs its table gone"
        except Exception:  # pydicom cannot read what we can: then the damage must have changed nothing
            reference_DHW, outcome = second_method.meaning(case.sound).levels_DHW, "ok, pydicom raises"
        if levels_DHW.dtype != reference_DHW.dtype or not np.array_equal(levels_DHW, reference_DHW):
            faults.append(f"{levels_DHW.dtype}{levels_DHW.shape} of other levels than {outcome}")
    return Verdict(case.kind, case.recipe, outcome, tuple(faults))
