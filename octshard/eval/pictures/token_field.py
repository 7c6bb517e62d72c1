"""The tokens of a few scans, read once more by their encoder, and where each of them lies in its scan."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.eval import encoders
from octshard.eval.encoders import NamedEncoder
from octshard.eval.feature_table import TOKENS
from octshard.eval.features import TokenSource
from octshard.eval.pictures.request import PictureRequest
from octshard.imaging.crop import Window
from octshard.imaging.tiles import CENTRE, View
from octshard.imaging.volume import Shape
from octshard.progress import no_progress


@dataclass(frozen=True, eq=False)
class TokenField:
    """place_V3: of each token along D, H, W, in tokens of `window`, the part of the scan that is read; patch:
    voxels of a token along D, H, W.
    """

    place_V3: np.ndarray
    window: Window
    patch: Shape

    def on_grid(self, values_V: np.ndarray) -> np.ndarray:
        """(d, h, w), or (d, h, w, X), of one value, or X of them, for each token."""
        grid = self.place_V3.max(axis=0) + 1
        values_dhw = np.zeros((*grid, *values_V.shape[1:]), values_V.dtype)
        values_dhw[tuple(self.place_V3.T)] = values_V
        return values_dhw

    def voxels(self, voxels_DHW: np.ndarray) -> np.ndarray:
        """The part of a scan that is read."""
        return voxels_DHW[self.window]

    def means(self, voxels_DHW: np.ndarray) -> np.ndarray:
        """(d, h, w): the mean of the voxels of each token."""
        sums, counts = self.voxels(voxels_DHW), np.ones((1, 1, 1))
        for axis, (length, size) in enumerate(zip(sums.shape, self.patch, strict=True)):
            starts = np.arange(0, length, size)
            sums = np.add.reduceat(sums, starts, axis=axis, dtype=np.float32)
            each = np.diff([*starts, length]).reshape([-1 if a == axis else 1 for a in range(3)])
            counts = counts * each
        means_dhw: np.ndarray = sums / counts
        return means_dhw

    def plane_of(self, b_scan: int) -> int:
        """The plane of tokens that a B-scan of the scan lies in."""
        return (b_scan - self.window[0].start) // self.patch[0]

    def b_scan_of(self, plane: int) -> int:
        """The B-scan in the middle of a plane of tokens."""
        first = self.window[0].start + plane * self.patch[0]
        return (first + min(first + self.patch[0], self.window[0].stop)) // 2

    def spread(self, values: np.ndarray, axes: tuple[int, int]) -> np.ndarray:
        """A plane of values over its voxels; axes: which of D, H, W it lies along, such as (1, 2)."""
        for at, axis in enumerate(axes):
            length = self.window[axis].stop - self.window[axis].start
            values = values.repeat(self.patch[axis], axis=at).take(range(length), axis=at)
        return values


def read(
    request: PictureRequest, encoder: NamedEncoder, places: Sequence[int]
) -> Iterator[tuple[TokenField, np.ndarray]]:
    """Field and z_VF of these scans, in order, behind the first layer that is asked for, one at a time."""
    scans = request.scans
    samples = tuple(scans.index.samples[place] for place in places)
    scans = dataclasses.replace(scans, index=dataclasses.replace(scans.index, samples=samples))
    asked = dataclasses.replace(request.asked, layers=request.asked.layers[:1], poolings=(TOKENS,))
    made = encoders.sources_of([encoder], scans, asked, request.devices)
    view, shapes = encoders.view_of(encoder.config, asked.view), iter(scans.shapes)
    (source,) = made.sources
    assert isinstance(source, TokenSource)
    for batch in scans.stream(1, made.backend, no_progress).batches(0):
        for tokens in source.tokens_of(batch):
            yield TokenField(tokens.place_V3, window_of(view, next(shapes)), view.patch), tokens.z_VF


def window_of(view: View, extent: Shape) -> Window:
    """The part of a scan of that extent that is read: all of it, or the centre."""
    if view.kind == CENTRE:
        return view.windows(extent)[0]
    d, h, w = (slice(0, n) for n in extent)
    return d, h, w
