"""One self-contained HTML page on the shards of one or several devices: verdict, refusals, pictures, counts.

It is made from the tables, a seeded sample of the tars and a few refused files: the same shards by the same
name, and the same source, give the same bytes of HTML.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from octshard.dataset.tables import SampleRow
from octshard.prep.build.source_versions import Origin
from octshard.prep.index import own_table
from octshard.prep.report import (
    cards,
    content,
    counts,
    distributions,
    making,
    next_steps,
    reasons,
    refused_frames,
    retina,
    thumbnails,
    worst,
)
from octshard.prep.report.content import Shards
from octshard.prep.report.refused_frames import Frame
from octshard.prep.report.thumbnails import Thumbnail
from octshard.prep.report.verdict import verdict
from octshard.progress import OnProgress, no_progress
from octshard.report import page
from octshard.report.numbers import pluralize
from octshard.report.page import Section
from octshard.storage import store

SAMPLE = 3  # volumes drawn per device
WORST_REFUSED, WORST_FLAGGED = 9, 6  # files, volumes drawn of all devices
PAGE = "report.html"


@dataclass(frozen=True)
class Pictures:
    """What is drawn. frames: of refused files by device and path; None if their source cannot be reached."""

    sample: Sequence[Thumbnail] = ()
    refused: Sequence[SampleRow] = ()
    frames: Mapping[tuple[str, str], Frame] | None = None
    flagged: Sequence[Thumbnail] = ()


def write(shards: str, out: str, seed: int, on_progress: OnProgress = no_progress, source: str = "") -> str:
    """Writes the page on `shards`: a dataset folder, or the parent of several. Returns its URL.

    out: a URL, or empty for report.html beside the tables. source: the release root, for pictures of refused
    files; empty: where prep read them, if that is local. on_progress counts the volumes drawn.
    A folder that is neither is a UsageError; a damaged table or sample an OctshardError that names it.
    """
    out = out or store.join(shards, PAGE)
    what = content.open_shards(shards)
    _check_out(out)
    pictures = _draw(what, seed, source, on_progress)
    store.write(out, render(what, pictures).encode())
    return out


def _draw(shards: Shards, seed: int, source: str, on_progress: OnProgress) -> Pictures:
    """The sample and the worst of all datasets."""
    folder_of = {id(row): dataset.url for dataset in shards.datasets for row in dataset.rows}
    sample = [row for dataset in shards.datasets for row in thumbnails.draw_rows(dataset.rows, seed, SAMPLE)]
    flagged, refused = worst.flagged(shards.rows, WORST_FLAGGED), worst.refused(shards.rows, WORST_REFUSED)
    drawn: dict[int, Thumbnail] = {}
    selection = list({id(row): row for row in (*sample, *flagged)}.values())
    for done, row in enumerate(selection, start=1):
        drawn[id(row)] = thumbnails.read(folder_of[id(row)], row)
        on_progress(done, len(selection), row.key)
    return Pictures(
        [drawn[id(row)] for row in sample],
        refused,
        frames(shards, refused, source),
        [drawn[id(row)] for row in flagged],
    )


def frames(
    shards: Shards, refused: Sequence[SampleRow], source: str
) -> Mapping[tuple[str, str], Frame] | None:
    """Of the refused files of all devices; None if not one of their sources can be reached."""
    places: dict[Origin, list[str]] = {}
    for device, origin in _origins(shards, source):
        places.setdefault(origin, []).append(device)
    frames: dict[tuple[str, str], Frame] | None = None
    for place, devices in places.items():
        rows = [row for row in refused if row.device in devices]
        if (drawn := refused_frames.draw(rows, place)) is not None:
            named = {(row.device, row.source): drawn[row.source] for row in rows if row.source in drawn}
            frames = {**(frames or {}), **named}
    return frames


def _origins(shards: Shards, given: str) -> Iterator[tuple[str, Origin]]:
    """Device -> where its refused files can be read without asking a remote store unbidden.

    given: where all of them are, or the manifest that an index wrote of it, but those of another source if it
    is where one device was read.
    """
    own = {origin.src for origin in shards.origins if origin is not None}
    for device, origin in zip(shards.devices, shards.origins, strict=True):
        if given and (origin is None or origin.src == given or given not in own):
            known = origin is not None and origin.src == given
            yield device, origin if known and origin is not None else _given(given)
        elif origin is not None and not store.is_remote(origin.src):
            yield device, origin


def _given(source: str) -> Origin:
    folder = own_table.folder_of(own_table.beside(source, "index")) if source.endswith(".tsv") else ""
    return Origin(folder, from_zip=False, manifest=source) if folder else Origin(source, from_zip=False)


def _check_out(out: str) -> None:
    """StoreError if the page cannot be written, before anything is drawn; what killed reports left goes."""
    folder = out.rpartition("/")[0] or "."
    store.remove_partials(folder)
    store.check_writable(out)


def render(shards: Shards, pictures: Pictures) -> str:
    """The whole page."""
    rows, devices = shards.rows, shards.devices
    stored = sum(row.status == "ok" for row in rows)
    files, volumes, refused = pluralize(len(rows), "file"), pluralize(stored, "volume"), len(rows) - stored
    people = pluralize(content.people(rows), "person", "people")
    lead = (
        f"OCT volumes of {', '.join(devices)}: {files} listed, {volumes} of {people} stored, "
        f"{pluralize(refused, 'file')} refused."
    )
    sections = [
        Section("Verdict", verdict(shards).parts()),
        Section("What to do next", next_steps.section(shards)),
        Section("What is here", counts.overview(shards, rows)),
        Section("What was refused, and why", reasons.refusals(rows)),
        Section(
            "Worst refused and flagged", cards.worst(pictures.refused, pictures.frames, pictures.flagged)
        ),
        Section("What is odd", reasons.flags(rows)),
        Section("How it looks", cards.sample(pictures.sample, SAMPLE)),
        Section("Where the retina lies", (retina.counts(rows, devices),)),
        Section("Counts", counts.groups(rows)),
        Section("Shapes and spacings", distributions.shapes(rows, devices)),
        Section("Intensities and sizes", distributions.sizes(rows, devices)),
        *making.throughput(shards),
        Section("How it was made", making.settings(shards)),
    ]
    title = "Shards of " + (devices[0] if len(devices) == 1 else pluralize(len(devices), "device"))
    return page.page(title, lead, sections)
