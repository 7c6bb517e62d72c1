"""The people of test about whom heads are wrong most: their central B-scans, and what was said of them."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.dataset.tables import SampleRow
from octshard.eval.pictures.request import PictureRequest, Pictures
from octshard.eval.pictures.scan_reader import LARGE, ScanReader, origin
from octshard.pictures import contact_sheet
from octshard.pictures.contact_sheet import Strip, Tile
from octshard.probes.predictions import Predictions
from octshard.probes.targets import NUMBERS
from octshard.report.numbers import pluralize
from octshard.report.page import Html, Section, columns, picture

SHOWN = 8  # as many as a reader looks at one by one; about 60 kB each
CLASSES_TOLD = 3  # probabilities in words, the greatest first
STEM = "wrong-people"
TITLE = "People most often wrong"


@dataclass(frozen=True, eq=False)
class Judged:
    """A unit of test (a person, eye or scan). p_C: its probabilities or its number, the mean of all heads;
    miss: 1 - the probability of its class, or the distance from its number; wrong: heads that are wrong.
    """

    unit: str
    p_C: np.ndarray
    y: float
    miss: float
    wrong: int
    heads: int

    @property
    def predicted(self) -> int:
        """The most probable class."""
        return int(self.p_C.argmax())


def ranking(predictions: Sequence[Predictions]) -> list[Judged]:
    """All units, the worst first; what heads say is averaged. predictions: of the same rows."""
    first = predictions[0]
    p_HPC = np.stack([each.p_PC for each in predictions])
    p_PC, is_number = p_HPC.mean(0), first.kind == NUMBERS
    if is_number:
        miss_P, wrong_P = np.abs(p_PC[:, 0] - first.y_P), np.zeros(len(p_PC), int)
    else:
        miss_P = 1 - p_PC[np.arange(len(p_PC)), first.y_P]
        wrong_P = (p_HPC.argmax(2) != first.y_P).sum(0)
    judged = [
        Judged(unit, p_PC[i], first.y_P[i].item(), float(miss_P[i]), int(wrong_P[i]), len(predictions))
        for i, unit in enumerate(first.units or first.participants)
    ]
    return sorted(judged, key=lambda each: (-each.miss, each.unit))


def pictures(request: PictureRequest, reader: ScanReader) -> Pictures:
    """Of the worst, and a table of all; nothing without predictions."""
    predictions = [each for seeds in request.predictions.values() for each in seeds]
    if not predictions:
        return Pictures()
    judged, words = ranking(predictions), _Words(request, predictions[0].kind == NUMBERS)
    places = _places(request)
    parts, tiles = list[Html](), list[Tile]()
    for each in judged[:SHOWN]:
        scan = reader.read(places[each.unit][0])
        pixels, caption = scan.b_scan(scan.centre, LARGE), words.of(each, scan.row, len(places[each.unit]))
        parts.append(picture(pixels, f"Central B-scan of {scan.row.key}", caption))
        tiles.append(Tile(pixels, caption))
    rows = {unit: reader.row(of_unit[0]) for unit, of_unit in places.items()}
    files = {
        f"{STEM}.png": contact_sheet.render([Strip(TITLE, tuple(tiles))], 4),
        f"{STEM}.csv": _csv(judged, words, rows),
    }
    return Pictures((Section(TITLE, (words.lead(judged), columns(parts))),), files)


def _places(request: PictureRequest) -> dict[str, list[int]]:
    """The scans of each unit of test, by key."""
    subset, rows = request.labelled.subsets["test"], request.scans.rows
    places: dict[str, list[int]] = {}
    for place, unit in zip(subset.places_N.tolist(), subset.units or subset.participants, strict=True):
        places.setdefault(unit, []).append(place)
    return {unit: sorted(own, key=lambda place: rows[place].key) for unit, own in places.items()}


class _Words:
    """What is said of people, in sentences and in the columns of a table."""

    def __init__(self, request: PictureRequest, is_number: bool) -> None:
        self._labelled, self._is_number = request.labelled, is_number
        self._heads = sum(len(seeds) for seeds in request.predictions.values())
        self._arms = ", ".join(request.predictions)

    def lead(self, judged: Sequence[Judged]) -> str:
        """Who is shown."""
        mean = f" on average over {pluralize(self._heads, 'head')}" if self._heads > 1 else ""
        units = f"{self._labelled.level}s of test"
        shown = min(SHOWN, len(judged))
        order = (
            f"The {shown} of {len(judged)} {units} whose number is missed most{mean} ({self._arms})"
            if self._is_number
            else f"The {shown} of {len(judged)} {units} whose true class has the lowest probability{mean} "
            f"({self._arms}); {sum(each.predicted != each.y for each in judged)} are wrong"
        )
        return (
            f"{order}. Each with the central B-scan of its first scan. This page shows keys and eyes of "
            f"people: mind who reads it. All of test stand in {STEM}.csv."
        )

    def of(self, each: Judged, row: SampleRow, scans: int) -> str:
        """Lines on one unit and its first scan."""
        flags = f"flags: {', '.join(row.flags)}" if row.flags else "no quality flag"
        more = f" (the first of {scans} scans)" if scans > 1 else ""
        scan = f"{each.unit}: {origin(row)}; {flags}"
        return "\n".join([*self._said(each), scan, f"{row.key}{more}"])

    def _said(self, each: Judged) -> list[str]:
        if self._is_number:
            return [f"True {each.y:.4g}, predicted {each.p_C[0]:.4g}: {each.miss:.3g} away"]
        verdict = "Right" if each.predicted == each.y else "Wrong"
        often = f", in {each.wrong} of {each.heads} heads" if each.heads > 1 else ""
        order = np.argsort(-each.p_C, kind="stable")[:CLASSES_TOLD].tolist()
        told = [c for c in (*order, int(each.y)) if c != each.predicted]
        others = "; ".join(f"{self._name(c)} {each.p_C[c]:.2f}" for c in dict.fromkeys(told))
        return [
            f"{verdict}{often}: truly {self._name(int(each.y))}",
            f"predicted {self._name(each.predicted)} {each.p_C[each.predicted]:.2f} (others: {others})",
        ]

    def _name(self, c: int) -> str:
        return self._labelled.classes[c].replace("_", " ")

    def columns(self) -> list[str]:
        """Of the table."""
        classes = [f"p_{name}" for name in self._labelled.classes]
        return ["unit", "true", "predicted", "miss", "wrong", "heads", *classes]

    def cells(self, each: Judged) -> list[object]:
        """A row of it."""
        if self._is_number:
            return [each.unit, each.y, float(each.p_C[0]), each.miss, "", each.heads]
        names = self._labelled.classes
        truth, predicted = names[int(each.y)], names[each.predicted]
        return [each.unit, truth, predicted, each.miss, each.wrong, each.heads, *each.p_C.tolist()]


def _csv(judged: Sequence[Judged], words: _Words, rows: dict[str, SampleRow]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*words.columns(), "device", "protocol", "eye", "key", "flags"])
    for each in judged:
        row = rows[each.unit]
        scan = [row.device, row.protocol, row.eye, row.key, " ".join(row.flags)]
        writer.writerow([*words.cells(each), *scan])
    return text.getvalue().encode()
