"""The kinds of panel that show a B-scan: grey levels, tokens and colours as (H, W, 3) arrays in [0, 1].

Colours are Okabe and Ito's (the blue darkened), for every kind of colour vision.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from octshard.imaging.volume import Shape, product
from octshard.pictures.model_view import ModelView, token_grid

CONTEXT, TARGET, PADDING = (0.0, 0.32, 0.5), (0.9, 0.62, 0.0), (0.78, 0.85, 0.93)
BAND = (0.8, 0.47, 0.65)
WINDOW = (1.0, 99.8)  # percentiles of the target view that become black and white
VEILED = (0.78, 0.97)  # what black and white become in tokens that are not shown
OTHER = (0.82, 0.82, 0.82)  # about what such tokens look like, for the legend
TINT_FLOOR, SHADE_FLOOR = 0.25, 0.55  # of a colour, where the scan is black


@dataclass(frozen=True)
class Outline:
    """Tokens of a B-scan to draw a line around."""

    flags_hw: np.ndarray
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Panel:
    """One kind of panel. pixels: plane -> (H, W, 3), whole tokens, so with padding behind the valid extent;
    outlines: plane -> the tokens that a line goes round.
    """

    title: str
    short_title: str
    pixels: Callable[[int], np.ndarray]
    outlines: Callable[[int], tuple[Outline, ...]]


def panels(view: ModelView) -> list[Panel]:
    """The panels of a volume, in order: as stored, the views, each mask set's tokens, the features."""
    draw, means = _Painter(view), _means(view)
    if view.is_plain:
        kinds = [Panel("Volume", "Volume", draw.crop, _no_outlines)]
    else:
        kinds = [
            Panel("As stored", "As stored", draw.crop, _no_outlines),
            Panel("Target view: moved only", "Target view", draw.target_view, _no_outlines),
            Panel(
                f"Context view: moved, then gamma, speckle, noise{means}",
                "Context view",
                draw.context_view,
                _no_outlines,
            ),
        ]
    for i in range(len(view.mask_sets)):
        number = f" ({i + 1})" if len(view.mask_sets) > 1 else ""
        kinds += draw.token_panels(i, number)
    if view.colours_dhw3 is not None:
        kinds.append(
            Panel(
                "Features: three principal components as colours",
                "Features as colours",
                draw.features,
                _no_outlines,
            )
        )
    return kinds


def _means(view: ModelView) -> str:
    """What the context view is made of, where its voxels are larger than those of the volume."""
    scale = view.context_scale
    return f", means of {' x '.join(map(str, scale))} voxels" if product(scale) > 1 else ""


def _no_outlines(_: int) -> tuple[Outline, ...]:
    return ()


class _Painter:
    """Pixels of one volume; every grey panel has the same window, so that intensities can be compared."""

    def __init__(self, view: ModelView) -> None:
        self._view = view
        self._low, self._high = np.percentile(view.target_DHW, WINDOW)
        self._grid = token_grid(view.shape, view.patch)

    def grey(self, x_HW: np.ndarray) -> np.ndarray:
        """Normalised voxels as grey levels in [0, 1]."""
        return np.clip((x_HW - self._low) / max(float(self._high - self._low), 1e-6), 0, 1)

    def crop(self, plane: int) -> np.ndarray:
        return self._padded(_rgb(self.grey(self._view.crop_DHW[self._view.source_D[plane]])))

    def target_view(self, plane: int) -> np.ndarray:
        return self._padded(_rgb(self.grey(self._view.target_DHW[plane])))

    def context_view(self, plane: int) -> np.ndarray:
        return self._padded(_rgb(self.grey(self._view.context_DHW[plane])))

    def token_panels(self, set_index: int, number: str) -> list[Panel]:
        """What the encoder sees of the context view, and what is to be predicted of the target view."""
        tokens, depth = self._view.mask_sets[set_index], self._view.patch[0]

        def context(plane: int) -> np.ndarray:
            grey_HW = self.grey(self._view.context_DHW[plane])
            return self._chosen(grey_HW, tokens.context_dhw[plane // depth], _rgb(grey_HW))

        def target(plane: int) -> np.ndarray:
            grey_HW = self.grey(self._view.target_DHW[plane])
            tinted_HW3 = _floored(grey_HW, TINT_FLOOR) * np.array(TARGET)
            return self._chosen(grey_HW, tokens.target_dhw[plane // depth], tinted_HW3)

        return [
            Panel(
                f"Context{number}: all that the encoder sees{_means(self._view)}",
                f"Context{number}: what is seen",
                context,
                lambda plane: (Outline(tokens.context_dhw[plane // depth], CONTEXT),),
            ),
            Panel(
                f"Targets{number}: what is to be predicted",
                f"Targets{number}: to be predicted",
                target,
                lambda plane: (
                    Outline(tokens.target_dhw[plane // depth], TARGET),
                    *self._band(plane // depth),
                ),
            ),
        ]

    def _band(self, plane: int) -> tuple[Outline, ...]:
        """Of a plane of tokens."""
        return () if self._view.band_dhw is None else (Outline(self._view.band_dhw[plane], BAND),)

    def features(self, plane: int) -> np.ndarray:
        """The tokens' colours, darkened where the scan is dark."""
        colours_dhw3 = self._view.colours_dhw3
        assert colours_dhw3 is not None
        colours_HW3 = self._spread(colours_dhw3[plane // self._view.patch[0]])
        grey_HW = self.grey(self._view.target_DHW[plane])
        _, high, wide = self._view.shape
        return self._padded(colours_HW3[:high, :wide] * _floored(grey_HW, SHADE_FLOOR))

    def _chosen(self, grey_HW: np.ndarray, flags_hw: np.ndarray, clear_HW3: np.ndarray) -> np.ndarray:
        """`clear` in the flagged tokens, a pale shadow of the scan elsewhere."""
        _, high, wide = self._view.shape
        flags_HW = self._spread(flags_hw)[:high, :wide, None]
        veiled_HW = VEILED[0] + (VEILED[1] - VEILED[0]) * grey_HW
        return self._padded(np.where(flags_HW, clear_HW3, _rgb(veiled_HW)))

    def _spread(self, tokens_hw: np.ndarray) -> np.ndarray:
        """Values of tokens over their voxels."""
        _, high, wide = self._view.patch
        return tokens_hw.repeat(high, axis=0).repeat(wide, axis=1)

    def _padded(self, pixels_HW3: np.ndarray) -> np.ndarray:
        """Up to the end of the last tokens, in the colour of padding."""
        size = whole_tokens(self._grid, self._view.patch)
        padded_HW3 = np.empty((*size[1:], 3))
        padded_HW3[:] = PADDING
        padded_HW3[: pixels_HW3.shape[0], : pixels_HW3.shape[1]] = pixels_HW3
        return padded_HW3


def whole_tokens(grid: Shape, patch: Shape) -> Shape:
    """Voxels (D, H, W) of `grid` tokens."""
    d, h, w = (n * size for n, size in zip(grid, patch, strict=True))
    return d, h, w


def _rgb(grey_HW: np.ndarray) -> np.ndarray:
    return np.repeat(grey_HW[..., None], 3, axis=2)


def _floored(grey_HW: np.ndarray, floor: float) -> np.ndarray:
    """(H, W, 1), from `floor` to 1: a factor of colours."""
    return floor + (1 - floor) * grey_HW[..., None]
