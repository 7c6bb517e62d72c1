"""The first page's picture: a B-scan of a made-up eye, its tokens, which of them are context and targets.

`python docs/figures/tokens.py` writes tokens.png beside this file; the same environment gives the same bytes.
octshard makes all of it: phantom, resampling, crop and masks, by the shipped pretraining config.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from octshard.config.load import load, shipped_configs
from octshard.config.prep import PrepConfig
from octshard.config.train import TrainConfig
from octshard.imaging.crop import crop_window
from octshard.imaging.resample import resample
from octshard.imaging.volume import SampleKey, Shape, Volume, product, triple, valid_tokens
from octshard.models import position
from octshard.phantom import eye, scan
from octshard.phantom.device import PROTOCOLS
from octshard.phantom.eye import Person
from octshard.rng import rng_for
from octshard.train.objectives import masks
from octshard.train.objectives.token_counts import ListLengths, counts_of

CONFIG = "pretrain_vjepa_single_domain"
PERSON, SIDE, SEED = Person("1000", "fluid", severity=0.9, age=68), "R", 0

# Okabe and Ito's palette (the blue darkened), for every kind of colour vision
CONTEXT, TARGET, VALID = "#00517f", "#e69f00", "#009e73"
INK, SOFT, PADDING, NEITHER = "#1c2330", "#5b6577", "#e9ecf1", "#bcc3ce"
CLEAR = 0.35  # how much of the picture is left where it is hidden
WIDTH_PX, HEIGHT_PX, DPI = 1600, 664, 100
X_PX, Y_PX = 72.0, 122.0  # of a mm: the depth is stretched, as on the devices' own screens
LEFT_PX, TOP_PX, GAP_PX = 76, 52, 40
HEIGHT_MM = 3.2  # shown of the padded height, which goes on to 7.68
STACK, STACK_TOP_PX, STACK_PX, STACK_GAP_PX = 8, 518, 92, 12  # small slices in a row
RAMPS = (  # the PNG's palette: so many colours from one to another
    ("#000000", "#ffffff", 104), (INK, "#ffffff", 24), (SOFT, "#ffffff", 12), (CONTEXT, "#ffffff", 48),
    (TARGET, "#ffffff", 24), (NEITHER, "#ffffff", 12), (VALID, "#ffffff", 6), (VALID, "#000000", 6),
    (INK, CONTEXT, 6), (INK, TARGET, 8), (INK, NEITHER, 6),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class TokenPicture:
    """What is drawn. dhw: over the grid of tokens; DHW: over voxels."""

    scan_HW: np.ndarray  # the B-scan as the device shows it
    scan_mm: tuple[float, float]  # its extent along H and W
    volume_DHW: np.ndarray  # resampled, then cropped and padded to image_size
    extent_mm: tuple[float, float, float]  # of image_size
    valid_mm: tuple[float, float, float]  # of what is not padding
    valid: Shape  # tokens that are not pure padding
    patch: Shape
    context_dhw: np.ndarray  # bool
    target_dhw: np.ndarray  # bool
    frame: int  # of volume_DHW: the same B-scan

    @property
    def token_mm(self) -> tuple[float, float]:
        """A token along H and W."""
        _, height, width = self.extent_mm
        _, h, w = self.context_dhw.shape
        return height / h, width / w

    @property
    def valid_tokens_mm(self) -> tuple[float, float]:
        """All valid tokens of a slice along H and W."""
        tall, wide = self.token_mm
        return self.valid[1] * tall, self.valid[2] * wide


def tokens() -> TokenPicture:
    """The eye, scanned, resampled and masked: the same every time."""
    cfg = load(TrainConfig, [shipped_configs()[CONFIG]])
    (image_size, patch), grid = position.shape_of(cfg.model), position.grid_of(cfg.model)
    protocol = next(p for p in PROTOCOLS if p.device == "topcon_triton")
    picture = scan.acquire(eye.generate(PERSON, SIDE, SEED), protocol, 1.0, rng_for("tokens.png", SEED))
    step_mm = triple([mm / n for mm, n in zip(picture.extent_mm, picture.shape, strict=True)])
    key = SampleKey.of(PERSON.participant, protocol.device, protocol.name, SIDE, "2.25.1")
    whole = resample(Volume(key, picture.voxels_DHW, step_mm), triple(PrepConfig().target_spacing))
    crop = crop_window(triple(whole.voxels_DHW.shape), image_size, None)
    part_DHW = whole.voxels_DHW[crop]
    volume_DHW = np.zeros(image_size, np.uint8)
    volume_DHW[tuple(slice(n) for n in part_DHW.shape)] = part_DHW
    extent = torch.tensor([part_DHW.shape])
    (counts,) = counts_of(cfg, product(valid_tokens(triple(part_DHW.shape), image_size, patch)))
    (drawn,) = masks.draw(cfg, [ListLengths(counts, counts)], extent, SEED, [0], [str(key)])
    fluid_D = np.unpackbits(picture.fluid_DB, axis=1).sum(axis=1)
    most = int(fluid_D.argmax())  # the frame with the most fluid
    return TokenPicture(
        scan_HW=picture.voxels_DHW[most],
        scan_mm=picture.extent_mm[1:],
        volume_DHW=volume_DHW,
        extent_mm=triple([n * mm for n, mm in zip(image_size, whole.spacing_mm, strict=True)]),
        valid_mm=triple([n * mm for n, mm in zip(part_DHW.shape, whole.spacing_mm, strict=True)]),
        valid=valid_tokens(triple(part_DHW.shape), image_size, patch),
        patch=patch,
        context_dhw=_on_grid(drawn.context_BK[0], grid),
        target_dhw=_on_grid(drawn.target_BT[0], grid),
        frame=int((most + 0.5) * step_mm[0] / whole.spacing_mm[0]) - crop[0].start,
    )


def _on_grid(index_K: torch.Tensor, grid: Shape) -> np.ndarray:
    """True at the tokens with these indices."""
    flags_dhw = np.zeros(grid, bool)
    flags_dhw.flat[index_K.numpy()] = True
    return flags_dhw


def draw(picture: TokenPicture) -> bytes:
    """The PNG."""
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 15, "text.color": INK}):
        figure = Figure((WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, facecolor="white")
        panels = (
            ("A B-scan of a made-up eye", picture.scan_mm, _show_scan),
            ("Cut into tokens, padded", (HEIGHT_MM, picture.extent_mm[2]), _show_tokens),
            ("Context and targets", picture.valid_tokens_mm, _show_masks),
        )
        left = float(LEFT_PX)
        for title, (height_mm, width_mm), show in panels:
            axes = _axes(figure, left, TOP_PX, width_mm * X_PX, height_mm * Y_PX)
            axes.set_title(title, fontsize=20, fontweight="bold", loc="left", pad=9, color=INK)
            show(axes, picture)
            axes.set(xlim=(0, width_mm), ylim=(height_mm, 0))
            left += width_mm * X_PX + GAP_PX
        _show_stack(figure, picture)
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None})
    return _with_palette(out)


def _with_palette(png: io.BytesIO) -> bytes:
    """The PNG in the colours of RAMPS, which makes it half as large."""
    ramps = [np.linspace(to_rgb(first), to_rgb(last), n) for first, last, n in RAMPS]
    palette_P3 = np.rint(255 * np.concatenate(ramps)).astype(np.uint8)
    with Image.open(png) as image:
        pixels_HW3 = np.asarray(image.convert("RGB"))
    colours_U3, place = np.unique(pixels_HW3.reshape(-1, 3), axis=0, return_inverse=True)
    squared_UP = ((colours_U3[:, None].astype(np.int32) - palette_P3) ** 2).sum(axis=2)
    index_HW = squared_UP.argmin(axis=1).astype(np.uint8)[place].reshape(pixels_HW3.shape[:2])
    out, small = io.BytesIO(), Image.fromarray(index_HW)
    small.putpalette(palette_P3.tobytes())
    small.save(out, "PNG", optimize=True)
    return out.getvalue()


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes without a frame, by pixels from the upper left corner."""
    box = (left / WIDTH_PX, 1 - (top + height) / HEIGHT_PX, width / WIDTH_PX, height / HEIGHT_PX)
    axes = figure.add_axes(box)
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=SOFT, length=4)
    axes.set_yticks([])
    axes.set_xticks([0, 2, 4, 6], ["0 mm", "2", "4", "6"])
    return axes


