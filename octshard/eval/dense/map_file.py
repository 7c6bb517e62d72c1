"""One map of a scan, as its maker wrote it: .npy, .nii or .nii.gz bytes -> an array and its voxel sizes.

What stands in a header is held against the shapes that would fit before memory is taken for voxels.
"""

import gzip
import io
import tokenize
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from octshard.errors import OctshardError, UsageError
from octshard.extras import install_advice
from octshard.storage import store

ENDINGS = (".npy", ".nii", ".nii.gz")
NIFTI_HEADER = 348, 540  # bytes of versions 1 and 2 (their first number)
LONGEST_HEADER = 2**24  # bytes before the voxels, extensions too
MM = {"mm": 1.0, "micron": 1e-3, "meter": 1e3, "unknown": 1.0}  # of a unit of NIfTI
DAMAGE = (  # what NumPy, zlib and nibabel raise on damaged bytes
    ValueError, TypeError, LookupError, ArithmeticError, EOFError, SyntaxError, MemoryError, OSError,
    RuntimeError, tokenize.TokenError, zlib.error,
)  # fmt: skip
Fits = Callable[[tuple[int, ...]], bool]


@dataclass(frozen=True, eq=False)
class MapFile:
    """values: axes in the order of the file; spacing_mm: along them, None where the file does not say."""

    url: str
    values: np.ndarray
    spacing_mm: tuple[float, ...] | None


def read(url: str, shapes: Mapping[tuple[int, ...], str]) -> MapFile:
    """The map at `url`; shapes: those that fit, axes in the order of the file, and what each is.

    OctshardError that names the file if it is damaged or has another shape.
    """
    data = store.read(url)

    def check(shape: tuple[int, ...]) -> None:
        if shape not in shapes:
            wanted = " or ".join(f"{name} {tuple(shape)}" for shape, name in shapes.items())
            raise OctshardError(f"map {url}: shape {shape}, want {wanted}")

    try:
        if url.endswith(".npy"):
            return MapFile(url, _npy(data, check), None)
        largest = max(int(np.prod(shape)) for shape in shapes)
        return _nifti(url, data, check, LONGEST_HEADER + 16 * largest)
    except DAMAGE as error:
        kind = url.rsplit("/", 1)[-1].partition(".")[2]
        raise OctshardError(
            f"map {url}: not a whole .{kind} ({type(error).__name__}), want the file as it was written"
        ) from error


def _npy(data: bytes, check: Callable[[tuple[int, ...]], None]) -> np.ndarray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    check(shape)
    if dtype.hasobject:
        raise ValueError("pickled objects")
    file.seek(0)
    array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _nifti(url: str, data: bytes, check: Callable[[tuple[int, ...]], None], most_bytes: int) -> MapFile:
    nibabel = _nibabel(url)
    if url.endswith(".gz"):
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            data = file.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise OctshardError(f"map {url}: more than {most_bytes} bytes, want a map of one scan")
    ends = [int.from_bytes(data[:4], order) for order in ("little", "big")]
    kind = nibabel.Nifti2Image if NIFTI_HEADER[1] in ends else nibabel.Nifti1Image
    damage = nibabel.wrapstruct.WrapStructError, nibabel.spatialimages.HeaderDataError
    try:
        image = kind.from_bytes(data)
        shape = tuple(int(n) for n in image.shape)
        while len(shape) > 2 and shape[-1] == 1:  # a time axis of one
            shape = shape[:-1]
        check(shape)
        sizes, units = image.header.get_zooms()[: len(shape)], image.header.get_xyzt_units()[0]
        values = np.asanyarray(image.dataobj).reshape(shape)
    except (nibabel.filebasedimages.ImageFileError, *damage) as error:
        raise ValueError(str(error)) from error
    spacing_mm = tuple(float(size) * MM.get(units, 1.0) for size in sizes)
    return MapFile(url, values, None if set(sizes) == {1.0} else spacing_mm)  # 1: nobody said


def _nibabel(url: str) -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise UsageError(
            f"map {url}: nibabel, which reads NIfTI, is not here ({error}); {install_advice('monai')}"
        ) from error
    return nibabel
