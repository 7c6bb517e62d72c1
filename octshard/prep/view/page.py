"""One self-contained page to leaf through volumes: B-scans behind a slider, en face, flags, refused files.

It is made from tables, tars and a few refused files, and is no larger than MOST_BYTES, unless its tables are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from octshard.dataset.stored_volumes import StoredVolume, by_keys, stored_volumes
from octshard.prep.report import cards, content, reasons, thumbnails, worst
from octshard.prep.report.content import Shards
from octshard.prep.report.page import WORST_REFUSED, frames
from octshard.prep.view.volume_stack import draw
from octshard.progress import OnProgress, no_progress
from octshard.report import page, slider
from octshard.report.numbers import dimensions, pluralize
from octshard.report.page import Cell, Content, Html, Section
from octshard.report.slider import Stack
from octshard.storage import store

MOST_BYTES = 20_000_000
MARKUP = 2_000  # bytes of a volume beside its pictures: its key, facts and flags
LISTED = 500  # stored volumes in the table
SEED = 0  # of the volumes that are drawn
INTRO = (
    "Move the slider (arrow keys do too), or click on the picture from above. B-scans are shown as they are "
    "stored, and to scale where the spacing is known; sizes are B-scans × depth × A-scans. Keys are those of "
    "samples.parquet: octshard view SHARDS --key KEY shows a volume, octshard export-volume SHARDS KEY --out "
    "FILE.nii.gz takes it to another viewer."
)


@dataclass(frozen=True)
class ViewRequest:
    """keys: of the volumes; empty: `count` of them, drawn by a seed. source: as `prep report` has it."""

    shards: str
    out: str
    keys: Sequence[str]
    count: int
    source: str


def write(request: ViewRequest, on_progress: OnProgress = no_progress) -> str:
    """Writes the page and returns its URL. on_progress counts volumes.

    UsageError for a folder without shards and an unknown key, OctshardError for a damaged table or sample.
    """
    shards = content.open_shards(request.shards)
    volumes = _selection(shards, request)
    store.check_writable(request.out)
    refused = worst.refused(shards.rows, WORST_REFUSED)
    pictures = cards.refused_files(refused, frames(shards, refused, request.source))
    others = _others(shards, {volume.row.key for volume in volumes}, pictures)
    room = MOST_BYTES - len(_render(shards, [], others).encode())
    stacks = []
    for done, volume in enumerate(volumes, start=1):
        stacks.append(draw(volume, room // len(volumes) - MARKUP))
        on_progress(done, len(volumes), volume.row.key)
    store.write(request.out, _render(shards, stacks, others).encode())
    return request.out


def _selection(shards: Shards, request: ViewRequest) -> list[StoredVolume]:
    if request.keys:
        return by_keys(shards.datasets, request.keys, request.shards)
    volumes = {id(volume.row): volume for volume in stored_volumes(shards.datasets)}
    return [volumes[id(row)] for row in thumbnails.draw_rows(shards.rows, SEED, request.count)]


def _others(shards: Shards, keys: set[str], pictures: Sequence[Content]) -> tuple[Section, ...]:
    """The sections below the volumes."""
    return (
        Section("All stored volumes", (_table(shards, keys),)),
        Section("What was refused, and why", (*reasons.refusals(shards.rows), *pictures)),
    )


def _table(shards: Shards, keys: set[str]) -> Html:
    """The stored volumes, those on the page first."""
    stored = [volume.row for volume in stored_volumes(shards.datasets)]
    ordered = sorted(stored, key=lambda row: row.key not in keys)[:LISTED]
    cells: list[list[Cell]] = [
        [
            page.breakable(row.key),
            row.device,
            row.eye,
            dimensions(row.shape_out),
            "yes" if row.key in keys else "no",
            page.breakable(", ".join(row.flags)),
        ]
        for row in ordered
    ]
    more = len(stored) - len(ordered)
    note = f"{pluralize(more, 'more volume')} in samples.parquet." if more else ""
    header = ["key", "device", "eye", "voxels", "shown", "flags"]
    return page.table(header, cells, note, sortable=True, stacked=True)


def _render(shards: Shards, stacks: Sequence[Stack], others: Sequence[Section]) -> str:
    rows = shards.rows
    stored = sum(row.status == "ok" for row in rows)
    refused = pluralize(len(rows) - stored, "file")
    shown = f"{len(stacks)} of {pluralize(stored, 'stored volume')} shown"
    lead = f"OCT volumes of {', '.join(shards.devices)}: {shown}, {refused} refused."
    volumes: tuple[Content, ...] = (
        (INTRO, *map(slider.slider, stacks)) if stored else ("No volume is stored.",)
    )
    sections = [Section("Volumes", volumes), *others]
    return page.page("Volumes in shards", lead, sections, style=slider.STYLE, script=slider.SCRIPT)
