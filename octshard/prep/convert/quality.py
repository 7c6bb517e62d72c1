"""Which frames of a volume show no retina: blank ones, and blinks or scans beyond the eye. Pure NumPy.

A retina is a bright band in depth, so it makes block means differ along depth, and noise does not. A frame is
judged by how much of its variation that is, and by how it compares with the other frames of its volume.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

ROWS, COLS = 64, 64  # about so many pixels of a frame are looked at, so that the cost hangs on no frame size
BLOCKS, DEEP = 8, 2  # blocks side by side, so that a tilted retina is not smeared; sampled rows in one bin
BLANK_LEVELS = (
    0.75  # a standard deviation below this is no noise: a constant frame, or a lossy codec's ripple
)
BLANK_SHARE = 0.02  # nor is one below this share of the volume's: what is left of black in wider integers
NO_RETINA = 0.4  # of a frame's deviation that lies along depth: noise has less, a retina more
NO_RETINA_BESIDE = 0.25  # of the volume's median: a frame with less shows something else than the others do
SATURATED = 0.05  # of all voxels at the top level


class FrameStats(NamedTuple):
    """What a few thousand pixels of a frame say. Grey levels as in the frame."""

    spread: float  # standard deviation
    structure: float  # standard deviation of block means along depth, median over blocks side by side
    top: float  # the level counted as top: 255 for uint8, else the frame's greatest
    at_top: float  # share of pixels at it


class Quality(NamedTuple):
    """Frames without a retina, and the flags for a row. A blank frame is not counted again as no retina."""

    blank_frames: int
    no_retina_frames: int
    flags: tuple[str, ...]


def frame_stats(frame_HW: np.ndarray) -> FrameStats:
    """Facts of one frame of any size, uint8 or uint16, stored or levelled. Costs about 30 us."""
    step_H, step_W, kept_H, across_WB = _grid(*frame_HW.shape)
    picked_HW = frame_HW[::step_H, ::step_W][:kept_H, : len(across_WB)].astype(np.float32, order="C")
    flat = picked_HW.ravel()
    top = 255.0 if frame_HW.dtype == np.uint8 else float(flat.max())
    at_top = int(np.count_nonzero(flat >= top)) / len(flat)
    picked_HW -= flat.sum() / len(flat)  # also in `flat`, which is a view of it
    bins_HB = (picked_HW @ across_WB).reshape(-1, min(DEEP, kept_H), across_WB.shape[1]).sum(axis=1)
    bins_HB -= bins_HB.sum(axis=0) / len(bins_HB)
    along_B = np.sqrt(np.einsum("hb,hb->b", bins_HB, bins_HB) / len(bins_HB))
    along_B.sort()
    return FrameStats(float(flat @ flat / len(flat)) ** 0.5, float(along_B[len(along_B) // 2]), top, at_top)


def assess(facts: Sequence[FrameStats]) -> Quality:
    """The verdict on a volume from its frames' facts, in any order. No facts, no verdict: all is well."""
    if not facts:
        return Quality(0, 0, ())
    spread_F, structure_F, top_F, at_top_F = np.array(facts, np.float64).T
    blank_F = spread_F < max(BLANK_LEVELS, BLANK_SHARE * float(np.median(spread_F)))
    seen_F = ~blank_F
    usual = float(np.median(structure_F[seen_F])) if seen_F.any() else 0.0
    flat_F = (structure_F < NO_RETINA * spread_F) | (structure_F < NO_RETINA_BESIDE * usual)
    blank, without = int(blank_F.sum()), int((seen_F & flat_F).sum())
    clipped = (at_top_F * (top_F == top_F.max()))[seen_F].sum() > SATURATED * seen_F.sum()
    found = {"blank_frames": blank > 0, "no_retina_frames": without > 0, "saturated": bool(clipped)}
    return Quality(blank, without, tuple(flag for flag, so in found.items() if so))


@lru_cache(maxsize=32)
def _grid(height: int, width: int) -> tuple[int, int, int, np.ndarray]:
    """(row step, column step, sampled rows that are kept, means over blocks of sampled columns and bins)."""
    step_H, step_W = max(1, height // ROWS), max(1, width // COLS)
    rows, cols = -(-height // step_H), -(-width // step_W)
    deep = min(DEEP, rows)
    blocks = max(1, min(BLOCKS, cols // BLOCKS))
    each = cols // blocks
    across_WB = np.repeat(np.eye(blocks, dtype=np.float32), each, axis=0) / np.float32(each * deep)
    return step_H, step_W, rows - rows % deep, across_WB
