"""A Cirrus .img file, as the MATLAB readers of the field take it apart.

They reshape its bytes to A-scans x depth x B-scans, the first fastest, and then turn all three axes round.
"""

import numpy as np


def name(cols: int, frames: int, eye: str = "L", kind: str = "z") -> str:
    """What the vendor's software calls the file of a cube."""
    side = {"L": "OS", "R": "OD"}[eye]
    return f"P4711_Macular Cube {cols}x{frames}_1-30-2015_9-5-1_{side}_sn1234_cube_{kind}.img"


def write(voxels_DHW: np.ndarray) -> bytes:
    """Its bytes."""
    turned = np.flip(voxels_DHW)  # all three axes
    return turned.transpose(2, 1, 0).tobytes(order="F")


def text(name: str) -> str:
    """What the text beside it is called."""
    return name.removesuffix(".img") + ".txt"
