"""A stored volume as files that other programs open: NIfTI, NPY, PNG. Pure: voxels and a row -> bytes.

Voxels are those of the shard. No person is named but in the key, and no file, date or UID at all.
"""

import gzip
import io
import json
import math
from typing import Any

import numpy as np

from octshard.dataset import stored_scale
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.extras import install_advice
from octshard.imaging.intensity import GreyScale
from octshard.imaging.volume import Spacing

FACTS = ("key", "device", "manufacturer", "model", "protocol", "region", "eye", "geometry")
LONGEST_SIDE = 2**15 - 1  # voxels along an axis of NIfTI-1
GZIP_LEVEL = 6
SCANNER = 1  # the code of an affine in millimetres


def spacing_mm(row: SampleRow) -> Spacing | None:
    """Of the stored voxels; None where it was assumed, or slices are no stack and have no step."""
    if row.spacing_out is None:
        raise OctshardError(f"{row.key}: its row has no spacing_out; run octshard prep verify")
    return row.known_spacing


def nifti(row: SampleRow, voxels_DHW: np.ndarray, *, gzipped: bool, scale: GreyScale | None = None) -> bytes:
    """As `nifti_file`, of a stored volume."""
    return nifti_file(voxels_DHW, spacing_mm(row), gzipped=gzipped, scale=scale)


def nifti_file(
    voxels_DHW: np.ndarray, spacing: Spacing | None, *, gzipped: bool, scale: GreyScale | None = None
) -> bytes:
    """x A-scans, y depth, z B-scans; in LPS, which ITK shows, they run along the axes from the first voxel.

    NIfTI itself says it in RAS, where x and y are negative. Where the scan lies in the head is not known.
    Without a spacing it is 1 in no unit, which prep takes for none. scale: of 16 bits, what a viewer
    is told to show as black and white.
    """
    nibabel = import_nibabel()
    dz, dy, dx = spacing or (1.0, 1.0, 1.0)
    kind = nibabel.Nifti1Image if max(voxels_DHW.shape) <= LONGEST_SIDE else nibabel.Nifti2Image
    image = kind(voxels_DHW.transpose(), np.diag([-dx, -dy, dz, 1.0]))
    image.set_sform(image.affine, SCANNER)
    image.set_qform(image.affine, SCANNER)
    if scale is not None:
        image.header["cal_min"], image.header["cal_max"] = scale
    image.header.set_xyzt_units("mm" if spacing else "unknown")
    image.header["descrip"] = "octshard: x A-scans, y depth, z B-scans" + ("" if spacing else ", no spacing")
    data: bytes = image.to_bytes()
    return gzip.compress(data, GZIP_LEVEL, mtime=0) if gzipped else data


def npy(voxels_DHW: np.ndarray) -> bytes:
    """The array (D, H, W) as it is stored."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(voxels_DHW), allow_pickle=False)
    return file.getvalue()


def png(bscan_HW: np.ndarray) -> bytes:
    """A B-scan, 8 or 16 bits of grey as it is stored."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(bscan_HW)).save(file, format="PNG")
    return file.getvalue()


def description(row: SampleRow, voxels_DHW: np.ndarray, scale: GreyScale | None = None) -> bytes:
    """What an array or a picture does not say, as JSON. scale: of 16 bits."""
    spacing = spacing_mm(row)
    facts: dict[str, Any] = {name: getattr(row, name) for name in FACTS}
    facts |= {"axes": "dhw", "shape": list(voxels_DHW.shape), "dtype": str(voxels_DHW.dtype)}
    facts |= {"spacing_mm": list(spacing) if spacing else None, "spacing_assumed": bool(row.assumed_spacing)}
    if row.slice_axis:
        _, *pixel_mm = row.lengths(row.spacing_out)
        plane_mm = None if any(map(math.isnan, pixel_mm)) else pixel_mm
        places = [float(number) for number in row.slice_places.split()]
        facts |= {"pixel_spacing_mm": plane_mm, "slice_axis": row.slice_axis, "slice_places": places}
    if scale is not None:
        facts[stored_scale.NAME] = list(scale)
    facts["flags"] = list(row.flags)
    return (json.dumps(facts, indent=1, allow_nan=False) + "\n").encode()


def import_nibabel() -> Any:
    """UsageError where it is not here."""
    try:
        import nibabel
    except ImportError as error:
        raise UsageError(
            f"NIfTI: nibabel, which writes it, is not here ({error}); {install_advice('nifti')}"
        ) from error
    return nibabel
