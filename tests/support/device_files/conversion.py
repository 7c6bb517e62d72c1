"""What becomes of the bytes of one file, in process: its row and its tar slice."""

import dataclasses
from collections.abc import Mapping

from octshard.config.prep import PrepConfig
from octshard.dataset.tables import SampleRow
from octshard.imaging.volume import SampleKey
from octshard.prep.convert import sample
from octshard.prep.convert.sample import Converted, ConvertTask
from octshard.prep.dicom import writer
from octshard.prep.plan import Member
from tests.support.memory_source import MemorySource, entry

CFG = PrepConfig(target_spacing=[0.08, 0.02, 0.04], image_size=[4, 8, 8], max_output_voxels=2_000_000)
SAME = (
    "eye",
    "frames",
    "rows",
    "cols",
    "geometry",
    "spacing_in",
    "shape_out",
    "spacing_out",
    "sha256",
    "mean",
)


Beside = Mapping[str, bytes]  # files in the same folder


def _task(
    name: str, files: Beside, row: Mapping[str, object], cfg: PrepConfig = CFG
) -> tuple[ConvertTask, PrepConfig, MemorySource]:
    silent = {"eye": "", "sop_instance_uid": "", "manufacturer": "", "model": "", **row}
    listed = dataclasses.replace(entry(name), **silent)
    key = SampleKey("1001", "topcon_triton", "macula", "L", "0")
    task = ConvertTask(Member(key, listed, 0, (listed,)), "train-000000.tar", "train")
    return task, cfg, MemorySource(files)


def converted(
    name: str, data: bytes, beside: Beside | None = None, cfg: PrepConfig = CFG, **row: object
) -> Converted:
    """The file by a manifest that says nothing of it, unless `row` does."""
    return sample.convert(*_task(name, {name: data, **(beside or {})}, row, cfg))


def row_of(name: str, data: bytes, beside: Beside | None = None, **row: object) -> SampleRow:
    """As `converted`."""
    return converted(name, data, beside, **row).row


def facts_of(row: SampleRow) -> dict[str, object]:
    """What must be the same of one scan, whatever the format of its file."""
    return {name: getattr(row, name) for name in SAME}


def dicom_facts(scan: writer.Scan) -> dict[str, object]:
    """Those of the scan as a DICOM file."""
    row = row_of("a.dcm", writer.write(scan))
    assert row.status == "ok"
    return facts_of(row)
