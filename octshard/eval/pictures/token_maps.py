"""What encoders make of the tokens of a scan: three principal components as colours, beside the B-scan.

One map of colours for all scans of an encoder; that of another encoder is another map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.eval.encoders import NamedEncoder
from octshard.eval.pictures import token_field, truth
from octshard.eval.pictures.request import PictureRequest, Pictures
from octshard.eval.pictures.scan_reader import LARGE, SMALL, ScanReader, StoredScan, origin
from octshard.eval.pictures.token_field import TokenField
from octshard.imaging.volume import Spacing
from octshard.pictures import b_scan, contact_sheet, token_colours
from octshard.pictures.b_scan import Box
from octshard.pictures.contact_sheet import Strip, Tile
from octshard.pictures.model_view import EnFace, ModelView
from octshard.pictures.panels import panels
from octshard.pictures.token_colours import TokenColours
from octshard.report import page
from octshard.report.page import Content, Section, photograph
from octshard.rng import rng_for

SHOWN, ENCODERS = 6, 3  # scans, and encoders: each pair is about 100 kB of the page
FITTED = 4096  # tokens of a scan at most that the colours are fitted to, for memory
STEM = "token-maps"
TITLE = "Tokens as colours"


@dataclass(frozen=True, eq=False)
class TokenMap:
    """uint8 (H, W, 3) pictures of a scan by one encoder: over the central B-scan, and from above."""

    b_scan: np.ndarray
    above: np.ndarray


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What is drawn of a scan: the central B-scan as far as it is read, and the features of tokens in it, of
    those from above, and of some to fit the colours to. step: mm of a voxel.
    """

    b_scan_HW: np.ndarray
    step: Spacing
    field: TokenField
    plane_hwF: np.ndarray
    above_dwF: np.ndarray
    fitted_VF: np.ndarray


def pictures(request: PictureRequest, reader: ScanReader) -> Pictures:
    """Of test scans of each class and device, by the first encoders; nothing without an encoder."""
    named, places = request.encoders[:ENCODERS], _places(request)
    if not named:
        return Pictures()
    maps = [token_maps(request, reader, encoder, places) for encoder in named]
    text_of, parts, strips = (
        truth.of(request.labelled).text_of,
        list[Content]([_lead(request)]),
        list[Strip](),
    )
    for place, *of_scan in zip(places, *maps, strict=True):
        scan = reader.read(place)
        tiles = [Tile(scan.b_scan(scan.centre, LARGE), f"B-scan {scan.centre + 1} of {scan.shape[0]}")]
        for each, encoder in zip(of_scan, named, strict=True):
            name = encoder.info.source
            tiles += [Tile(each.b_scan, name), Tile(each.above, f"{name}, from above")]
        strips.append(Strip(f"{text_of[place]}: {origin(scan.row)}, {scan.row.key}", tuple(tiles)))
        shown = [photograph(tile.pixels, f"{tile.words}: {scan.row.key}", tile.words) for tile in tiles]
        parts += [page.heading(strips[-1].title), page.tiles(shown)]
    files = {f"{STEM}.png": contact_sheet.render(strips, 1 + 2 * len(named))}
    return Pictures((Section(TITLE, tuple(parts)),), files)


def token_maps(
    request: PictureRequest, reader: ScanReader, encoder: NamedEncoder, places: Sequence[int]
) -> list[TokenMap]:
    """One of each scan, in the colours of all of them."""
    drawn = [
        _drawn(field, z_VF, reader.read(place))
        for place, (field, z_VF) in zip(places, token_field.read(request, encoder, places), strict=True)
    ]
    colours = token_colours.fit([each.fitted_VF for each in drawn])
    return [TokenMap(_over_b_scan(each, colours), _above(each, colours)) for each in drawn]


def _places(request: PictureRequest) -> list[int]:
    """Scans of test, sorted by class and device."""
    known, rows = truth.of(request.labelled), request.scans.rows
    test = request.labelled.subsets["test"].places_N.tolist()
    return truth.some_of_each(known, test, rows, f"{STEM} {request.seed}", SHOWN)


def _lead(request: PictureRequest) -> str:
    layer = request.asked.layers[0]
    where = "what it returns" if layer == "last" else f"what leaves block {layer}"
    left_out = [each.info.source for each in request.encoders[ENCODERS:]]
    more = f" Not drawn: {', '.join(left_out)}." if left_out else ""
    return (
        f"Three principal components of the tokens of each encoder ({where}) are red, green and blue: tokens "
        "of like colour are alike to it. One map of colours holds for all scans of an encoder; colours of "
        "different encoders mean different things. From above, each place has the colour of its brightest "
        f"token along depth.{more}"
    )


def _drawn(field: TokenField, z_VF: np.ndarray, scan: StoredScan) -> _Drawn:
    """Only what is needed of the tokens: all of several scans would fill the memory."""
    z_dhwF = field.on_grid(z_VF)
    brightest_dw = field.means(scan.voxels_DHW).argmax(axis=1)
    return _Drawn(
        b_scan_HW=scan.voxels_DHW[scan.centre][field.window[1:]].copy(),
        step=scan.step,
        field=field,
        plane_hwF=z_dhwF[field.plane_of(scan.centre)].copy(),
        above_dwF=np.take_along_axis(z_dhwF, brightest_dw[:, None, :, None], axis=1)[:, 0],
        fitted_VF=z_VF[rng_for(STEM, scan.row.key).permutation(len(z_VF))[:FITTED]],
    )


def _over_b_scan(drawn: _Drawn, colours: TokenColours) -> np.ndarray:
    """As `octshard preview` has it: darkened where the scan is dark."""
    plane_1HW = drawn.b_scan_HW[None].astype(np.float32)
    view = ModelView(
        title="", detail="", spacing_mm=drawn.step, patch=(1, *drawn.field.patch[1:]),
        en_face=EnFace(plane_1HW[:, 0], 0, 0), crop_DHW=plane_1HW, target_DHW=plane_1HW,
        context_DHW=plane_1HW, source_D=np.zeros(1, int), mask_sets=(), context_scale=(1, 1, 1),
        colours_dhw3=_colours(drawn.plane_hwF, colours)[None],
    )  # fmt: skip
    high, wide = drawn.b_scan_HW.shape
    return _sized(panels(view)[-1].pixels(0)[:high, :wide], drawn.step[1:], LARGE)


def _above(drawn: _Drawn, colours: TokenColours) -> np.ndarray:
    """One colour for each token along D and W."""
    pixels = drawn.field.spread(_colours(drawn.above_dwF, colours), (0, 2))
    return _sized(pixels, (drawn.step[0], drawn.step[2]), SMALL)


def _colours(z_hwF: np.ndarray, colours: TokenColours) -> np.ndarray:
    return colours.of(z_hwF.reshape(-1, z_hwF.shape[-1])).reshape(*z_hwF.shape[:2], 3)


def _sized(pixels: np.ndarray, step: Sequence[float], box: Box) -> np.ndarray:
    """uint8 of colours in [0, 1]. step: mm of a pixel, downwards and across."""
    high, wide = pixels.shape[0] * step[0], pixels.shape[1] * step[1]
    return b_scan.sized(np.rint(255 * pixels).astype(np.uint8), (high, wide), box)
