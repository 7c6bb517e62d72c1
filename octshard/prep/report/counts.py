"""Two sections of the report page: what is there by device, and counts by split, device, protocol, region."""

from collections import Counter
from collections.abc import Sequence

from octshard.dataset.splits import SPLITS, split_overlaps, split_sources, split_sources_text
from octshard.dataset.tables import SampleRow
from octshard.prep.report import content
from octshard.prep.report.content import Shards
from octshard.prep.report.statistics import GroupCounts, group_counts
from octshard.report import page
from octshard.report.numbers import Rounded, byte_unit, pluralize
from octshard.report.page import Cell, Content, Html, table


def overview(shards: Shards, rows: Sequence[SampleRow]) -> tuple[Content, ...]:
    """Files, volumes, people and bytes by device."""
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
        lines.append(line("all", by_device, content.people(rows), shard_counts.total(), tars.total()))
    counts = ["device", "files", "volumes", "refused", "people", "shards"]
    header = [*counts, f"{source_unit}\u00a0in", f"{tar_unit}\u00a0in\u00a0tars"]
    note = "People: of whom at least one volume is stored. In: the source files of the stored volumes."
    unfinished = [
        f"{name} is not finished, and so not on this page: run the same octshard prep shard again."
        for name in shards.unfinished
    ]
    return (*unfinished, table(header, lines, note, stacked=True))


def groups(rows: Sequence[SampleRow]) -> tuple[Content, ...]:
    """How people were split, and the counts of every group."""
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
    return table(columns, lines, f"By {', '.join(header)}.", sortable=True, stacked=True)


def _split_rank(split: str) -> int:
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)
