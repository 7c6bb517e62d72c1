"""The baseline: pydicom, MONAI Spacing, crop or pad, np.savez_compressed.

Set up in its favour: the affine holds the true spacing, float32 instead of the slower default float64, one
torch thread as in a DataLoader's worker.
"""

from pathlib import Path

import numpy as np
import pydicom
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, ResizeWithPadOrCropd, Spacingd
from table import Timing, clock

from octshard.imaging.volume import Shape, Spacing


def run(
    source: Path, spacing_mm: Spacing, target_mm: Spacing, image_size: Shape, out: Path
) -> tuple[Timing, Timing]:
    """One file to one .npz: the time with float32 saved, as is usual, and with voxels cast to uint8."""
    torch.set_num_threads(1)
    change = Compose(
        [
            Spacingd("image", pixdim=target_mm, mode="bilinear", dtype=np.float32),
            ResizeWithPadOrCropd("image", image_size),
        ]
    )
    with clock() as resampling:
        pixels_DHW = pydicom.dcmread(source).pixel_array
        affine = np.diag([*spacing_mm, 1.0])
        image = MetaTensor(torch.from_numpy(pixels_DHW.astype(np.float32))[None], affine=affine)
        voxels = change({"image": image})["image"].numpy()[0]
    with clock() as float32_saving:
        np.savez_compressed(out, voxels=voxels)
    with clock() as uint8_saving:
        np.savez_compressed(out, voxels=np.clip(np.rint(voxels), 0, 255).astype(np.uint8))
    return _sum(resampling, float32_saving), _sum(resampling, uint8_saving)


def _sum(a: Timing, b: Timing) -> Timing:
    return Timing(a.cpu_s + b.cpu_s, a.wall_s + b.wall_s)
