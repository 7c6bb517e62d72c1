"""Cropping and padding of a stored volume to the image size of a model."""

import numpy as np

from octshard.imaging.volume import Shape

Window = tuple[slice, slice, slice]  # along D, H, W


def crop_window(stored: Shape, image_size: Shape, rng: np.random.Generator | None) -> Window:
    """The part of a stored volume to use: at most image_size, placed by `rng`, or centred without one."""
    spare = [max(0, n - size) for n, size in zip(stored, image_size, strict=True)]
    first = [n // 2 for n in spare] if rng is None else [int(rng.integers(n + 1)) for n in spare]
    d, h, w = (slice(f, f + min(n, size)) for f, n, size in zip(first, stored, image_size, strict=True))
    return d, h, w


def crop_pad_into(image_DHW: np.ndarray, voxels_DHW: np.ndarray, rng: np.random.Generator | None) -> Shape:
    """Fills `image_DHW` with that part of `voxels_DHW`, and with 0 behind it. The part's shape (D, H, W)."""
    d, h, w = image_DHW.shape
    stored_d, stored_h, stored_w = voxels_DHW.shape
    return fill_padded(image_DHW, voxels_DHW[crop_window((stored_d, stored_h, stored_w), (d, h, w), rng)])


def fill_padded(image_DHW: np.ndarray, part_DHW: np.ndarray) -> Shape:
    """Fills `image_DHW` with a part that fits into it, and with 0 behind it. The part's shape (D, H, W)."""
    if part_DHW.shape != image_DHW.shape:
        image_DHW.fill(0)
    d, h, w = part_DHW.shape
    image_DHW[:d, :h, :w] = part_DHW
    return d, h, w
