"""B-scans as image files, by Pillow, and folders of them."""

import io

import numpy as np
from PIL import Image


def encoded(image_HW: np.ndarray, kind: str = "PNG", mode: str = "") -> bytes:
    """kind: of Pillow. mode: of the file, if it is not that of the array."""
    file, picture = io.BytesIO(), Image.fromarray(image_HW)
    (picture.convert(mode) if mode else picture).save(file, kind)
    return file.getvalue()


def b_scans(voxels_DHW: np.ndarray, kind: str = "PNG", *, first: int = 1, mode: str = "") -> dict[str, bytes]:
    """Name -> bytes: 1.png, 2.png, ..."""
    numbered = enumerate(voxels_DHW, first)
    return {f"{number}.{kind.lower()}": encoded(image_HW, kind, mode) for number, image_HW in numbered}


def below(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """The files at paths in a folder, whose name ends in /."""
    return {folder + name: data for name, data in files.items()}
