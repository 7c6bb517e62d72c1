"""A map of a scan -> the grid of its stored volume, by the geometry with which prep stored the volume.

Labels are taken from the nearest voxel, what is measured is averaged. Frames that prep put in another order
(`slow_axis_flipped`) are put so here as well; where it did more (`frames_sorted`, `frames_mirrored`), only a
map of the stored volume itself can be used.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from octshard.config.dense import MapConfig
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.eval.dense import map_file
from octshard.imaging.resample import matrix, taps

SAME_SPACING = 0.02  # a share: voxel sizes of a map and of its scan further apart are two things
MOVED = ("frames_sorted", "frames_mirrored")  # flags of a row: the order of its file is not known any more
LAST_LABEL = 254  # 255 is that of padding


class Grid(NamedTuple):
    """name: file or stored; shape and spacing along D, H, W, or along D, W of a map seen from above.

    Spacing is nan along axes where it is not known.
    """

    name: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]


def labels_of(url: str, row: SampleRow, cfg: MapConfig) -> np.ndarray:
    """uint8 (D, H, W) on the grid of the stored volume of `row`, each from the nearest voxel of the map."""
    values_DHW, grid = _read(url, row, cfg, (0, 1, 2))
    if values_DHW.dtype.kind not in "biuf" or not np.isfinite(values_DHW).all():
        raise OctshardError(f"map {url}: {values_DHW.dtype} with values that are no numbers, want labels")
    low, high = float(values_DHW.min()), float(values_DHW.max())
    if low < 0 or high > LAST_LABEL or not np.array_equal(values_DHW, np.rint(values_DHW)):
        raise OctshardError(
            f"map {url}: values from {low:g} to {high:g}, want whole numbers, 0 to {LAST_LABEL}"
        )
    labels_DHW = values_DHW.astype(np.uint8)
    stored = _shape_out(row)
    nearest = [((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(stored, grid.shape, strict=True)]
    return labels_DHW[np.ix_(*nearest)]


def en_face_of(url: str, row: SampleRow, cfg: MapConfig) -> np.ndarray:
    """float32 (D, W) from 0 to 1 on the stored grid; of a volume (D, H, W) the mean over its depth.

    Whole numbers are shares of the greatest of their type; others must be 0 to 1.
    """
    values, _ = _read(url, row, cfg, (0, 2), (0, 1, 2))
    top = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1.0
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise OctshardError(f"map {url}: {values.dtype} with values that are no numbers, want flow")
    shares = values.astype(np.float64) / top
    if shares.min() < 0 or shares.max() > 1:
        raise OctshardError(
            f"map {url}: values from {values.min():g} to {values.max():g}, want whole numbers from 0, or "
            "shares from 0 to 1"
        )
    picture_DW = shares.mean(axis=1) if shares.ndim == 3 else shares
    depth, _, width = _shape_out(row)
    sizes = zip(picture_DW.shape, (depth, width), strict=True)
    along_d, along_w = (matrix(taps(n, m), n) for n, m in sizes)
    return (along_d @ picture_DW @ along_w.T).astype(np.float32)


def _read(url: str, row: SampleRow, cfg: MapConfig, *axes: Sequence[int]) -> tuple[np.ndarray, Grid]:
    """The map with its axes in our order and its frames in that of the stored volume, and its grid."""
    grids = [Grid(grid.name, *_along(grid, kept)) for kept in axes for grid in _grids(row, cfg)]
    turned = cfg.axes == "whd" and not url.endswith(".npy")
    wanted: dict[tuple[int, ...], str] = {}
    for grid in grids:
        letters = "DHW" if len(grid.shape) == 3 else "DW"
        name = f"{grid.name} grid ({', '.join(letters[::-1] if turned else letters)})"
        wanted.setdefault(grid.shape[::-1] if turned else grid.shape, name)
    read = map_file.read(url, wanted)
    values = read.values.T if turned else read.values
    spacing_mm = read.spacing_mm[::-1] if turned and read.spacing_mm else read.spacing_mm
    grid = _grid_of(url, grids, values.shape, spacing_mm, row)
    return (values[::-1] if grid.name == "file" and "slow_axis_flipped" in row.flags else values), grid


def _grids(row: SampleRow, cfg: MapConfig) -> list[Grid]:
    """Those that cfg allows, and the row knows."""
    grids = []
    if cfg.grid != "stored" and row.frames and row.rows and row.cols:
        grids.append(Grid("file", (row.frames, row.rows, row.cols), row.lengths(row.spacing_in)))
    if cfg.grid != "file":
        grids.append(Grid("stored", _shape_out(row), row.lengths(row.spacing_out)))
    if not grids:
        raise OctshardError(f"{row.key}: the shape of its file is not recorded, want maps of the stored grid")
    return grids


def _along(grid: Grid, axes: Sequence[int]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    return tuple(grid.shape[i] for i in axes), tuple(grid.spacing_mm[i] for i in axes)


def _grid_of(
    url: str,
    grids: Sequence[Grid],
    shape: tuple[int, ...],
    spacing_mm: tuple[float, ...] | None,
    row: SampleRow,
) -> Grid:
    """The one grid that a map lies on; OctshardError if none has its voxel sizes, UsageError if two could."""
    of_shape = [grid for grid in grids if grid.shape == shape]
    fitting = [grid for grid in of_shape if _same(grid.spacing_mm, spacing_mm)]
    if not fitting:
        sizes = " or ".join(f"{grid.name} {_text(grid.spacing_mm)}" for grid in of_shape)
        raise OctshardError(
            f"map {url}: voxels of {_text(spacing_mm)} mm, want those of {row.key}: {sizes} mm"
        )
    changed = [flag for flag in row.flags if flag in (*MOVED, "slow_axis_flipped")]
    if len(fitting) > 1 and changed:
        raise UsageError(
            f"map {url}: fits the file and the stored volume, whose frames differ ({', '.join(changed)}); "
            "want grid=file or grid=stored"
        )
    if fitting[0].name == "file" and (moved := [flag for flag in row.flags if flag in MOVED]):
        raise OctshardError(
            f"map {url}: of the file of {row.key}, whose frames prep moved ({', '.join(moved)}); want a map "
            "of the stored volume (octshard.ShardDataset) and grid=stored"
        )
    return fitting[0]


def _same(mine: tuple[float, ...], theirs: tuple[float, ...] | None) -> bool:
    """Along all axes that both know."""
    if theirs is None:
        return True
    return not any(abs(a / b - 1) > SAME_SPACING for a, b in zip(mine, theirs, strict=True) if b > 0)


def _shape_out(row: SampleRow) -> tuple[int, int, int]:
    if row.shape_out is None:
        raise OctshardError(f"{row.key}: no shape_out in samples.parquet; build it again")
    return row.shape_out


def _text(spacing_mm: tuple[float, ...] | None) -> str:
    if spacing_mm is None or all(map(math.isnan, spacing_mm)):
        return "unknown"
    return " x ".join("?" if math.isnan(mm) else f"{mm:.4g}" for mm in spacing_mm)
