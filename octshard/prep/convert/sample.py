"""One manifest row -> its row and its tar slice: read, check, decode, resample, pack. Nothing is written.

The one place where a refusal becomes a row: every manifest row gives exactly one `SampleRow`, whatever its
file is like. The same file, config and twins give the same bytes on every machine.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from octshard.config.prep import PrepConfig
from octshard.dataset.tables import SampleRow
from octshard.imaging.volume import Volume
from octshard.prep.convert import facts, tar_slice
from octshard.prep.convert.layout import check_is_volume, layout_of
from octshard.prep.convert.source_file import read_file
from octshard.prep.convert.voxels import decode_voxels, plan_resampling, psnr_db
from octshard.prep.dicom import header as dicom
from octshard.prep.duplicates import SAME_SCAN
from octshard.prep.plan import Member
from octshard.prep.refusals import Refused
from octshard.prep.release.source import Source


@dataclass(frozen=True)
class ConvertTask:
    """What is to be made of one manifest row."""

    member: Member
    shard: str  # the tar's name
    split: str
    audit: bool = False  # if decoded fast, decode exactly as well and record how far apart they are
    # the detail of its row as a duplicate, if it is sound; "": it is no duplicate; None: look at its twins
    duplicate_of: str | None = None
    crashed_paths: frozenset[str] = frozenset()  # paths of twins that killed the process that read them


class Converted(NamedTuple):
    """A row, and its tar slice; empty if it is refused."""

    row: SampleRow
    data: bytes


def convert(task: ConvertTask, cfg: PrepConfig, source: Source) -> Converted:
    """The row of one manifest entry, and its tar slice."""
    row, volume = row_and_volume(task, cfg, source)
    return Converted(row, b"") if volume is None else Converted(*tar_slice.pack(row, volume, cfg.zstd_level))


def row_and_volume(task: ConvertTask, cfg: PrepConfig, source: Source) -> tuple[SampleRow, Volume | None]:
    """The row as far as it is known before packing, and the volume; a refused row has none.

    A file that is refused in one stage keeps what the stages before said of it. A sound file with a sound
    twin before it is a duplicate. The twin may lie in another shard or split, so it is read anew, unless the
    rows of the whole device have settled it.
    """
    entry, row = task.member.entry, _manifest_row(task)
    try:
        data, file_facts = read_file(entry, source)
        row = replace(row, **file_facts._asdict())
        header = dicom.parse(data)
        row = replace(row, **facts.of_header(header, entry)._asdict())
        dicom.check(header, cfg.max_voxels)
        layout = layout_of(header, entry)
        row = replace(row, **facts.of_layout(layout, header, entry)._asdict())
        check_is_volume(layout.geometry, cfg.include_geometry)
        resampling = plan_resampling(data, header, layout, cfg)
        level = resampling.grid.level
        voxels_DHW, quality = decode_voxels(data, header, resampling)
        row = replace(row, **facts.of_voxels(quality, level, row.flags)._asdict())
        if detail := _duplicate_detail(task, cfg, source):
            raise Refused("duplicate", detail)
        if task.audit and level:
            exact_DHW, _ = decode_voxels(data, header, resampling.at_level(0))
            row = replace(row, fast_psnr_db=psnr_db(voxels_DHW, exact_DHW))
        return row, Volume(task.member.key, voxels_DHW, resampling.spacing_mm)
    except Refused as refusal:
        return _refused(row, refusal), None


def refused(task: ConvertTask, refusal: Refused) -> Converted:
    """What becomes of a file that could not be looked at."""
    return Converted(_refused(_manifest_row(task), refusal), b"")


def _refused(row: SampleRow, refusal: Refused) -> SampleRow:
    return replace(row, shard="", status="refused", reason=refusal.reason, detail=refusal.detail)


def _manifest_row(task: ConvertTask) -> SampleRow:
    """What the manifest and the plan say."""
    entry = task.member.entry
    return SampleRow(
        key=str(task.member.key),
        participant=entry.participant,
        device=entry.device,
        manufacturer=entry.manufacturer,
        model=entry.model,
        protocol=entry.protocol,
        region=entry.region,
        eye=entry.eye,
        split=task.split,
        split_source=task.member.split_source,
        source=entry.path,
        sop_instance_uid=entry.sop_instance_uid,
        shard=task.shard,
    )


def _duplicate_detail(task: ConvertTask, cfg: PrepConfig, source: Source) -> str:
    """The detail of a duplicate, naming the first twin before the member that is not refused; or nothing."""
    if task.duplicate_of is not None:
        return task.duplicate_of
    for entry in task.member.earlier_duplicates:
        if entry.path in task.crashed_paths:
            continue
        twin = ConvertTask(Member(task.member.key, entry), task.shard, task.split, duplicate_of="")
        if row_and_volume(twin, cfg, source)[1] is not None:
            return SAME_SCAN + entry.path
    return ""
