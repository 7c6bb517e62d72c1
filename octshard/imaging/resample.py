"""Resampling to another grid of the same physical extent: separable, anti-aliased, integer in, integer out.

Output voxel j covers [j, j + 1) * n_in / n_out of the input: edges coincide. An axis that shrinks averages
that interval (area kernel), one that grows interpolates linearly between voxel centres, edge voxels held.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from octshard.errors import OctshardError
from octshard.imaging.jit import compiled
from octshard.imaging.volume import Shape, Spacing, Volume, resampled_shape

SAME = 1e-9  # of a voxel: an overlap below this is rounding


class Taps(NamedTuple):
    """The kernel of one axis. Output j reads samples start_j .. start_j + reach_j - 1; weights sum to 1.

    The first sample weighs `first`, the last `last`, each between them `middle`; a single one `first`.
    """

    start: np.ndarray  # int64 (n_out,)
    reach: np.ndarray  # int64, how many samples
    first: np.ndarray  # float64
    middle: np.ndarray
    last: np.ndarray


@dataclass(frozen=True)
class Regrid:
    """From a scan of shape_in voxels to shape_out, both (D, H, W).

    level: JPEG 2000 resolution levels left out of the frames, which then have ceil(n / 2^level) samples along
    H and W, sample k at the centre of voxel k * 2^level. reverse: the slow axis is reversed.
    """

    shape_in: Shape
    shape_out: Shape
    level: int = 0
    reverse: bool = False

    @property
    def shape_frame(self) -> tuple[int, int]:
        """(H, W) of the frames."""
        step = 2**self.level
        return -(-self.shape_in[1] // step), -(-self.shape_in[2] // step)


def taps(n_in: int, n_out: int, level: int = 0) -> Taps:
    """The kernel from an axis of n_in voxels, sampled as in `Regrid`, to n_out of equal extent. Float64."""
    step = 2**level
    samples = -(-n_in // step)
    j = np.arange(n_out)
    scale = n_in / n_out / step  # samples per output voxel
    # sample k covers voxels [k * step + begin, (k + 1) * step + begin)
    begin = (1 - step) / 2
    if scale > 1 or (n_in == n_out and level == 0):
        low = np.clip(j * scale - begin / step, 0, samples)
        high = np.clip((j + 1) * scale - begin / step, 0, samples)
        start = np.minimum(np.floor(low + SAME), samples - 1).astype(np.int64)
        count = np.maximum(np.ceil(high - SAME).astype(np.int64) - start, 1)
        first = np.minimum(start + 1, high) - low
        last = np.where(count > 1, high - (start + count - 1), 0.0)
        cover = high - low
        return Taps(start, count, first / cover, 1 / cover, last / cover)
    centre = np.clip((j + 0.5) * scale - begin / step - 0.5, 0, samples - 1)
    start = np.minimum(np.floor(centre).astype(np.int64), max(0, samples - 2))
    last = centre - start
    count = np.where(last > 0, 2, 1)
    return Taps(start, count, 1 - last, np.zeros(n_out), last)


def matrix(kernel: Taps, n_in: int) -> np.ndarray:
    """The kernel as weights (n_out, n_in), float64."""
    index, weight = _table(kernel)
    dense = np.zeros((len(kernel.start), n_in))
    np.add.at(dense, (np.arange(len(kernel.start))[None, :].repeat(len(index), 0), index), weight)
    return dense


def resample(volume: Volume, target_mm: Spacing) -> Volume:
    """`volume` at (about) `target_mm`: physical extent is kept exactly, so the spacing is extent / n_out."""
    shape = resampled_shape(_shape(volume), volume.spacing_mm, target_mm)
    return resample_to_shape(volume, shape)


def resample_to_shape(volume: Volume, shape: Shape) -> Volume:
    """The same physical extent on another grid: spacing_out = extent / n_out. The integer type stays."""
    before = _shape(volume)
    if shape == before:
        return volume
    voxels = resample_frames(volume.voxels_DHW, Regrid(before, shape))
    d, h, w = (s * n / m for s, n, m in zip(volume.spacing_mm, before, shape, strict=True))
    return Volume(volume.key, voxels, (d, h, w), volume.geometry, display=volume.display)


def resample_frames(frames_HW: Iterable[np.ndarray], grid: Regrid) -> np.ndarray:
    """Voxels (D, H, W) of grid.shape_out from frames (uint8 or uint16) one after another; the type stays.

    Keeps the output and a few planes in memory, never the input. Sums in float32 in a fixed order, so that
    every machine gives the same integers, at most one level from a float64 computation. OctshardError if
    there are too few or too many frames, or one of another shape.
    """
    checked = _checked(frames_HW, grid)
    first = next(checked)
    out_DHW = np.empty(grid.shape_out, first.dtype)
    run = _widen if grid.shape_out[0] > grid.shape_in[0] else _narrow
    run(chain([first], checked), grid, out_DHW[::-1] if grid.reverse else out_DHW)
    return out_DHW


def _checked(frames_HW: Iterable[np.ndarray], grid: Regrid) -> Iterator[np.ndarray]:
    count, want = 0, grid.shape_in[0]
    for count, frame in enumerate(frames_HW, start=1):
        if count > want or frame.shape != grid.shape_frame:
            raise OctshardError(
                f"resample: frame {count} of shape {frame.shape}, want {want} of {grid.shape_frame}"
            )
        yield np.ascontiguousarray(frame)
    if count != want:
        raise OctshardError(f"resample: {count} frames came, want {want}")


def _narrow(frames_HW: Iterator[np.ndarray], grid: Regrid, out_DHW: np.ndarray) -> None:
    """For fewer planes out than in: reduce H, sum along D, and only then resample W."""
    along_d, axial = taps(grid.shape_in[0], grid.shape_out[0]), _Axial(grid)
    index, weight = _lateral(grid)
    ends = along_d.start + along_d.reach - 1
    weight_d = tuple(part.astype(np.float32) for part in along_d[2:])
    shape = (grid.shape_out[1], grid.shape_frame[1])
    active: deque[tuple[int, np.ndarray]] = deque()
    spare: list[np.ndarray] = []
    row, started, top = np.empty(grid.shape_out[2], np.float32), 0, _top(out_DHW)
    for i, frame in enumerate(frames_HW):
        plane_HW = axial(frame)
        while started < len(ends) and along_d.start[started] <= i:
            total = spare.pop() if spare else np.empty(shape, np.float32)
            total.fill(0)
            active.append((started, total))
            started += 1
        for j, total in active:
            at = 0 if i == along_d.start[j] else 2 if i == ends[j] else 1
            _add(total, weight_d[at][j], plane_HW)
        while active and ends[active[0][0]] == i:
            j, total = active.popleft()
            _across(total, index, weight, row, top, out_DHW[j])
            spare.append(total)


def _widen(frames_HW: Iterator[np.ndarray], grid: Regrid, out_DHW: np.ndarray) -> None:
    """For more planes out than in: resample H and W once per frame, then blend neighbours."""
    along_d, axial = taps(grid.shape_in[0], grid.shape_out[0]), _Axial(grid)
    index, weight = _lateral(grid)
    first, last = along_d.first.astype(np.float32), along_d.last.astype(np.float32)
    planes = np.empty((2, *grid.shape_out[1:]), np.float32)
    j, top = 0, _top(out_DHW)
    for i, frame in enumerate(frames_HW):
        _along(axial(frame), index, weight, planes[i % 2])
        while j < len(first) and along_d.start[j] + along_d.reach[j] - 1 <= i:
            left = along_d.start[j]
            _blend(planes[left % 2], first[j], planes[(left + 1) % 2], last[j], top, out_DHW[j])
            j += 1


class _Axial:
    """Resamples a frame to (H_out, W_in) float32, in a buffer that the next call overwrites."""

    def __init__(self, grid: Regrid) -> None:
        kernel = taps(grid.shape_in[1], grid.shape_out[1], grid.level)
        self.span = (kernel.start, kernel.reach)
        self.weights = tuple(part.astype(np.float32) for part in kernel[2:])
        self.plane_HW = np.empty((grid.shape_out[1], grid.shape_frame[1]), np.float32)
        self.most = int(kernel.reach.max())

    def __call__(self, frame_HW: np.ndarray) -> np.ndarray:
        narrow = frame_HW.dtype == np.uint8 and self.most <= 257  # 257 * 255 fits in 16 bits
        sums = np.empty(frame_HW.shape[1], np.uint16 if narrow else np.uint32)
        _down(frame_HW, *self.span, *self.weights, sums, self.plane_HW)
        return self.plane_HW


def _lateral(grid: Regrid) -> tuple[np.ndarray, np.ndarray]:
    """The lateral kernel as a table of taps: uint32 and float32, for the compiled loops."""
    index, weight = _table(taps(grid.shape_in[2], grid.shape_out[2], grid.level))
    return index.astype(np.uint32), weight.astype(np.float32)


def _table(kernel: Taps) -> tuple[np.ndarray, np.ndarray]:
    """(index, weight), both (taps, n_out): every output has as many taps as the widest, with weight 0."""
    place = np.arange(kernel.reach.max())[:, None]
    final = kernel.reach - 1
    index = kernel.start + np.minimum(place, final)
    inner = np.where(place < final, kernel.middle, np.where(place == final, kernel.last, 0.0))
    return index, np.where(place == 0, kernel.first, inner)


@compiled
def _down(frame_HW, start, count, first, middle, last, sums, out_HW):  # type: ignore[no-untyped-def]
    """Along H. Inner rows are added as integers, exact and fast; only the first and last row are scaled."""
    width = frame_HW.shape[1]
    for j in range(start.size):
        top, end = start[j], start[j] + count[j] - 1
        if count[j] == 1:
            for w in range(width):
                out_HW[j, w] = first[j] * np.float32(frame_HW[top, w])
        elif count[j] == 2:
            for w in range(width):
                out_HW[j, w] = first[j] * np.float32(frame_HW[top, w]) + last[j] * np.float32(
                    frame_HW[end, w]
                )
        else:
            for w in range(width):
                sums[w] = frame_HW[top + 1, w]
            for i in range(top + 2, end):
                for w in range(width):
                    sums[w] += frame_HW[i, w]
            for w in range(width):
                ends = first[j] * np.float32(frame_HW[top, w]) + last[j] * np.float32(frame_HW[end, w])
                out_HW[j, w] = ends + middle[j] * np.float32(sums[w])


@compiled
def _add(total_HW, weight, plane_HW):  # type: ignore[no-untyped-def]
    for h in range(total_HW.shape[0]):
        for w in range(total_HW.shape[1]):
            total_HW[h, w] += weight * plane_HW[h, w]


@compiled
def _along(plane_HW, index, weight, out_HW):  # type: ignore[no-untyped-def]
    """Along W, in float32."""
    for h in range(plane_HW.shape[0]):
        for w in range(index.shape[1]):
            out_HW[h, w] = weight[0, w] * plane_HW[h, index[0, w]]
        for t in range(1, index.shape[0]):
            for w in range(index.shape[1]):
                out_HW[h, w] += weight[t, w] * plane_HW[h, index[t, w]]


@compiled
def _across(plane_HW, index, weight, row, top, out_HW):  # type: ignore[no-untyped-def]
    """Along W, then to integers of at most `top`: rounding errors of 16 bits may add up to more."""
    for h in range(plane_HW.shape[0]):
        for w in range(index.shape[1]):
            row[w] = weight[0, w] * plane_HW[h, index[0, w]]
        for t in range(1, index.shape[0]):
            for w in range(index.shape[1]):
                row[w] += weight[t, w] * plane_HW[h, index[t, w]]
        for w in range(index.shape[1]):
            out_HW[h, w] = min(np.int32(row[w] + np.float32(0.5)), top)


@compiled
def _blend(left_HW, first, right_HW, last, top, out_HW):  # type: ignore[no-untyped-def]
    for h in range(out_HW.shape[0]):
        for w in range(out_HW.shape[1]):
            # with weight 0 the right plane may be uninitialised, and 0 * nan is not 0
            value = left_HW[h, w] if last == 0 else first * left_HW[h, w] + last * right_HW[h, w]
            out_HW[h, w] = min(np.int32(value + np.float32(0.5)), top)


def _top(voxels_DHW: np.ndarray) -> np.int32:
    """The greatest value of the type."""
    return np.int32(np.iinfo(voxels_DHW.dtype).max)


def _shape(volume: Volume) -> Shape:
    d, h, w = volume.voxels_DHW.shape
    return d, h, w
