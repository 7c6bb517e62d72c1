"""The usual pipeline: pydicom, MONAI Spacing, crop or pad, np.savez_compressed. The only MONAI import here.

Set up as kindly as its documentation allows: the affine holds the true spacing, float32 instead of the slower
default float64, one torch thread as in a DataLoader's worker.
"""

from pathlib import Path

import numpy as np
import pydicom
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, ResizeWithPadOrCropd, Spacingd
from table import Spent, clock

from octshard.imaging.volume import Shape, Spacing


def run(
    source: Path, spacing_mm: Spacing, target_mm: Spacing, image_size: Shape, out: Path
) -> tuple[Spent, Spent]:
    """One file to one .npz: what it took as mostly written (float32 saved), and cast to uint8 before."""
    torch.set_num_threads(1)
    change = Compose(
        [
            Spacingd("image", pixdim=target_mm, mode="bilinear", dtype=np.float32),
            ResizeWithPadOrCropd("image", image_size),
        ]
    )
    with clock() as begun:
        pixels_DHW = pydicom.dcmread(source).pixel_array
        affine = np.diag([*spacing_mm, 1.0])
        image = MetaTensor(torch.from_numpy(pixels_DHW.astype(np.float32))[None], affine=affine)
        voxels = change({"image": image})["image"].numpy()[0]
    with clock() as wide:
        np.savez_compressed(out, voxels=voxels)
    with clock() as narrow:
        np.savez_compressed(out, voxels=np.clip(np.rint(voxels), 0, 255).astype(np.uint8))
    return _sum(begun, wide), _sum(begun, narrow)


def _sum(a: Spent, b: Spent) -> Spent:
    return Spent(a.cpu_s + b.cpu_s, a.wall_s + b.wall_s)
