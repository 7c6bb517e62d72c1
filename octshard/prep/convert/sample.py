"""One manifest row -> its row and its tar slice: read, check, decode, resample, pack. Nothing is written.

The one place where a refusal becomes a row: every manifest row gives exactly one `SampleRow`, whatever its
file is like. The same file, config and twins give the same bytes on every machine.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from octshard.config.prep import KEEP, PrepConfig
from octshard.dataset.tables import SampleRow
from octshard.imaging.volume import Volume
from octshard.prep.convert import facts, private_path, tar_slice, volumes
from octshard.prep.convert.layout import check_is_volume, layout_of
from octshard.prep.convert.source_file import Companions, read_file
from octshard.prep.convert.voxels import decode_voxels, plan_resampling, psnr_db
from octshard.prep.duplicates import SAME_SCAN
from octshard.prep.plan import Member
from octshard.prep.readers import recognise
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused, row_detail
from octshard.prep.release.entry import Entry
from octshard.prep.release.manifest_row import manifest_row
from octshard.prep.release.source import Source

TWINS = 8  # of a file that are looked at for its bytes while it is converted


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
    if volume is None:
        return Converted(row, b"")
    row, data = tar_slice.pack(row, volume, cfg)
    if detail := _duplicate_detail(task, row, source):
        row = replace(row, key=str(task.member.key), nbytes=None, xxh3="")  # what only a stored sample has
        return Converted(_refused(row, Refused("duplicate", detail), task.member.entry), b"")
    return Converted(row, data)


def row_and_volume(task: ConvertTask, cfg: PrepConfig, source: Source) -> tuple[SampleRow, Volume | None]:
    """The row as far as it is known before packing, and the volume; a refused row has none.

    A file that is refused in one stage keeps what the stages before said of it.
    """
    entry, row = task.member.entry, _manifest_row(task)
    try:
        data, file_facts = read_file(entry, source)
        row = replace(row, **file_facts.for_row(entry))
        companions = Companions(entry, source)
        file = ScanBytes(data, entry.path, entry.axes, companions.read, entry.part_names, cfg.bits == KEEP)
        row = replace(row, format=recognise.format_of(file))
        scan = volumes.selected(recognise.open_as(row.format, file), entry.path)
        row = replace(row, source_xxh3=companions.joint_xxh3(file_facts.source_xxh3))
        row = replace(row, **facts.of_header(scan.facts, entry)._asdict())
        scan.check(cfg.max_voxels)
        layout = layout_of(scan.facts, entry, cfg.include_geometry)
        row = replace(row, **facts.of_layout(layout, scan.facts, entry)._asdict())
        check_is_volume(layout.geometry, cfg.include_geometry)
        resampling = plan_resampling(scan, layout, cfg)
        level = resampling.grid.level
        voxels_DHW, quality = decode_voxels(scan, resampling)
        row = replace(row, **facts.of_voxels(quality, level, row.flags)._asdict())
        detail = "; ".join(filter(None, (row.detail, scan.rescaling())))
        row = replace(row, detail=private_path.public(detail, entry) if entry.source_id else detail)
        if task.audit and level:
            exact_DHW, _ = decode_voxels(scan, resampling.at_level(0))
            row = replace(row, fast_psnr_db=psnr_db(voxels_DHW, exact_DHW))
        key = task.member.stored_key
        volume = Volume(key, voxels_DHW, resampling.spacing_mm, display=scan.facts.display)
        return replace(row, key=str(key)), volume
    except Refused as refusal:
        return _refused(row, refusal, entry), None


def refused(task: ConvertTask, refusal: Refused) -> Converted:
    """What becomes of a file that could not be looked at."""
    return Converted(_refused(_manifest_row(task), refusal, task.member.entry), b"")


def _refused(row: SampleRow, refusal: Refused, entry: Entry) -> SampleRow:
    detail = refusal.detail
    if entry.source_id and refusal.reason != "duplicate":  # which names another file as its row does
        detail = row_detail(private_path.public(refusal.public, entry))
    return replace(row, shard="", status="refused", reason=refusal.reason, detail=detail)


def _manifest_row(task: ConvertTask) -> SampleRow:
    """What the manifest and the plan say."""
    member = task.member
    return replace(
        manifest_row(member.entry, task.split),
        key=str(member.key),
        split_source=member.split_source,
        shard=task.shard,
    )


def _duplicate_detail(task: ConvertTask, row: SampleRow, source: Source) -> str:
    """The detail of a sound file as a duplicate, or nothing.

    Until the rows of the whole device have settled it, only a few twins of the same bytes are looked for:
    what is overseen, the build finds.
    """
    if task.duplicate_of is not None:
        return task.duplicate_of
    for entry in task.member.earlier_duplicates[:TWINS]:
        if entry.path not in task.crashed_paths and _has_bytes(entry, row, source):
            return SAME_SCAN + entry.source
    return ""


def _has_bytes(entry: Entry, row: SampleRow, source: Source) -> bool:
    """True if the file of `entry` has the bytes that a row was made of."""
    try:
        store_says = source.fingerprint(entry.path)
        if store_says.size != row.source_bytes or store_says.crc32 not in (None, row.source_crc32):
            return False
        return read_file(entry, source).facts.source_xxh3 == row.source_xxh3
    except (FileNotFoundError, Refused):
        return False
