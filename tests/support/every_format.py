"""One small scan in every format that is read, and in the ways in which a format stores it."""

import dataclasses
from collections.abc import Mapping
from functools import cache

import numpy as np

from octshard.imaging.volume import Spacing
from octshard.prep.dicom import writer
from octshard.rng import rng_for
from tests.support import array_files, image_files
from tests.support.array_files import Files
from tests.support.damage import sound_dicoms
from tests.support.device_files import (
    bioptigen_oct,
    heidelberg_e2e,
    heidelberg_vol,
    optovue_oct,
    topcon_fda,
    zeiss_img,
)
from tests.support.made_release import scan

SPACING: Spacing = (0.04, 0.01, 0.02)
DEGREE_MM = 0.2896  # by which .e2e tells widths
CUBE_SHAPE, CUBE_SPACING = (10, 1024, 12), (0.06, 0.002, 0.05)  # a .img has 1024 rows
CUBE_NAME = zeiss_img.name(12, 10)
CUBE_TEXT = b"A-scans: 12\nB-scans: 10\nA-scan length: 1024\nScan size: 0.6 x 0.6 x 2.048 mm\n"
FOLDER = "OCT/"
FDA_PIXELS = ("j2k", "jp2", "@IMG_SCAN_03", "@IMG_SCAN_02")


def cube() -> writer.Scan:
    """The scan of a .img."""
    frames, _, _ = CUBE_SHAPE
    return dataclasses.replace(
        scan(),
        voxels_DHW=rng_for("cube").integers(1, 256, CUBE_SHAPE, dtype=np.uint8),
        pixel_spacing_mm=CUBE_SPACING[1:],
        slice_thickness_mm=CUBE_SPACING[0],
        locations=tuple(np.array([[60.0 * i, 0.5], [60.0 * i, 600.5]]) for i in range(frames)),
    )


def e2e_series(number: int, made: writer.Scan) -> heidelberg_e2e.Series:
    """A scan of .e2e as DICOM tells it, with its places in degrees."""
    frames, _, cols = made.voxels_DHW.shape
    step, width = SPACING[0] / DEGREE_MM, cols * SPACING[2] / DEGREE_MM
    lines = [(-1.0, -1.0 + i * step, -1.0 + width, -1.0 + i * step) for i in range(frames)]
    return heidelberg_e2e.Series(number, heidelberg_vol.reflectance(made.voxels_DHW), lines, made.eye)


@cache
def scans() -> Mapping[str, Mapping[str, Files]]:
    """Format -> how it is stored -> files by their names; the first is the one that a manifest lists."""
    made = scan()
    wide = made.voxels_DHW.astype(np.uint16) * 100
    result: dict[str, dict[str, Files]] = {
        "dicom": {
            kind: {f"{kind}.dcm": sound_dicoms.sound(kind, sound_dicoms.uid_of(0, i))}
            for i, kind in enumerate(sound_dicoms.ENCODINGS)
        },
        "vol": {"vol": {"a.vol": heidelberg_vol.write(_vol(made))}},
        "e2e": {"e2e": {"a.e2e": heidelberg_e2e.write([e2e_series(3, made)])}},
        "fda": {
            pixels: {f"a{pixels}.fda": topcon_fda.write(topcon_fda.Fda(made, pixels))}
            for pixels in FDA_PIXELS
        },
        "oct": {"oct": {"a.OCT": bioptigen_oct.write(bioptigen_oct.Oct(wide, (0.24, 0.2, 0.48)))}},
        "optovue": {"optovue": _optovue(made)},
        "image": {
            kind: {f"a.{kind.lower()}": image_files.encoded(made.voxels_DHW[0], kind)}
            for kind in ("PNG", "BMP", "JPEG")
        },
        "images": {
            kind: image_files.below(FOLDER, image_files.b_scans(made.voxels_DHW, kind))
            for kind in ("PNG", "BMP", "JPEG", "TIFF")
        },
        "img": {
            "img": {CUBE_NAME: zeiss_img.write(cube().voxels_DHW)},
            "img and text": {
                CUBE_NAME: zeiss_img.write(cube().voxels_DHW),
                zeiss_img.text(CUBE_NAME): CUBE_TEXT,
            },
        },
    }
    for kind, write in array_files.WRITERS.items():
        name = kind.partition(",")[0].partition(" ")[0].removesuffix("-2")
        result.setdefault(name, {})[kind] = write(made.voxels_DHW, SPACING)
    return result


def _optovue(made: writer.Scan) -> Files:
    """With a B-scan for registration behind those of the scan."""
    told = optovue_oct.text(made.voxels_DHW.shape, SPACING, [(24, 1)])
    return {
        "a.oct": optovue_oct.numbers(made.voxels_DHW) + optovue_oct.numbers(made.voxels_DHW[:1]),
        "a.txt": told,
    }


def _vol(made: writer.Scan) -> heidelberg_vol.Vol:
    return heidelberg_vol.Vol(made, heidelberg_vol.lines_of(made))
