"""NumPy's .npy: an array without spacing or eye. Nothing is unpickled."""

import io
import tokenize
import warnings
from typing import IO, NamedTuple

import numpy as np

from octshard.prep.readers import array_scan, value_bytes
from octshard.prep.readers.array_scan import ArrayScan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused

MAGIC = b"\x93NUMPY"
AXES = "dhw"  # of arrays of which nobody says another order
LONGEST = 2**16  # bytes of a header; NumPy's own are about 128
READERS = {  # by version; 3.0 differs from 2.0 in names of fields alone, which no volume has
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}
# what NumPy raises on a damaged header
DAMAGE = (ValueError, TypeError, LookupError, SyntaxError, ArithmeticError, RuntimeError, tokenize.TokenError)


class ArrayHeader(NamedTuple):
    """offset: where the values begin."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    offset: int


def is_one(file: ScanBytes) -> bool:
    """True if it begins as .npy does."""
    return bytes(file.data[: len(MAGIC)]) == MAGIC


def open_scan(file: ScanBytes) -> ArrayScan:
    """The array; Refused if it cannot be a scan."""
    header = read_header(io.BytesIO(bytes(file.data[:LONGEST])))
    array_scan.check_is_grey(header.shape, file.axes)
    axes = array_scan.volume_axes(header.shape, file.axes or AXES)
    array_scan.check_dtype(header.dtype)
    array = value_bytes.values_at(
        file.data, header.offset, header.shape, header.dtype, fortran=header.fortran
    )
    volume = array_scan.to_volume(array, axes)
    return ArrayScan(array_scan.array_facts(volume.shape, header.dtype), header.dtype, lambda: volume)


def read_header(file: IO[bytes]) -> ArrayHeader:
    """The header at the beginning of a file; Refused `truncated` or `unreadable`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on headers of Python 2
            reader = READERS[np.lib.format.read_magic(file)]
            shape, fortran, dtype = reader(file)
    except DAMAGE as error:
        if isinstance(error, ValueError) and str(error).startswith("EOF"):
            raise Refused("truncated", "the file ends inside its header") from None
        raise Refused("unreadable", f"the header of the array is damaged ({type(error).__name__})") from None
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in shape):
        raise Refused("unreadable", "the header of the array is damaged (shape)")
    return ArrayHeader(shape, dtype, fortran, file.tell())