def _show_scan(axes: Axes, picture: TokenPicture) -> None:
    height, width = picture.scan_mm
    axes.imshow(picture.scan_HW, cmap="gray", extent=(0, width, height, 0), aspect="auto")
    axes.set_yticks([0, 1, 2], ["0", "1", "2 mm"])


def _show_tokens(axes: Axes, picture: TokenPicture) -> None:
    """The padded frame with the grid, its padding marked."""
    _, height, width = picture.valid_mm
    _, height_mm, width_mm = picture.extent_mm
    frame_HW = picture.volume_DHW[picture.frame]
    axes.imshow(frame_HW, cmap="gray", extent=(0, width_mm, height_mm, 0), aspect="auto")
    for corner in ((width, 0), (0, height)):
        axes.add_patch(Rectangle(corner, width_mm, height_mm, facecolor=PADDING))
    _grid(axes, picture, picture.extent_mm[1:], "#a9b2c0")
    axes.add_patch(Rectangle((0, 0), width, height, fill=False, edgecolor=VALID, linewidth=4))
    axes.text(
        (width + width_mm) / 2, height / 2, "padding", rotation=90, ha="center", va="center", fontsize=18
    )


def _show_masks(axes: Axes, picture: TokenPicture) -> None:
    height, width = picture.valid_tokens_mm
    axes.imshow(masked(picture, picture.frame), extent=(0, width, height, 0), aspect="auto")
    _grid(axes, picture, picture.valid_tokens_mm, INK)


