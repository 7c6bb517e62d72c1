"""One self-contained HTML page on the shards of one or several devices: counts, refusals, pictures.

It is made from the tables and a seeded sample of the tars: the same shards give the same bytes of HTML.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from octshard.dataset import folders, tables
from octshard.dataset.splits import SPLITS, split_overlaps, split_sources, split_sources_text
from octshard.dataset.tables import Dataset, SampleRow
from octshard.prep.report import distributions, reasons, retina, thumbnails
from octshard.prep.report.statistics import GroupCounts, group_counts
from octshard.prep.report.thumbnails import Thumbnail
from octshard.progress import OnProgress, no_progress
from octshard.report import page
from octshard.report.numbers import Rounded, byte_unit, dimensions, pluralize
from octshard.report.page import Cell, Content, Html, Section, table
from octshard.storage import json_object, store

PICTURES = 3  # volumes drawn per device
PAGE = "report.html"
SPEED = {  # key of run.json -> its heading
    "engine": "engine",
    "workers": "workers",
    "files": "files",
    "seconds": "seconds",
    "files_per_s": "files/s",
    "mb_read_per_s": "MB/s read",
}
SAMPLE = (
    f"A seeded sample of up to {PICTURES} volumes per device, protocols in turn. Above: the central B-scan "
    "as it is stored. Below: en face, the mean over depth stretched to the full range of greys, the first "
    "B-scan on top. Both to scale."
)


@dataclass(frozen=True)
class Shards:
    """The content of a page: finished datasets, and the folders beside them whose build is not finished."""

    datasets: tuple[Dataset, ...]
    runs: tuple[Mapping[str, Any], ...]  # run.json of each dataset; empty if it has none
    unfinished: tuple[str, ...]

    @property
    def rows(self) -> list[SampleRow]:
        """Of all datasets."""
        return [row for dataset in self.datasets for row in dataset.rows]

    @property
    def devices(self) -> list[str]:
        """Of the datasets, in their order."""
        return [_device(dataset) for dataset in self.datasets]


def write(shards: str, out: str, seed: int, on_progress: OnProgress = no_progress) -> str:
    """Writes the page on `shards`: a dataset folder, or the parent of several. Returns its URL.

    out: a URL, or empty for report.html beside the tables. on_progress counts the volumes drawn.
    A folder that is neither is a UsageError; a damaged table or sample an OctshardError that names it.
    """
    out = out or store.join(shards, PAGE)
    content = open_shards(shards)
    _check_out(out)
    selection = [
        (dataset.url, row)
        for dataset in content.datasets
        for row in thumbnails.draw_rows(dataset.rows, seed, PICTURES)
    ]
    previews = []
    for done, (folder, row) in enumerate(selection, start=1):
        previews.append(thumbnails.read(folder, row))
        on_progress(done, len(selection), row.key)
    store.write(out, render(content, previews).encode())
    return out


def _check_out(out: str) -> None:
    """StoreError if the page cannot be written, before anything is drawn; what killed reports left goes."""
    folder = out.rpartition("/")[0] or "."
    store.remove_partials(folder)
    store.check_writable(out)


def open_shards(url: str) -> Shards:
    """The tables of the dataset folder `url`, or of every one directly below it."""
    listing = folders.find(url)
    return Shards(
        tuple(map(tables.open_dataset, listing.whole)), tuple(map(_run, listing.whole)), listing.unfinished
    )


def render(shards: Shards, previews: Sequence[Thumbnail]) -> str:
    """The whole page."""
    rows, devices = shards.rows, shards.devices
    stored = sum(row.status == "ok" for row in rows)
    files, volumes, refused = pluralize(len(rows), "file"), pluralize(stored, "volume"), len(rows) - stored
    people = pluralize(_people(rows), "person", "people")
    lead = (
        f"OCT volumes of {', '.join(devices)}: {files} listed, {volumes} of {people} stored, "
        f"{pluralize(refused, 'file')} refused."
    )
    sections = [
        Section("What is here", _overview(shards, rows)),
        Section("What was refused, and why", reasons.refusals(rows)),
        Section("What is odd", reasons.flags(rows)),
        Section("How it looks", _pictures(previews)),
        Section("Where the retina lies", (retina.counts(rows, devices),)),
        Section("Counts", _counts(rows)),
        Section("Shapes and spacings", distributions.shapes(rows, devices)),
        Section("Intensities and sizes", distributions.sizes(rows, devices)),
        *_throughput(shards),
        Section("How it was made", _config(shards)),
    ]
    title = "Shards of " + (devices[0] if len(devices) == 1 else pluralize(len(devices), "device"))
    return page.page(title, lead, sections)


def _overview(shards: Shards, rows: Sequence[SampleRow]) -> tuple[Content, ...]:
    tars, shard_counts = Counter[str](), Counter[str]()
    for device, dataset in zip(shards.devices, shards.datasets, strict=True):
        tars[device] += sum(info.bytes for info in dataset.shards)
        shard_counts[device] += len(dataset.shards)
    by_device = group_counts(rows, lambda row: (row.device,))
    source_size, source_unit = byte_unit(sum(group.source_bytes for group in by_device))
    tar_size, tar_unit = byte_unit(tars.total())

    def line(
        name: str, groups: Sequence[GroupCounts], people: int, shard_count: int, tar_bytes: int
    ) -> list[Cell]:
        files, volumes = sum(group.files for group in groups), sum(group.volumes for group in groups)
        source = Rounded(sum(group.source_bytes for group in groups) / source_size, 2)
        counts = (files, volumes, files - volumes, people, shard_count)
        return [page.breakable(name), *counts, source, Rounded(tar_bytes / tar_size, 2)]

    lines = [
        line(device, [group], group.people, shard_counts[device], tars[device])
        for group in by_device
        for device in group.names
    ]
    if len(lines) > 1:
        lines.append(line("all", by_device, _people(rows), shard_counts.total(), tars.total()))
    counts = ["device", "files", "volumes", "refused", "people", "shards"]
    header = [*counts, f"{source_unit}\u00a0in", f"{tar_unit}\u00a0in\u00a0tars"]
    note = "People: of whom at least one volume is stored. In: the source files of the stored volumes."
    unfinished = [
        f"{name} is not finished, and so not on this page: run the same octshard prep shard again."
        for name in shards.unfinished
    ]
    return (*unfinished, table(header, lines, note))


def _pictures(previews: Sequence[Thumbnail]) -> tuple[Content, ...]:
    if not previews:
        return ("No volume is stored, so there is nothing to see.",)
    devices: dict[str, list[Html]] = {}
    for thumbnail in previews:
        devices.setdefault(thumbnail.row.device, []).append(_card(thumbnail))
    parts = [
        part for device, cards in devices.items() for part in (page.heading(device), page.columns(cards))
    ]
    has_lines = any(thumbnail.band_Q2 is not None for thumbnail in previews)
    return (SAMPLE, *((retina.key(), retina.NOTE) if has_lines else ()), *parts)


def _card(thumbnail: Thumbnail) -> Html:
    row, spacing_mm, shape = thumbnail.row, thumbnail.row.spacing_out or (), thumbnail.row.shape_out or ()
    alt = f"of {row.key}, {row.protocol}, eye {row.eye or 'unknown'}"
    bscan = thumbnail.bscan_HW
    if thumbnail.band_Q2 is not None and row.shape_out is not None:
        bscan = retina.with_lines(bscan, thumbnail.band_Q2, row.shape_out)
    images = [
        page.picture(bscan, f"Central B-scan {alt}", "", thumbnail.bscan_aspect),
        page.picture(thumbnail.en_face_DW, f"En-face mean {alt}", "", thumbnail.en_face_aspect),
    ]
    voxel = dimensions([round(mm * 1000, 1) for mm in spacing_mm])
    extent = dimensions([round(n * mm, 2) for n, mm in zip(shape, spacing_mm, strict=True)])
    scale = "spacing assumed, drawn with square pixels" if row.assumed_spacing else f"{voxel} µm, {extent} mm"
    return page.group(images, f"{row.key}: {dimensions(shape)} voxels (D × H × W), {scale}")


def _counts(rows: Sequence[SampleRow]) -> tuple[Content, ...]:
    overlap_text = "No participant stands in more than one split."
    if overlaps := split_overlaps(rows):
        first = ", ".join(
            f"{person} in {' and '.join(splits)}" for person, splits in list(overlaps.items())[:5]
        )
        people = pluralize(len(overlaps), "participant")
        overlap_text = f"{people} in more than one split, which spoils every score: {first}."

    def box(header: Sequence[str], *fields: str) -> Html:
        groups = group_counts(rows, lambda row: tuple(getattr(row, name) or "not said" for name in fields))
        if fields[-1] == "split":
            groups.sort(key=lambda group: (group.names[:-1], _split_rank(group.names[-1])))
        return _group_table(header, groups)

    return (
        f"People with a stored volume stand in their splits: {split_sources_text(split_sources(rows))}.",
        overlap_text,
        box(["split"], "split"),
        box(["device", "split"], "device", "split"),
        box(["device", "protocol", "region"], "device", "protocol", "region"),
        box(["region"], "region"),
    )


def _group_table(header: Sequence[str], groups: Sequence[GroupCounts]) -> Html:
    size, unit = byte_unit(sum(group.stored_bytes for group in groups))
    lines: list[list[Cell]] = []
    for group in groups:
        counts = (group.files, group.volumes, group.files - group.volumes, group.people)
        lines.append([*map(page.breakable, group.names), *counts, Rounded(group.stored_bytes / size, 2)])
    columns = [*header, "files", "volumes", "refused", "people", f"{unit}\u00a0stored"]
    return table(columns, lines, f"By {', '.join(header)}.", sortable=True)


def _throughput(shards: Shards) -> Iterable[Section]:
    """The section on speed, if any dataset has a run.json."""
    runs = [(device, run) for device, run in zip(shards.devices, shards.runs, strict=True) if run]
    keys = [key for key in SPEED if any(key in run for _, run in runs)]
    if not keys:
        return ()
    lines: list[list[Cell]] = [
        [page.breakable(device), *(_shown(run.get(key)) for key in keys)] for device, run in runs
    ]
    note = "Of the last run that made anything; what was kept from earlier runs is not in it."
    return (Section("Throughput", (table(["device", *(SPEED[key] for key in keys)], lines, note),)),)


def _config(shards: Shards) -> tuple[Content, ...]:
    infos = [dataset.info for dataset in shards.datasets]
    raw_configs = [info.get("config") for info in infos]
    configs = [config if isinstance(config, Mapping) else {} for config in raw_configs]
    info_keys = {"code version": "code_version", "format": "format", "config digest": "config_digest"}
    lines = {name: [str(info.get(key, "not said")) for info in infos] for name, key in info_keys.items()}
    for key in sorted({key for config in configs for key in config}):
        lines[key] = [json.dumps(config[key]) if key in config else "not said" for config in configs]
    if all(len(set(values)) == 1 for values in lines.values()):
        return (table(["setting", "value"], [[name, values[0]] for name, values in lines.items()], ""),)
    cells = [[name, *values] for name, values in lines.items()]
    note = "These datasets were not all made with the same settings."
    return (note, table(["setting", *shards.devices], cells, ""))


def _device(dataset: Dataset) -> str:
    return str(dataset.info.get("device") or (dataset.rows[0].device if dataset.rows else "no device"))


def _people(rows: Iterable[SampleRow]) -> int:
    return len({row.participant for row in rows if row.status == "ok"})


def _split_rank(split: str) -> int:
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)


def _run(folder: str) -> Mapping[str, Any]:
    """run.json of the last run; empty where there is none, or where it is damaged."""
    try:
        return json_object.read(store.join(folder, tables.RUN_INFO))
    except (FileNotFoundError, store.NotAFile, json_object.DamagedJson):
        return {}


def _shown(value: Any) -> Cell:
    return value if value is None or isinstance(value, int | float) else str(value)
