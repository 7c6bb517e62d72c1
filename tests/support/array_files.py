"""A volume in formats of arrays, by independent writers: NumPy, nibabel, tifffile, SimpleITK, and by hand.

Each gives the files that it makes, by their names; the first is the one that a manifest lists.
"""

import bz2
import gzip
import io
import tempfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import scipy.io
import SimpleITK
import tifffile

from octshard.imaging.volume import Spacing

Files = Mapping[str, bytes]
Writer = Callable[[np.ndarray, Spacing], Files]
META_TYPES = {"u1": "MET_UCHAR", "u2": "MET_USHORT", "i2": "MET_SHORT", "f4": "MET_FLOAT", "f8": "MET_DOUBLE"}
NRRD_TYPES = {"u1": "uchar", "u2": "unsigned short", "i2": "short", "f4": "float", "f8": "double"}


def npy(voxels_DHW: np.ndarray, spacing_mm: Spacing) -> Files:
    file = io.BytesIO()
    np.save(file, voxels_DHW)
    return {"a.npy": file.getvalue()}


def npz(voxels_DHW: np.ndarray, spacing_mm: Spacing) -> Files:
    file = io.BytesIO()
    np.savez_compressed(file, oct_bscans=voxels_DHW, glaucoma=np.array(1), slo_fundus=voxels_DHW[0])
    return {"a.npz": file.getvalue()}


def mat(voxels_DHW: np.ndarray, spacing_mm: Spacing, *, packed: bool = False) -> Files:
    """As Duke's: with maps of layers, which have three axes too, and an age."""
    maps, file = np.zeros((len(voxels_DHW), voxels_DHW.shape[2], 3)), io.BytesIO()
    arrays = {"Age": 70, "layerMaps": maps, "images": voxels_DHW.transpose(1, 2, 0)}
    scipy.io.savemat(file, arrays, do_compression=packed)
    return {"a.mat": file.getvalue()}


def nifti(voxels_DHW: np.ndarray, spacing_mm: Spacing, kind: Any = nibabel.Nifti1Image) -> Files:
    dz, dy, dx = spacing_mm
    image = kind(voxels_DHW.transpose(2, 1, 0), np.diag([dx, dy, dz, 1.0]))
    image.header.set_xyzt_units("mm")
    return {"a.nii": image.to_bytes()}


def nifti_gz(voxels_DHW: np.ndarray, spacing_mm: Spacing) -> Files:
    return {"a.nii.gz": gzip.compress(nifti(voxels_DHW, spacing_mm)["a.nii"], mtime=0)}


def nifti2(voxels_DHW: np.ndarray, spacing_mm: Spacing) -> Files:
    return nifti(voxels_DHW, spacing_mm, nibabel.Nifti2Image)


def nifti_pair(voxels_DHW: np.ndarray, spacing_mm: Spacing) -> Files:
    dz, dy, dx = spacing_mm
    image = nibabel.Nifti1Pair(voxels_DHW.transpose(2, 1, 0), np.diag([dx, dy, dz, 1.0]))
    files = nibabel.Nifti1Pair.make_file_map({"header": io.BytesIO(), "image": io.BytesIO()})
    image.to_file_map(files)
    return {name: files[part].fileobj.getvalue() for name, part in (("a.hdr", "header"), ("a.img", "image"))}


def tiff(voxels_DHW: np.ndarray, spacing_mm: Spacing, **options: Any) -> Files:
    file = io.BytesIO()
    tifffile.imwrite(file, voxels_DHW, **options)
    return {"a.tif": file.getvalue()}


def ome_tiff(voxels_DHW: np.ndarray, spacing_mm: Spacing) -> Files:
    sizes: dict[str, Any] = {"axes": "ZYX"}
    for axis, mm in zip("ZYX", spacing_mm, strict=True):
        sizes |= {f"PhysicalSize{axis}": mm * 1000, f"PhysicalSize{axis}Unit": "µm"}
    return tiff(voxels_DHW, spacing_mm, ome=True, metadata=sizes, compression="zlib")


def imagej_tiff(voxels_DHW: np.ndarray, spacing_mm: Spacing) -> Files:
    dz, dy, dx = spacing_mm
    told = {"axes": "ZYX", "spacing": dz, "unit": "mm"}
    return tiff(voxels_DHW, spacing_mm, imagej=True, resolution=(1 / dx, 1 / dy), metadata=told)


def simple_itk(name: str, *, packed: bool) -> Writer:
    def written(voxels_DHW: np.ndarray, spacing_mm: Spacing) -> Files:
        image = SimpleITK.GetImageFromArray(voxels_DHW)
        image.SetSpacing(tuple(reversed(spacing_mm)))
        with tempfile.TemporaryDirectory() as folder:
            SimpleITK.WriteImage(image, f"{folder}/{name}", packed)
            files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        return {name: files.pop(name), **files}

    return written


