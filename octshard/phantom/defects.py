"""Defects of a few files of a release, and the reason or flags that prep must give each of them.

Each defect goes to one scan. A copy is another scan in the manifest, beside the intact one that it repeats.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from octshard.phantom.scan import Picture

LFS_POINTER = b"version https://git-lfs.example/spec/v1\noid sha256:00\nsize 58000000\n"
PIXEL_DATA = b"\xe0\x7f\x10\x00OB"  # tag and VR of the last element of our files
LID_SHARE = 0.3  # of a frame's A-scans under a lid that is not yet closed: the retina is still visible


@dataclass(frozen=True)
class Defect:
    """A defect of one file. reason: of its refusal, empty if it is stored; flags: at least those of its row.

    copies: the scan is added to the manifest and repeats the whole `file` or the `pixels` of an intact one.
    """

    name: str
    device: str  # a scan of its main protocol has the defect
    reason: str = ""
    flags: tuple[str, ...] = ()
    copies: str = ""


DEFECTS = (
    Defect("truncated", "topcon_triton", "truncated"),
    Defect("not_dicom", "topcon_triton", "not_dicom"),
    Defect("missing_file", "topcon_triton", "missing_file"),
    Defect("no_spacing", "topcon_triton"),  # stored, with assumed_spacing = 1
    Defect("no_pixel_data", "topcon_triton", "no_pixel_data"),
    Defect("blinks", "topcon_triton", flags=("blank_frames", "no_retina_frames")),
    Defect("upside_down", "topcon_maestro2", flags=("slow_axis_flipped",)),  # its other scans run downwards
    Defect("copied_file", "topcon_maestro2", "duplicate", ("uid_differs_from_manifest",), "file"),
    Defect("other_eye", "heidelberg_spectralis", flags=("eye_differs_from_manifest",)),
    Defect("copied_pixels", "zeiss_cirrus", "duplicate", copies="pixels"),
)
BY_NAME = {defect.name: defect for defect in DEFECTS}


@dataclass(frozen=True)
class Blinks:
    """Frames of a scan with blinks: blank, under a closed lid, and under a closing one."""

    blank: range
    closed: range
    closing: range

    @staticmethod
    def of(frames: int) -> "Blinks":
        """An eighth of the frames is blank and an eighth closed, at least one of each."""
        count = max(1, frames // 8)
        blank, closed = (range(start, start + count) for start in (frames // 4, frames // 2))
        return Blinks(blank, closed, range(closed.stop, min(frames, closed.stop + count)))

    def lid(self, frames: int, width: int) -> np.ndarray:
        """A-scans (D, W) under the lid."""
        closed_DW = np.zeros((frames, width), bool)
        closed_DW[self.closed] = True
        closed_DW[self.closing, : int(LID_SHARE * width)] = True
        return closed_DW


def assign_defects(scans: Mapping[str, Sequence[int]]) -> dict[int, Defect]:
    """Scan number -> defect, from each device's scans of different people; the first has no defect.

    A device with fewer scans than defects leaves the last defects out.
    """
    assigned: dict[int, Defect] = {}
    for device, numbers in scans.items():
        device_defects = [defect for defect in DEFECTS if defect.device == device]
        step = max(1, len(numbers) // (len(device_defects) + 1))
        assigned |= dict(zip(numbers[1::step], device_defects, strict=False))
    return assigned


def corrupt_picture(picture: Picture, defect: str) -> Picture:
    """The scan as a device with this defect would write it; the truth is changed with the voxels."""
    if defect == "upside_down":
        grid = picture.grid
        flipped_grid = replace(
            grid,
            **{name: getattr(grid, name)[::-1] for name in ("x_DW", "y_DW", "u_DW", "v_DW", "locations")},
        )
        return replace(
            picture,
            voxels_DHW=picture.voxels_DHW[::-1],
            rows_KDW=picture.rows_KDW[:, ::-1],
            drusen_DB=picture.drusen_DB[::-1],
            fluid_DB=picture.fluid_DB[::-1],
            grid=flipped_grid,
        )
    if defect == "blinks":
        voxels = picture.voxels_DHW.copy()
        voxels[Blinks.of(len(voxels)).blank] = 0
        return replace(picture, voxels_DHW=voxels)
    return picture


def corrupt_file(data: bytes, defect: str) -> bytes:
    """The file as a damaged copy holds it."""
    if defect == "truncated":
        return data[: int(0.6 * len(data))]
    if defect == "not_dicom":
        return LFS_POINTER
    if defect == "no_pixel_data":
        return data[: data.index(PIXEL_DATA)]
    return data
