"""Which frames of a volume show no retina: blank ones, and blinks or scans beyond the eye. Pure NumPy.

A retina is a bright band in depth, so it makes block means differ along depth, and noise does not. A frame is
judged by how much of its variation that is, and by how it compares with the other frames of its volume.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

ROWS, COLS = 64, 64  # about so many pixels of a frame are used, so that the cost does not depend on its size
BLOCKS, DEEP = 8, 2  # blocks side by side, so that a tilted retina is not smeared; sampled rows in one bin
BLANK_LEVELS = (
    0.75  # a standard deviation below this is no noise: a constant frame, or a lossy codec's ripple
)
BLANK_SHARE = 0.02  # nor is one below this share of the volume's: what is left of black in wider integers
NO_RETINA = 0.4  # of a frame's deviation that lies along depth: noise has less, a retina more
NO_RETINA_BESIDE = 0.25  # of the volume's median: a frame with less does not show what the others do
SATURATED = 0.05  # of all voxels at the top level


class FrameStats(NamedTuple):
    """Statistics of a few thousand pixels of a frame, in its own grey levels."""

    spread: float  # standard deviation
    structure: float  # standard deviation of block means along depth, median over blocks side by side
    top: float  # the level counted as top: 255 for uint8, else the frame's greatest
    at_top: float  # share of pixels at it


class Quality(NamedTuple):
    """Frames without a retina, and the flags for a row. A blank frame counts as blank alone."""

    blank_frames: int
    no_retina_frames: int
    flags: tuple[str, ...]


def frame_stats(frame_HW: np.ndarray) -> FrameStats:
    """Statistics of one frame of any size, uint8 or uint16, before or after rescaling. Costs about 30 us."""
    step_H, step_W, kept_H, across_WB = _grid(*frame_HW.shape)
    sampled_HW = frame_HW[::step_H, ::step_W][:kept_H, : len(across_WB)].astype(np.float32, order="C")
    flat = sampled_HW.ravel()
    top = 255.0 if frame_HW.dtype == np.uint8 else float(flat.max())
    at_top = int(np.count_nonzero(flat >= top)) / len(flat)
    sampled_HW -= flat.sum() / len(flat)  # also in `flat`, which is a view of it
    bins_HB = (sampled_HW @ across_WB).reshape(-1, min(DEEP, kept_H), across_WB.shape[1]).sum(axis=1)
    bins_HB -= bins_HB.sum(axis=0) / len(bins_HB)
    along_B = np.sqrt(np.einsum("hb,hb->b", bins_HB, bins_HB) / len(bins_HB))
    along_B.sort()
    return FrameStats(float(flat @ flat / len(flat)) ** 0.5, float(along_B[len(along_B) // 2]), top, at_top)


def assess(stats: Sequence[FrameStats]) -> Quality:
    """Quality of a volume by the statistics of its frames, in any order. Of no frames nothing is wrong."""
    if not stats:
        return Quality(0, 0, ())
    spread_F, structure_F, top_F, at_top_F = np.array(stats, np.float64).T
    blank_F = spread_F < max(BLANK_LEVELS, BLANK_SHARE * float(np.median(spread_F)))
    visible_F = ~blank_F
    typical = float(np.median(structure_F[visible_F])) if visible_F.any() else 0.0
    lacking_F = (structure_F < NO_RETINA * spread_F) | (structure_F < NO_RETINA_BESIDE * typical)
    blank, lacking = int(blank_F.sum()), int((visible_F & lacking_F).sum())
    clipped = (at_top_F * (top_F == top_F.max()))[visible_F].sum() > SATURATED * visible_F.sum()
    flags = {"blank_frames": blank > 0, "no_retina_frames": lacking > 0, "saturated": bool(clipped)}
    return Quality(blank, lacking, tuple(flag for flag, holds in flags.items() if holds))


@lru_cache(maxsize=32)
def _grid(height: int, width: int) -> tuple[int, int, int, np.ndarray]:
    """(row step, column step, sampled rows that are kept, means over blocks of sampled columns and bins)."""
    step_H, step_W = max(1, height // ROWS), max(1, width // COLS)
    rows, cols = -(-height // step_H), -(-width // step_W)
    deep = min(DEEP, rows)
    blocks = max(1, min(BLOCKS, cols // BLOCKS))
    block_cols = cols // blocks
    across_WB = np.repeat(np.eye(blocks, dtype=np.float32), block_cols, axis=0) / np.float32(
        block_cols * deep
    )
    return step_H, step_W, rows - rows % deep, across_WB
