"""What the attentive probe attends to: the B-scan with the most attention, and all of it from above.

Drawn for test people of every class, of whom the head is right and of whom it is wrong.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.eval.encoders import NamedEncoder
from octshard.eval.pictures import judged, token_field, truth
from octshard.eval.pictures.judged import Judged
from octshard.eval.pictures.request import PictureRequest, Pictures, as_csv
from octshard.eval.pictures.scan_reader import LARGE, SMALL, ScanReader, StoredScan, described
from octshard.eval.pictures.token_field import TokenField
from octshard.pictures import b_scan, contact_sheet, heat
from octshard.pictures.b_scan import Box
from octshard.pictures.contact_sheet import Strip, Tile
from octshard.probes.head import FittedHead
from octshard.probes.predictions import Predictions
from octshard.probes.targets import NUMBERS
from octshard.report import page
from octshard.report.numbers import decimal
from octshard.report.page import Content, Section, photograph
from octshard.rng import seed_for

SHOWN = 8  # scans, of all heads together: each is about 150 kB of the page
STEM = "attention"
LEAST_TOP = 4.0  # times an even share that full colour means at least: even attention stays pale
TITLE = "What the attentive probe looks at"
COLUMNS = ("encoder", "unit", "key", "b_scan", "b_scans", "share", "even_share", "half_in", "tokens")


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """attention_dhw: of each token, the mean over the heads of the probe; adds up to 1."""

    field: TokenField
    attention_dhw: np.ndarray

    @property
    def plane(self) -> int:
        """The plane of tokens with the most attention."""
        return int(self.attention_dhw.sum((1, 2)).argmax())

    @property
    def share(self) -> float:
        """Of all attention, in that plane."""
        return float(self.attention_dhw[self.plane].sum())

    @property
    def even_share(self) -> float:
        """What any plane would have, if attention were even."""
        return 1 / len(self.attention_dhw)

    @property
    def half_in(self) -> int:
        """The fewest tokens that have half of all attention."""
        ordered_V = np.sort(self.attention_dhw, axis=None)[::-1]
        return int(np.searchsorted(np.cumsum(ordered_V), 0.5 - 1e-6)) + 1


def attention_map(head: FittedHead, field: TokenField, z_VF: np.ndarray) -> AttentionMap:
    """Of one scan; the head is one for tokens."""
    assert head.attention is not None
    mean_V = head.attention(z_VF[None])[0].astype(np.float64).mean(1)
    return AttentionMap(field, field.on_grid(mean_V / mean_V.sum()))


def pictures(request: PictureRequest, reader: ScanReader) -> Pictures:
    """Of every head that attends to tokens; nothing without one, or without predictions."""
    attending = {name for name, head in request.attentive.items() if head.attention is not None}
    encoders = [each for each in request.encoders if each.info.source in attending][:SHOWN]
    predictions = [each for seeds in request.predictions.values() for each in seeds]
    if not encoders or not predictions:
        return Pictures()
    parts, strips, rows = list[Content]([_lead(request)]), list[Strip](), list[list[object]]()
    for encoder in encoders:
        own = request.attended.get(encoder.info.source)
        units = chosen(request, [own] if own else predictions, max(1, SHOWN // len(encoders)))
        for strip, row in _strips(request, reader, encoder, units):
            shown = [
                photograph(tile.pixels, f"{strip.title}, {tile.words}", tile.words) for tile in strip.tiles
            ]
            parts += [page.heading(strip.title), page.tiles(shown)]
            strips.append(strip)
            rows.append(row)
    files = {f"{STEM}.png": contact_sheet.render(strips, 3), f"{STEM}.csv": as_csv(COLUMNS, rows)}
    return Pictures((Section(TITLE, tuple(parts)),), files)


def chosen(request: PictureRequest, predictions: Sequence[Predictions], most: int) -> list[Judged]:
    """Units of each class, right and wrong in turn; of numbers, of each third, the nearer half and the other.

    Within these a seeded order decides, so that neither the best nor the worst is what is shown.
    """
    people, places, known = judged.ranking(predictions), request.places_of_test(), truth.of(request.labelled)
    middle = float(np.median([each.miss for each in people]))

    def is_wrong(each: Judged) -> bool:
        return each.miss > middle if request.labelled.kind == NUMBERS else each.predicted != each.y

    def traits(each: Judged) -> tuple[str, ...]:
        group, wrong = known.group_of[places[each.unit][0]], str(is_wrong(each))
        return group, f"{group}\n{wrong}", wrong

    ordered = sorted(people, key=lambda each: seed_for(STEM, request.seed, each.unit))
    return sorted(truth.in_turn(ordered, traits, most), key=traits)


def _lead(request: PictureRequest) -> str:
    halves = "nearer and farther than half of all" if request.labelled.kind == NUMBERS else "right and wrong"
    return (
        "A learned query weighs the tokens of each scan. Left: the B-scan with the most attention; beside it "
        "the weights, the mean over all heads of attention, orange where they are above an even share; then "
        "the same from above, summed over depth. People of test of each class, "
        f"{halves}, drawn at random; what is predicted is that of the scan that is shown. "
        "Attention tells where the probe looked, not why it decided. Where all tokens tell the label, a head "
        "does well without choosing among them, and attention stays even."
    )


def _strips(
    request: PictureRequest, reader: ScanReader, encoder: NamedEncoder, units: Sequence[Judged]
) -> Iterator[tuple[Strip, list[object]]]:
    """The pictures of each unit's first scan, and a row of the table."""
    head, of_unit = request.attentive[encoder.info.source], request.places_of_test()
    places = [of_unit[each.unit][0] for each in units]
    for each, place, (field, z_VF) in zip(
        units, places, token_field.read(request, encoder, places), strict=True
    ):
        attention, scan = attention_map(head, field, z_VF), reader.read(place)
        p_C = head.predict(z_VF[None])[0]
        here = Judged(each.unit, p_C, each.y, judged.miss_of(p_C, each.y, request.labelled.kind))
        said = "\n".join(judged.said(here, request.labelled))
        title = f"{encoder.info.source}: {described(scan.row, each.unit)}"
        yield Strip(title, _tiles(attention, scan, said)), _row(encoder, each, attention, scan)