def masked(picture: TokenPicture, frame: int) -> np.ndarray:
    """(H, W, 3) in [0, 1]: the valid tokens of a frame. Context is clear, what is hidden is dimmed."""
    _, h, w = picture.valid
    depth, high, wide = picture.patch
    grey_HW = picture.volume_DHW[frame, : h * high, : w * wide] / 255
    context_hw, target_hw = (a[frame // depth, :h, :w] for a in (picture.context_dhw, picture.target_dhw))
    shown_HW3 = np.empty((*grey_HW.shape, 3))
    for flags_hw, colour, clear in (
        (context_hw, CONTEXT, 1.0),
        (target_hw, TARGET, CLEAR),
        (~(context_hw | target_hw), NEITHER, CLEAR),
    ):
        at_HW = np.kron(flags_hw, np.ones((high, wide))).astype(bool)
        shown_HW3[at_HW] = (to_rgb(colour) + clear * grey_HW[..., None] * (1 - np.array(to_rgb(colour))))[
            at_HW
        ]
    return shown_HW3


def _grid(axes: Axes, picture: TokenPicture, size_mm: tuple[float, ...], colour: str) -> None:
    """Lines between tokens."""
    tall, wide = picture.token_mm
    axes.hlines(np.arange(0, size_mm[0] + tall / 2, tall), 0, size_mm[1], colour, linewidth=0.7)
    axes.vlines(np.arange(0, size_mm[1] + wide / 2, wide), 0, size_mm[0], colour, linewidth=0.7)


def _show_stack(figure: Figure, picture: TokenPicture) -> None:
    """Every second slice of tokens, small, and the legend."""
    depth = picture.patch[0]
    every = picture.valid[0] // STACK
    width = (WIDTH_PX - LEFT_PX - GAP_PX - (STACK - 1) * STACK_GAP_PX) / STACK
    for i in range(STACK):
        slice_ = i * every + picture.frame // depth % every
        axes = _axes(figure, LEFT_PX + i * (width + STACK_GAP_PX), STACK_TOP_PX, width, STACK_PX)
        axes.imshow(masked(picture, slice_ * depth + depth // 2), aspect="auto")
        axes.set_xticks([])
        if i == 0:
            axes.set_title(
                "Every second slice of tokens in the volume; framed, the one above",
                fontsize=15,
                loc="left",
                pad=6,
                color=INK,
            )
        if slice_ == picture.frame // depth:  # the one that is shown above
            axes.spines[:].set(visible=True, linewidth=4, color=INK)
    handles = [
        Patch(facecolor="none", edgecolor=VALID, linewidth=4, label="valid extent"),
        Patch(color=CONTEXT, label="context: what the encoder sees"),
        Patch(color=TARGET, label="targets: to be predicted"),
        Patch(color=NEITHER, label="neither: counts are fixed"),
    ]
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, -0.005),
        ncols=4,
        frameon=False,
        fontsize=16.5,
    )


def main() -> None:
    """Writes tokens.png."""
    Path(__file__).with_name("tokens.png").write_bytes(draw(tokens()))


if __name__ == "__main__":
    main()
