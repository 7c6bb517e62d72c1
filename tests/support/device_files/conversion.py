"""What becomes of the bytes of one file, in process: its row, and whether damage to them does any harm."""

import dataclasses
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping

from octshard.config.prep import PrepConfig
from octshard.dataset.tables import SampleRow
from octshard.imaging.volume import SampleKey
from octshard.prep.convert import sample
from octshard.prep.convert.sample import Converted, ConvertTask
from octshard.prep.dicom import writer
from octshard.prep.plan import Member
from octshard.prep.refusals import REASONS
from octshard.rng import rng_for
from tests.support.damage import byte_damage
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
LEAD = bytes(132)  # byte_damage spares so many bytes, those of a DICOM preamble
MOST_BYTES = 30_000_000  # at once, of a file of some ten kilobytes


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


def survivors(
    name: str,
    data: bytes,
    count: int,
    beside: Beside | None = None,
    packed: Callable[[bytes], bytes] = bytes,
    *,
    opened: str = "",
) -> Counter[str]:
    """What became of `count` damaged copies: each a row, with no more memory than its bytes ask for.

    Their volumes are decoded, not packed. packed: what is done to the bytes after the damage; opened: the
    file that is listed, where the damaged one lies beside it.
    """
    outcomes: Counter[str] = Counter()
    tracemalloc.start()
    try:
        for i in range(count):
            rng = rng_for("device files", name, i)
            kind = str(rng.choice(list(byte_damage.KINDS)))
            recipe, damaged = byte_damage.KINDS[kind](LEAD + data, rng)
            tracemalloc.reset_peak()
            files = {name: packed(damaged[len(LEAD) :]), **(beside or {})}
            row, volume = sample.row_and_volume(*_task(opened or name, files, {}))
            assert tracemalloc.get_traced_memory()[1] < MOST_BYTES, f"{i}: {recipe}"
            assert (volume is None) == (row.reason in REASONS), f"{i}: {recipe}"
            outcomes[row.reason or "ok"] += 1
    finally:
        tracemalloc.stop()
    return outcomes
