"""One self-contained HTML page on the shards of one or several devices: what is there, what is not, pictures.

Made from the tables and a seeded sample of the tars alone: the same shards give the same bytes of HTML.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from octshard.dataset import folders, tables
from octshard.dataset.splits import SPLITS, split_overlaps
from octshard.dataset.tables import Dataset, SampleRow
from octshard.prep.report import distributions, reasons, thumbnails
from octshard.prep.report.statistics import GroupCounts, group_counts
from octshard.prep.report.thumbnails import Thumbnail
from octshard.progress import OnProgress, no_progress
from octshard.report import page
from octshard.report.numbers import Rounded, byte_unit, dimensions, pluralize
from octshard.report.page import Cell, Content, Html, Section, table
from octshard.storage import store

PICTURES = 3  # volumes drawn per device
PAGE = "report.html"
SPEED = {  # key of run.json -> how it is called
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
    """What a page is about: finished datasets, and the folders beside them whose build is not finished."""

    datasets: tuple[Dataset, ...]
    runs: tuple[Mapping[str, Any], ...]  # of each dataset what run.json says of its last run; may be empty
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
    """Writes the page on `shards`: a dataset folder, or the parent of several. Returns where it is.

    out: a URL, or empty for report.html beside the tables. on_progress counts the volumes drawn.
    A folder that is neither is a UsageError; a damaged table or sample an OctshardError that names it.
    """
    found = open_shards(shards)
    wanted = [(one.url, row) for one in found.datasets for row in thumbnails.chosen(one.rows, seed, PICTURES)]
    previews = []
    for done, (folder, row) in enumerate(wanted, start=1):
        previews.append(thumbnails.read(folder, row))
        on_progress(done, len(wanted), row.key)
    out = out or store.join(shards, PAGE)
    store.write(out, render(found, previews).encode())
    return out


def open_shards(url: str) -> Shards:
    """The tables of the dataset folder `url`, or of every one directly below it."""
    found = folders.find(url)
    return Shards(
        tuple(map(tables.open_dataset, found.whole)), tuple(map(_run, found.whole)), found.unfinished
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
        Section("Counts", _counts(rows)),
        Section("Shapes and spacings", distributions.shapes(rows, devices)),
        Section("Intensities and sizes", distributions.sizes(rows, devices)),
        *_throughput(shards),
        Section("How it was made", _config(shards)),
    ]
    title = "Shards of " + (devices[0] if len(devices) == 1 else pluralize(len(devices), "device"))
    return page.page(title, lead, sections)


def _overview(shards: Shards, rows: Sequence[SampleRow]) -> tuple[Content, ...]:
    tars, numbers = Counter[str](), Counter[str]()
    for device, dataset in zip(shards.devices, shards.datasets, strict=True):
        tars[device] += sum(info.bytes for info in dataset.shards)
        numbers[device] += len(dataset.shards)
    found = group_counts(rows, lambda row: (row.device,))
    come, come_unit = byte_unit(sum(one.source_bytes for one in found))
    size, unit = byte_unit(tars.total())

    def line(
        name: str, those: Sequence[GroupCounts], people: int, shard_count: int, tar_bytes: int
    ) -> list[Cell]:
        files, volumes = sum(one.files for one in those), sum(one.volumes for one in those)
        source = Rounded(sum(one.source_bytes for one in those) / come, 2)
        counts = (files, volumes, files - volumes, people, shard_count)
        return [page.breakable(name), *counts, source, Rounded(tar_bytes / size, 2)]

    lines = [line(d, [one], one.people, numbers[d], tars[d]) for one in found for d in one.names]
    if len(lines) > 1:
        lines.append(line("all", found, _people(rows), numbers.total(), tars.total()))
    counts = ["device", "files", "volumes", "refused", "people", "shards"]
    heads = [*counts, f"{come_unit}\u00a0in", f"{unit}\u00a0in\u00a0tars"]
    note = "People: of whom at least one volume is stored. In: the source files of the stored volumes."
    begun = [
        f"{name} is not finished, and so not on this page: run the same octshard prep shard again."
        for name in shards.unfinished
    ]
    return (*begun, table(heads, lines, note))


def _pictures(previews: Sequence[Thumbnail]) -> tuple[Content, ...]:
    if not previews:
        return ("No volume is stored, so there is nothing to see.",)
    devices: dict[str, list[Html]] = {}
    for one in previews:
        devices.setdefault(one.row.device, []).append(_card(one))
    boxes = [
        part for device, cards in devices.items() for part in (page.heading(device), page.columns(cards))
    ]
    return (SAMPLE, *boxes)


def _card(one: Thumbnail) -> Html:
    row, spacing_mm, shape = one.row, one.row.spacing_out or (), one.row.shape_out or ()
    alt = f"of {row.key}, {row.protocol}, eye {row.eye or 'unknown'}"
    images = [
        page.picture(one.bscan_HW, f"Central B-scan {alt}", "", one.bscan_aspect),
        page.picture(one.en_face_DW, f"En-face mean {alt}", "", one.en_face_aspect),
    ]
    voxel = dimensions([round(mm * 1000, 1) for mm in spacing_mm])
    extent = dimensions([round(n * mm, 2) for n, mm in zip(shape, spacing_mm, strict=True)])
    told = "spacing assumed, drawn with square pixels" if row.assumed_spacing else f"{voxel} µm, {extent} mm"
    return page.group(images, f"{row.key}: {dimensions(shape)} voxels (D × H × W), {told}")


def _counts(rows: Sequence[SampleRow]) -> tuple[Content, ...]:
    said = "No participant stands in more than one split."
    if crossed := split_overlaps(rows):
        first = ", ".join(f"{person} in {' and '.join(found)}" for person, found in list(crossed.items())[:5])
        people = pluralize(len(crossed), "participant")
        said = f"{people} in more than one split, which spoils every score: {first}."

    def box(heads: Sequence[str], *fields: str) -> Html:
        found = group_counts(rows, lambda row: tuple(getattr(row, name) or "not said" for name in fields))
        if fields[-1] == "split":
            found.sort(key=lambda one: (one.names[:-1], _place(one.names[-1])))
        return _tallies(heads, found)

    return (
        said,
        box(["split"], "split"),
        box(["device", "split"], "device", "split"),
        box(["device", "protocol", "region"], "device", "protocol", "region"),
        box(["region"], "region"),
    )


def _tallies(heads: Sequence[str], found: Sequence[GroupCounts]) -> Html:
    size, unit = byte_unit(sum(one.stored_bytes for one in found))
    lines: list[list[Cell]] = []
    for one in found:
        counts = (one.files, one.volumes, one.files - one.volumes, one.people)
        lines.append([*map(page.breakable, one.names), *counts, Rounded(one.stored_bytes / size, 2)])
    columns = [*heads, "files", "volumes", "refused", "people", f"{unit}\u00a0stored"]
    return table(columns, lines, f"By {', '.join(heads)}.", sortable=True)


def _throughput(shards: Shards) -> Iterable[Section]:
    """The section on speed, where a run has left word of it."""
    found = [(device, run) for device, run in zip(shards.devices, shards.runs, strict=True) if run]
    keys = [key for key in SPEED if any(key in run for _, run in found)]
    if not keys:
        return ()
    lines: list[list[Cell]] = [
        [page.breakable(device), *(_shown(run.get(key)) for key in keys)] for device, run in found
    ]
    note = "Of the last run that made anything; what was kept from earlier runs is not in it."
    return (Section("Throughput", (table(["device", *(SPEED[key] for key in keys)], lines, note),)),)


def _config(shards: Shards) -> tuple[Content, ...]:
    infos = [dataset.info for dataset in shards.datasets]
    found = [info.get("config") for info in infos]
    configs = [config if isinstance(config, Mapping) else {} for config in found]
    known = {"code version": "code_version", "format": "format", "config digest": "config_digest"}
    lines = {name: [str(info.get(key, "not said")) for info in infos] for name, key in known.items()}
    for key in sorted({key for config in configs for key in config}):
        lines[key] = [json.dumps(config[key]) if key in config else "not said" for config in configs]
    if all(len(set(values)) == 1 for values in lines.values()):
        return (table(["setting", "value"], [[name, values[0]] for name, values in lines.items()], ""),)
    cells = [[name, *values] for name, values in lines.items()]
    said = "These datasets were not all made with the same settings."
    return (said, table(["setting", *shards.devices], cells, ""))


def _device(dataset: Dataset) -> str:
    return str(dataset.info.get("device") or (dataset.rows[0].device if dataset.rows else "no device"))


def _people(rows: Iterable[SampleRow]) -> int:
    return len({row.participant for row in rows if row.status == "ok"})


def _place(split: str) -> int:
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)


def _run(folder: str) -> Mapping[str, Any]:
    """What the last run left word of; nothing where it did not, or where that is no JSON of ours."""
    try:
        run = json.loads(store.read(store.join(folder, tables.RUN_INFO)))
    except (FileNotFoundError, ValueError):
        return {}
    return run if isinstance(run, dict) else {}


def _shown(value: Any) -> Cell:
    return value if value is None or isinstance(value, int | float) else str(value)
