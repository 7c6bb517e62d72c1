"""The retinal band of a volume: where the retina lies in depth, from the inner limiting membrane to the RPE.

Prep finds it once (`prep/convert/band.py`) and stores it with the sample (`dataset/stored_band.py`); the
stream hands it on as `Batch.band_BDQ2`, cropped and padded as the voxels are. Axis Q: blocks of columns.
"""

import math
from dataclasses import dataclass

import numpy as np

from octshard.imaging.crop import Window
from octshard.imaging.volume import Shape

BLOCK = 8  # stored columns that share a place of the band; the last block may have fewer
NOT_FOUND = -1
MOST_ROWS = 2**15 - 1  # of a volume: its rows must fit int16


def blocks_of(columns: int) -> int:
    """How many blocks so many columns have."""
    return -(-columns // BLOCK)


@dataclass(frozen=True, eq=False)
class RetinaBand:
    """rows_DQ2: int16, in stored voxels, for B-scan d and columns q * BLOCK to (q + 1) * BLOCK.

    [..., 0] is the first row of the retina (inner limiting membrane), [..., 1] the row behind its last (lower
    edge of the RPE): voxels first <= h < last. Both are NOT_FOUND where the retina was not found.
    """

    rows_DQ2: np.ndarray

    @property
    def found_DQ(self) -> np.ndarray:
        """bool (D, Q)."""
        flags_DQ: np.ndarray = self.rows_DQ2[..., 0] >= 0
        return flags_DQ

    @property
    def share(self) -> float:
        """Of the blocks, those in which the retina was found; 0 to 1."""
        return float(self.found_DQ.mean())

    def crop(self, window: Window) -> "RetinaBand":
        """The band of the voxels [window], in their rows and columns: blocks count from their first column.

        Each takes the place of the block under its middle column, at most half a block beside its own. Rows
        outside the window are cut off; a band that lies outside it is not found.
        """
        planes, rows, columns = window
        width = columns.stop - columns.start
        middle_Q = np.minimum(np.arange(blocks_of(width)) * BLOCK + BLOCK // 2, width - 1)
        rows_DQ2 = self.rows_DQ2[planes, (columns.start + middle_Q) // BLOCK].astype(np.int32)
        cut_DQ2 = np.clip(rows_DQ2 - rows.start, 0, rows.stop - rows.start)
        seen_DQ = (rows_DQ2[..., 0] >= 0) & (cut_DQ2[..., 0] < cut_DQ2[..., 1])
        return RetinaBand(np.where(seen_DQ[..., None], cut_DQ2, NOT_FOUND).astype(np.int16))


def not_found(depth: int, columns: int) -> RetinaBand:
    """The band of a volume of `depth` B-scans in which no retina was found."""
    return RetinaBand(np.full((depth, blocks_of(columns), 2), NOT_FOUND, np.int16))


def token_flags(rows_DQ2: np.ndarray, grid: Shape, patch: Shape) -> np.ndarray:
    """bool (d, h, w) of a grid of tokens: the token holds a voxel of the band.

    rows_DQ2: as RetinaBand.rows_DQ2, of the voxels under the grid or fewer (one volume of `Batch.band_BDQ2`).
    They are those of the stored voxels: whoever moves the voxels (views) must move them as well.
    """
    (depth, high, wide), (deep, tall, broad) = grid, patch
    top_DQ, bottom_DQ = (rows_DQ2[..., i].astype(np.int32)[:, None] for i in (0, 1))
    row_h = np.arange(high)[:, None] * tall
    crosses_DhQ = (top_DQ >= 0) & (top_DQ < row_h + tall) & (bottom_DQ > row_h)
    unit = math.gcd(BLOCK, broad)  # columns: blocks and tokens are whole numbers of these
    crosses_DhU = crosses_DhQ.repeat(BLOCK // unit, axis=2)
    flags_DhU = np.zeros((depth * deep, high, wide * broad // unit), bool)
    d, _, u = (min(sizes) for sizes in zip(flags_DhU.shape, crosses_DhU.shape, strict=True))
    flags_DhU[:d, :, :u] = crosses_DhU[:d, :, :u]
    return np.any(flags_DhU.reshape(depth, deep, high, wide, broad // unit), axis=(1, 4))
