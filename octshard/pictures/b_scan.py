"""A B-scan as a small picture: grey levels of uint8, in true proportions, in a frame if one is asked for."""

import numpy as np
from PIL import Image

from octshard.pictures.panels import WINDOW

RIM_PX = 4  # of a frame
Size = tuple[float, float]  # along H and W
Box = tuple[int, int]  # pixels (width, height), at most


def grey(b_scan_HW: np.ndarray) -> np.ndarray:
    """uint8 (H, W); of a constant B-scan mid-grey."""
    low, high = np.percentile(b_scan_HW, WINDOW)
    if high <= low:
        return np.full(b_scan_HW.shape, 128, np.uint8)
    return np.rint(np.clip((b_scan_HW - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def sized(pixels: np.ndarray, size: Size, box: Box) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) of that size in mm, as large as fits in `box`, averaged where it shrinks."""
    high, wide = size
    scale = min(box[0] / wide, box[1] / high)
    shape = max(1, round(wide * scale)), max(1, round(high * scale))
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(shape, Image.Resampling.LANCZOS))


def framed(pixels: np.ndarray, colour: str) -> np.ndarray:
    """(H, W, 3) with a rim of that colour (#rrggbb) around it."""
    rgb = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    frame = Image.new("RGB", (rgb.width + 2 * RIM_PX, rgb.height + 2 * RIM_PX), colour)
    frame.paste(rgb, (RIM_PX, RIM_PX))
    return np.asarray(frame)
