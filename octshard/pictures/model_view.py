"""One volume as a step of training gets it, ready to be drawn: voxels, views, masks on the grid of tokens."""

from dataclasses import dataclass

import numpy as np

from octshard.imaging.volume import Shape, Spacing, valid_tokens


@dataclass(frozen=True, eq=False)
class TokenFlags:
    """One mask set over the valid tokens; bool."""

    context_dhw: np.ndarray
    target_dhw: np.ndarray


@dataclass(frozen=True, eq=False)
class EnFace:
    """The stored volume from the front. picture_DW: mean over H; first_D, first_W: where the crop begins."""

    picture_DW: np.ndarray
    first_D: int
    first_W: int


@dataclass(frozen=True, eq=False)
class ModelView:
    """What figures and animations show of one volume. Arrays DHW have the shape of its valid extent.

    mask_sets: of the context the tokens of the image that its tokens cover, context_scale in each one.
    title, detail: for anybody's eyes, so no participant. spacing_mm: None if it is not known. source_D: the
    B-scan of the crop that each one of the views shows. colours_dhw3: of the tokens' features, in [0, 1].
    band_dhw: bool, tokens in the retinal band; None if there is none.
    """

    title: str
    detail: str
    spacing_mm: Spacing | None
    patch: Shape
    en_face: EnFace
    crop_DHW: np.ndarray  # as stored, but normalised
    target_DHW: np.ndarray
    context_DHW: np.ndarray
    source_D: np.ndarray
    mask_sets: tuple[TokenFlags, ...]
    context_scale: Shape
    colours_dhw3: np.ndarray | None
    band_dhw: np.ndarray | None = None

    @property
    def shape(self) -> Shape:
        """(D, H, W) voxels of the valid extent."""
        d, h, w = self.crop_DHW.shape
        return d, h, w

    @property
    def step_mm(self) -> Spacing:
        """The spacing; where it is not known, voxels are drawn as cubes of 1 mm."""
        return self.spacing_mm or (1.0, 1.0, 1.0)

    @property
    def is_plain(self) -> bool:
        """True if both views are the crop itself, as in validation."""
        return self.context_DHW is self.crop_DHW and self.target_DHW is self.crop_DHW


def token_grid(shape: Shape, patch: Shape) -> Shape:
    """Tokens along (D, H, W) that hold a voxel of a volume of `shape`."""
    return valid_tokens(shape, shape, patch)


def on_grid(ids_K: np.ndarray, grid: Shape, valid: Shape) -> np.ndarray:
    """(d, h, w) bool over the `valid` tokens: True at those with these ids of the whole `grid`."""
    flags_dhw = np.zeros(grid, bool)
    flags_dhw.flat[ids_K] = True
    d, h, w = valid
    return flags_dhw[:d, :h, :w]


def planes(view: ModelView, count: int) -> list[int]:
    """`count` B-scans evenly over the valid extent, or all there are."""
    depth = view.shape[0]
    count = min(count, depth)
    return [int((i + 0.5) * depth / count) for i in range(count)]