def metaimage(voxels_DHW: np.ndarray, spacing_mm: Spacing) -> Files:
    """Big-endian, with the least of keys, and values packed behind the header."""
    d, h, w = voxels_DHW.shape
    code = voxels_DHW.dtype.str[1:]
    header = (
        f"NDims = 3\nDimSize = {w} {h} {d}\nElementType = {META_TYPES[code]}\nBinaryDataByteOrderMSB = True\n"
        f"ElementSize = {' '.join(map(str, reversed(spacing_mm)))}\nCompressedData = True\n"
        "ElementDataFile = LOCAL\n"
    )
    return {"a.mha": header.encode() + zlib.compress(voxels_DHW.astype(f">{code}").tobytes())}


def metaimage_behind(voxels_DHW: np.ndarray, spacing_mm: Spacing) -> Files:
    """Values at the end of another file, as HeaderSize = -1 says."""
    d, h, w = voxels_DHW.shape
    code = voxels_DHW.dtype.str[1:]
    header = (
        f"ObjectType = Image\r\nNDims = 3\r\nDimSize = {w} {h} {d}\r\nHeaderSize = -1\r\n"
        f"ElementSpacing = {' '.join(map(str, reversed(spacing_mm)))}\r\nElementType = {META_TYPES[code]}\r\n"
        "ElementDataFile = my values.raw\r\n"
    )
    return {
        "a.mhd": header.encode(),
        "my values.raw": b"any header" + voxels_DHW.astype(f"<{code}").tobytes(),
    }


def nrrd(voxels_DHW: np.ndarray, spacing_mm: Spacing) -> Files:
    """Big-endian, spacings in microns, bzip2."""
    d, h, w = voxels_DHW.shape
    code = voxels_DHW.dtype.str[1:]
    header = (
        f"NRRD0001\n# by hand\ntype: {NRRD_TYPES[code]}\ndimension: 3\nsizes: {w} {h} {d}\nencoding: bz2\n"
        f"endian: big\nspacings: {' '.join(f'{1000 * mm:g}' for mm in reversed(spacing_mm))}\n"
        'units: "um" "um" "um"\nkey:=value: x\n\n'
    )
    return {"a.nrrd": header.encode() + bz2.compress(voxels_DHW.astype(f">{code}").tobytes())}


def nrrd_beside(voxels_DHW: np.ndarray, spacing_mm: Spacing) -> Files:
    """Values in another file, behind two lines and three bytes; the scan lies obliquely."""
    d, h, w = voxels_DHW.shape
    dz, dy, dx = spacing_mm
    code = voxels_DHW.dtype.str[1:]
    header = (
        f"NRRD0005\ntype: {NRRD_TYPES[code]}\ndimension: 3\nspace dimension: 3\nsizes: {w} {h} {d}\n"
        f"space directions: ({0.6 * dx},{0.8 * dx},0) ({-0.8 * dy},{0.6 * dy},0) (0,0,{-dz})\n"
        "endian: little\nencoding: raw\nline skip: 2\nbyte skip: 3\ndata file: ./a.raw\n"
    )
    return {"a.nhdr": header.encode(), "a.raw": b"two\nlines\n123" + voxels_DHW.astype(f"<{code}").tobytes()}


SILENT: Mapping[str, Writer] = {  # say nothing of spacing
    "npy": npy,
    "npz": npz,
    "mat": mat,
    "mat, packed": partial(mat, packed=True),
    "tiff": tiff,
}
TELLING: Mapping[str, Writer] = {
    "nifti": nifti,
    "nifti, gzipped": nifti_gz,
    "nifti-2": nifti2,
    "nifti, two files": nifti_pair,
    "tiff by OME": ome_tiff,
    "tiff by ImageJ": imagej_tiff,
    "metaimage": simple_itk("a.mha", packed=False),
    "metaimage, packed": simple_itk("a.mha", packed=True),
    "metaimage, two files": simple_itk("a.mhd", packed=False),
    "metaimage, two files, packed": simple_itk("a.mhd", packed=True),
    "metaimage, by hand": metaimage,
    "metaimage, two files, by hand": metaimage_behind,
    "nrrd": simple_itk("a.nrrd", packed=False),
    "nrrd, packed": simple_itk("a.nrrd", packed=True),
    "nrrd, two files": simple_itk("a.nhdr", packed=False),
    "nrrd, two files, packed": simple_itk("a.nhdr", packed=True),
    "nrrd, by hand": nrrd,
    "nrrd, two files, by hand": nrrd_beside,
}
WRITERS = {**SILENT, **TELLING}
