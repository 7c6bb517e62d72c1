"""Scans of test beside the scans of other people whose features are nearest, in rows of central B-scans."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.dataset.participants import canonical
from octshard.dataset.splits import SPLITS
from octshard.eval.pictures import truth
from octshard.eval.pictures.request import PictureRequest, Pictures, as_csv
from octshard.eval.pictures.scan_reader import SMALL, ScanReader, origin
from octshard.eval.pictures.truth import Truth
from octshard.pictures import b_scan, contact_sheet
from octshard.pictures.contact_sheet import Strip, Tile
from octshard.probes.grouped_scans import unit_rows
from octshard.report import page
from octshard.report.numbers import decimal
from octshard.report.page import Content, Section, photograph

SHOWN, NEIGHBOURS = 6, 5  # rows, and neighbours in each: 36 pictures of about 15 kB
BLOCK = 512  # queries at once, for memory
SAME, OTHER, PLAIN = "#2b7a4b", "#b3261e", "#5b6577"  # frames: same class, another, nothing to compare
STEM = "near-scans"
TITLE = "Nearest scans of other people"
COLUMNS = (
    "arm", "key", "label", "device", "rank", "cosine", "neighbour", "its_split", "its_label", "its_device",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Near:
    """near_M: places of the nearest scans of other people, the nearest first, with their cosine. same_class,
    same_device: their share among all scans of other people.
    """

    place: int
    near_M: np.ndarray
    cosine_M: np.ndarray
    same_class: float
    same_device: float


def pictures(request: PictureRequest, reader: ScanReader) -> Pictures:
    """By the first arm, for some test scans of each class and device, and a table of all of them."""
    if not request.values:
        return Pictures()
    arm, known, rows = next(iter(request.values)), truth.of(request.labelled), request.scans.rows
    test = request.labelled.subsets["test"].places_N.tolist()
    near = {each.place: each for each in nearest(request, known, test)}
    shown = truth.some_of_each(known, test, rows, f"{STEM} {request.seed}", SHOWN)
    strips = [_strip(near[place], known, reader) for place in shown]
    parts: list[Content] = [_lead(arm, list(near.values()), known, reader)]
    for strip in strips:
        tiles = [photograph(tile.pixels, f"{strip.title}, {tile.words}", tile.words) for tile in strip.tiles]
        parts += [page.heading(strip.title), page.strip(tiles)]
    table = [row for each in near.values() for row in _rows(arm, each, known, reader)]
    files = {
        f"{STEM}.png": contact_sheet.render(strips, 1 + NEIGHBOURS),
        f"{STEM}.csv": as_csv(COLUMNS, table),
    }
    return Pictures((Section(TITLE, tuple(parts)),), files)


def nearest(request: PictureRequest, known: Truth, queries: Sequence[int]) -> Iterator[Near]:
    """Of each query among all labelled scans, by the cosine of standardised features; equal ones by key."""
    rows, subsets = request.scans.rows, request.labelled.subsets
    places = sorted(
        (place for split in SPLITS for place in subsets[split].places_N.tolist()),
        key=lambda place: rows[place].key,
    )
    values_NF = next(iter(request.values.values()))[places]
    unit_NF, at = unit_rows(values_NF), {place: n for n, place in enumerate(places)}
    person_N = np.array([canonical(rows[place].participant) for place in places])
    class_N = np.array([known.group_of[place] for place in places])
    device_N = np.array([rows[place].device for place in places])
    for first in range(0, len(queries), BLOCK):
        block = queries[first : first + BLOCK]
        cosine_QN = unit_NF[[at[place] for place in block]] @ unit_NF.T
        for place, cosine_N in zip(block, cosine_QN, strict=True):
            n, others_N = at[place], person_N != person_N[at[place]]
            order_M = np.argsort(np.where(others_N, -cosine_N, np.inf), kind="stable")
            near_M = order_M[: min(NEIGHBOURS, int(others_N.sum()))]
            same_class = float((class_N == class_N[n])[others_N].mean())
            same_device = float((device_N == device_N[n])[others_N].mean())
            yield Near(place, np.array(places)[near_M], cosine_N[near_M], same_class, same_device)


def _strip(near: Near, known: Truth, reader: ScanReader) -> Strip:
    row = reader.row(near.place)
    tiles = [_tile(near.place, f"Asked: {known.text_of[near.place]}", PLAIN, reader)]
    for rank, (place, cosine) in enumerate(zip(near.near_M.tolist(), near.cosine_M, strict=True), start=1):
        colour, verdict = PLAIN, ""
        if not known.is_number:
            is_same = known.group_of[place] == known.group_of[near.place]
            colour, verdict = (SAME, "same class: ") if is_same else (OTHER, "another class: ")
        words = f"{rank}. {verdict}{known.text_of[place]}, cosine {decimal(float(cosine), 2)}"
        tiles.append(_tile(place, words, colour, reader))
    return Strip(f"{known.text_of[near.place]}: {origin(row)}, {row.key}", tuple(tiles))


def _tile(place: int, words: str, colour: str, reader: ScanReader) -> Tile:
    scan = reader.read(place)
    pixels = b_scan.framed(scan.b_scan(scan.centre, SMALL), colour)
    return Tile(pixels, f"{words}\n{scan.row.participant} of {scan.row.split}\n{origin(scan.row)}")


def _rows(arm: str, near: Near, known: Truth, reader: ScanReader) -> Iterator[list[object]]:
    """Of the table."""
    row = reader.row(near.place)
    asked = [arm, row.key, known.cell_of[near.place], row.device]
    for rank, (place, cosine) in enumerate(zip(near.near_M.tolist(), near.cosine_M, strict=True), start=1):
        other = reader.row(place)
        yield [
            *asked, rank, f"{cosine:.6f}", other.key, other.split, known.cell_of[place], other.device,
        ]  # fmt: skip


def _lead(arm: str, near: Sequence[Near], known: Truth, reader: ScanReader) -> str:
    """What the rows are, and how often neighbours agree over all of test."""
    pairs = [(each.place, place) for each in near for place in each.near_M.tolist()]
    of_class = np.mean([known.group_of[one] == known.group_of[other] for one, other in pairs])
    of_device = np.mean([reader.row(one).device == reader.row(other).device for one, other in pairs])
    class_chance, device_chance = (
        np.mean([getattr(each, name) for each in near]) for name in ("same_class", "same_device")
    )
    kind = "third of the numbers" if known.is_number else "class"
    agree = f"{of_class * 100:.0f} % are of its {kind} (by chance {class_chance * 100:.0f} %)"
    if device_chance < 1:
        agree += f", {of_device * 100:.0f} % of its device (by chance {device_chance * 100:.0f} %)"
    frames = "" if known.is_number else " A green frame is the same class, a red one another."
    return (
        f"Each row: a scan of test, then the {NEIGHBOURS} labelled scans of other people, of any split, "
        f"whose features ({arm}, standardised) point most nearly the same way.{frames} Of the neighbours of "
        f"all {len(near)} scans of test {agree}. All stand in {STEM}.csv."
    )
