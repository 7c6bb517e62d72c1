"""The people of test about whom heads are wrong most: their central B-scans, and what was said of them."""

from collections.abc import Mapping, Sequence

from octshard.dataset.tables import SampleRow
from octshard.eval.pictures import judged
from octshard.eval.pictures.judged import Judged
from octshard.eval.pictures.request import PictureRequest, Pictures, as_csv
from octshard.eval.pictures.scan_reader import LARGE, ScanReader, described
from octshard.pictures import contact_sheet
from octshard.pictures.contact_sheet import Strip, Tile
from octshard.probes.labels import LabelledScans
from octshard.probes.targets import NUMBERS
from octshard.report.numbers import pluralize
from octshard.report.page import Html, Section, columns, photograph

SHOWN = 8  # as many as a reader looks at one by one; about 60 kB each
STEM = "wrong-people"
TITLE = "People most often wrong"


def pictures(request: PictureRequest, reader: ScanReader) -> Pictures:
    """Of the worst, and a table of all; nothing without predictions."""
    predictions = [each for seeds in request.predictions.values() for each in seeds]
    if not predictions:
        return Pictures()
    people, places = judged.ranking(predictions), request.places_of_test()
    parts, tiles = list[Html](), list[Tile]()
    for each in people[:SHOWN]:
        scan = reader.read(places[each.unit][0])
        pixels = scan.b_scan(scan.centre, LARGE)
        caption = _caption(each, request.labelled, scan.row, len(places[each.unit]))
        parts.append(photograph(pixels, f"Central B-scan of {scan.row.key}", caption))
        tiles.append(Tile(pixels, caption))
    rows = {unit: reader.row(of_unit[0]) for unit, of_unit in places.items()}
    files = {
        f"{STEM}.png": contact_sheet.render([Strip(TITLE, tuple(tiles))], 4),
        f"{STEM}.csv": _csv(people, request.labelled, rows),
    }
    return Pictures((Section(TITLE, (_lead(request, people), columns(parts))),), files)


def _lead(request: PictureRequest, people: Sequence[Judged]) -> str:
    """Who is shown."""
    mean = f" on average over {pluralize(people[0].heads, 'head')}" if people[0].heads > 1 else ""
    arms = ", ".join(request.predictions)
    some = f"The {min(SHOWN, len(people))} of {len(people)} {request.labelled.level}s of test"
    if request.labelled.kind == NUMBERS:
        order = f"{some} whose number is missed most{mean} ({arms})"
    else:
        wrong = sum(each.predicted != each.y for each in people)
        order = f"{some} whose true class has the lowest probability{mean} ({arms}); {wrong} are wrong"
    return (
        f"{order}. Each with the central B-scan of one scan. This page shows keys and eyes of people: "
        f"mind who reads it. All of test stand in {STEM}.csv."
    )


def _caption(each: Judged, labelled: LabelledScans, row: SampleRow, scans: int) -> str:
    """Lines on one unit and its first scan."""
    flags = f"flags: {', '.join(row.flags)}" if row.flags else "no quality flag"
    more = f" (the first of {scans} scans)" if scans > 1 else ""
    return "\n".join([*judged.said(each, labelled), described(row, each.unit) + more, flags])


def _csv(people: Sequence[Judged], labelled: LabelledScans, rows: Mapping[str, SampleRow]) -> bytes:
    said = ["unit", "true", "predicted", "miss", "wrong", "heads", *(f"p_{c}" for c in labelled.classes)]
    table = []
    for each in people:
        row = rows[each.unit]
        scan = [row.device, row.protocol, row.eye, row.key, " ".join(row.flags)]
        table.append([*_cells(each, labelled), *scan])
    return as_csv([*said, "device", "protocol", "eye", "key", "flags"], table)


def _cells(each: Judged, labelled: LabelledScans) -> list[object]:
    if labelled.kind == NUMBERS:
        return [each.unit, each.y, float(each.p_C[0]), each.miss, "", each.heads]
    true, predicted = labelled.classes[int(each.y)], labelled.classes[each.predicted]
    return [each.unit, true, predicted, each.miss, each.wrong, each.heads, *each.p_C.tolist()]
