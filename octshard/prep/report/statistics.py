"""What the rows of a dataset add up to: counts by any name, causes with examples, shapes and spacings. Pure.

One pass per question, so that 60,000 rows are a matter of seconds.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from octshard.dataset.tables import SampleRow
from octshard.imaging.volume import product

EXAMPLES = 5  # file names that a cause is shown with
Triple = tuple[float | None, ...]  # along D, H, W
Ranked = tuple[tuple[Triple, int], ...]  # (value, volumes), the most frequent first


@dataclass(frozen=True)
class GroupCounts:
    """Of the rows that share `names`: files listed, volumes stored of how many people, bytes in and out."""

    names: tuple[str, ...]
    files: int
    volumes: int
    people: int
    source_bytes: int  # of the stored volumes' files
    stored_bytes: int  # of the tar slices


@dataclass(frozen=True)
class ReasonCount:
    """A refusal's reason or a flag: how many files it was met in, and the first few as `path: detail`."""

    name: str
    stored: int
    refused: int
    devices: tuple[str, ...]
    examples: tuple[str, ...]


@dataclass(frozen=True)
class ShapeSummary:
    """The volumes of one protocol: their most frequent shapes and spacings, and how many others there are."""

    device: str
    protocol: str
    volumes: int
    shapes_in: Ranked
    shapes_out: Ranked
    spacings_in: Ranked  # µm
    spacings_out: Ranked


@dataclass
class _Sum:
    files: int = 0
    volumes: int = 0
    people: set[str] = field(default_factory=set)
    source_bytes: int = 0
    stored_bytes: int = 0


def group_counts(
    rows: Iterable[SampleRow], names: Callable[[SampleRow], tuple[str, ...]]
) -> list[GroupCounts]:
    """The rows by names(row), in the order of the names."""
    sums: dict[tuple[str, ...], _Sum] = {}
    for row in rows:
        one = sums.setdefault(names(row), _Sum())
        one.files += 1
        if row.status == "ok":
            one.volumes += 1
            one.people.add(row.participant)
            one.source_bytes += row.source_bytes or 0
            one.stored_bytes += row.nbytes or 0
    return [
        GroupCounts(name, one.files, one.volumes, len(one.people), one.source_bytes, one.stored_bytes)
        for name, one in sorted(sums.items())
    ]


def causes(rows: Iterable[SampleRow], names: Callable[[SampleRow], Sequence[str]]) -> list[ReasonCount]:
    """Reasons or flags, as names(row) gives them, the most frequent first; examples in path order."""
    met: dict[str, list[SampleRow]] = {}
    for row in rows:
        for name in names(row):
            met.setdefault(name, []).append(row)
    found = [_cause(name, those) for name, those in met.items()]
    return sorted(found, key=lambda cause: (-cause.stored - cause.refused, cause.name))


def forms(rows: Iterable[SampleRow]) -> list[ShapeSummary]:
    """Shapes and spacings of the stored volumes by device and protocol."""
    groups: dict[tuple[str, str], list[SampleRow]] = {}
    for row in rows:
        if row.status == "ok":
            groups.setdefault((row.device, row.protocol), []).append(row)
    return [
        ShapeSummary(
            device,
            protocol,
            len(those),
            _ranked((row.frames, row.rows, row.cols) for row in those),
            _ranked(row.shape_out for row in those),
            _ranked(_microns(row.spacing_in) for row in those),
            _ranked(_microns(row.spacing_out) for row in those),
        )
        for (device, protocol), those in sorted(groups.items())
    ]


def compression(row: SampleRow) -> float:
    """Voxel bytes of a stored volume by the bytes that it takes in its tar; nan where they are not known."""
    if not row.nbytes or not row.shape_out:
        return float("nan")
    return product(row.shape_out) / row.nbytes  # shards hold one byte per voxel


def _cause(name: str, rows: Sequence[SampleRow]) -> ReasonCount:
    stored = sum(row.status == "ok" for row in rows)
    first = sorted(rows, key=lambda row: (row.source, row.key))[:EXAMPLES]
    examples = tuple(f"{row.source or row.key}{f': {row.detail}' if row.detail else ''}" for row in first)
    return ReasonCount(
        name, stored, len(rows) - stored, tuple(sorted({row.device for row in rows})), examples
    )


def _ranked(values: Iterable[Triple | None]) -> Ranked:
    counted = Counter(value for value in values if value is not None)
    return tuple(sorted(counted.items(), key=lambda item: (-item[1], repr(item[0]))))


def _microns(spacing_mm: Sequence[float] | None) -> tuple[float, ...] | None:
    """To a tenth of a micron: what differs by less is one spacing to a reader."""
    return None if spacing_mm is None else tuple(round(mm * 1000, 1) for mm in spacing_mm)