def _tiles(attention: AttentionMap, scan: StoredScan, said: str) -> tuple[Tile, ...]:
    field, plane, shares_dhw = attention.field, attention.plane, attention.attention_dhw
    number, (depth, high, wide) = field.b_scan_of(plane), scan.step
    grey_HW = b_scan.grey(scan.voxels_DHW[number][field.window[1:]])
    en_face_DW = b_scan.grey(field.voxels(scan.voxels_DHW).mean(axis=1, dtype=np.float32))
    top, colour_dhw = colours(shares_dhw)
    words = (
        f"B-scans around {number + 1} of {scan.shape[0]}: {_short(100 * attention.share)} % of all "
        f"attention, {_short(attention.share / attention.even_share)} times an even share; half of all is in "
        f"{attention.half_in} of {shares_dhw.size} tokens; full orange: {_short(top)} times"
    )
    above_top, above_dw = colours(shares_dhw.sum(1))
    over_HW3 = heat.over(grey_HW, field.spread(colour_dhw[plane], (1, 2)))
    above_DW3 = heat.over(en_face_DW, field.spread(above_dw, (0, 2)))
    return (
        Tile(_sized(grey_HW, (high, wide), LARGE), said),
        Tile(_sized(over_HW3, (high, wide), LARGE), words),
        Tile(_sized(above_DW3, (depth, wide), SMALL), f"From above; full: {_short(above_top)} times"),
    )


def colours(share: np.ndarray) -> tuple[float, np.ndarray]:
    """(top, values in [0, 1]): 0 up to an even share, 1 at `top` times it, in between its logarithm.

    top: the greatest, but LEAST_TOP at least.
    """
    times = share * share.size
    top = max(LEAST_TOP, float(times.max()))
    return top, np.log(np.maximum(times, 1)) / np.log(top)


def _short(value: float) -> str:
    return decimal(value, 1 if value < 10 else 0)


def _row(encoder: NamedEncoder, each: Judged, attention: AttentionMap, scan: StoredScan) -> list[object]:
    number, tokens = attention.field.b_scan_of(attention.plane) + 1, attention.attention_dhw.size
    place = [encoder.info.source, each.unit, scan.row.key, number, scan.shape[0]]
    return [*place, attention.share, attention.even_share, attention.half_in, tokens]


def _sized(pixels: np.ndarray, step: tuple[float, float], box: Box) -> np.ndarray:
    """step: mm of a pixel, downwards and across."""
    return b_scan.sized(pixels, (pixels.shape[0] * step[0], pixels.shape[1] * step[1]), box)
