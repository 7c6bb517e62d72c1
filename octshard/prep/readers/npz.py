"""NumPy's .npz: a ZIP of arrays, of which one is the scan. No spacing, no eye; nothing is unpickled."""

import io
import zipfile
import zlib
from typing import BinaryIO, NamedTuple
from zipfile import ZipInfo

import numpy as np

from octshard.imaging.volume import product
from octshard.prep.readers import array_scan, named_arrays, npy, value_bytes
from octshard.prep.readers.array_scan import ArrayScan
from octshard.prep.readers.npy import ArrayHeader
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

ENDING = ".npy"
LOCAL_HEADER = 30  # bytes before the name of the first member
READ = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what NumPy writes, and what can be inflated within bounds
ENCRYPTED = 1
SMALL = 2**14  # bytes of an array that may be a single value
MOST_VALUES = 256  # arrays of single values that are read
BLOCK = 2**14  # bytes read at once of a remote file of which only such are wanted
# Harvard-DR is described as 200 x 200 x 128, of cubes with 128 B-scans: such an array has those last. Its own
# reader, and FairVision (128 x 200 x 200), have them first.
LAST = ("oct_bscans", (200, 200, 128), "hwd")
DAMAGE = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
    EOFError,
    zlib.error,
    LookupError,
)


class Member(NamedTuple):
    """An array in the ZIP."""

    name: str  # without its ending
    info: ZipInfo
    header: ArrayHeader

    @property
    def shape(self) -> tuple[int, ...]:
        """In the order of the file."""
        return self.header.shape


def is_one(file: ScanBytes) -> bool:
    """True if it is a ZIP whose first member is an array."""
    head = bytes(file.data[: LOCAL_HEADER + 300])
    length = int.from_bytes(head[26:28], "little")
    return head[:4] == b"PK\3\4" and head[LOCAL_HEADER : LOCAL_HEADER + length].endswith(ENDING.encode())


def open_scan(file: ScanBytes) -> ArrayScan:
    """The array that is a scan; Refused with the names of all if that is not one."""
    chosen = named_arrays.scan_of(_members(file.data), file.axes)
    header = chosen.header
    array_scan.check_is_grey(header.shape, file.axes)
    axes = array_scan.volume_axes(header.shape, file.axes or _axes(chosen))
    array_scan.check_dtype(header.dtype)
    value_bytes.check_size(
        chosen.info.file_size - header.offset, value_bytes.value_count(header.shape, header.dtype)
    )

    def load() -> np.ndarray:
        return array_scan.to_volume(_array(file.data, chosen), axes)

    facts = array_scan.array_facts(array_scan.volume_shape(header.shape, axes), header.dtype)
    return ArrayScan(facts, header.dtype, load)


def _axes(member: Member) -> str:
    """Of an array of which the manifest says nothing."""
    name, shape, axes = LAST
    return axes if (member.name.lower(), member.header.shape) == (name, shape) else npy.AXES


def single_values(file: BinaryIO) -> dict[str, str]:
    """Arrays of one number or one text, by their names in lower case: labels beside a scan.

    Others, and pickled objects, are passed over. Refused if the ZIP is damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            small = [
                info
                for info in archive.infolist()
                if info.filename.endswith(ENDING)
                and info.compress_type in READ
                and not info.flag_bits & ENCRYPTED
                and max(info.file_size, info.compress_size) <= SMALL
            ]
            values = {}
            for info in small[:MOST_VALUES]:
                with archive.open(info) as member:
                    text = _single_value(member.read(SMALL))
                if text is not None:
                    values[info.filename.removesuffix(ENDING).lower()] = text
    except DAMAGE as error:
        raise Refused("unreadable", f"the ZIP of arrays is damaged ({type(error).__name__})") from None
    return values


def _single_value(data: bytes) -> str | None:
    """As text, a whole number without a point; None if the array holds anything else."""
    header = npy.read_header(io.BytesIO(data))
    if header.dtype.kind not in "iufbUS" or product(header.shape) != 1 or header.dtype.itemsize == 0:
        return None
    values = data[header.offset :]
    if len(values) < header.dtype.itemsize:
        raise Refused("truncated", "an array ends inside its value")
    value = np.frombuffer(values, header.dtype, 1)[0].item()
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.15g}" if header.dtype.itemsize > 4 else f"{value:.7g}"
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return str(int(value)) if isinstance(value, bool) else text


def _members(data: Buffer) -> list[Member]:
    """Arrays of numbers, in the order of the ZIP; Refused if it is damaged."""
    members = []
    try:
        with zipfile.ZipFile(value_bytes.open_buffer(data)) as archive:
            for info in archive.infolist():
                if not info.filename.endswith(ENDING):
                    continue
                if info.compress_type not in READ or info.flag_bits & ENCRYPTED:
                    raise Refused(
                        "unreadable", "an array is encrypted, or packed in a way that NumPy does not write"
                    )
                with archive.open(info) as member:
                    header = npy.read_header(member)
                if header.dtype.kind in "iufcb":
                    members.append(Member(info.filename.removesuffix(ENDING), info, header))
    except zipfile.BadZipFile as error:
        text = " ".join(str(error).split())
        reason = "truncated" if "not a zip file" in text else "unreadable"  # the directory is at the end
        reason = "decoder_error" if "CRC" in text else reason
        raise Refused(reason, f"the ZIP of arrays: {text}", (text,)) from None
    except DAMAGE as error:
        raise Refused("unreadable", f"the ZIP of arrays is damaged ({type(error).__name__})") from None
    return members


def _array(data: Buffer, member: Member) -> np.ndarray:
    header = member.header
    count = value_bytes.value_count(header.shape, header.dtype)
    try:
        with zipfile.ZipFile(value_bytes.open_buffer(data)) as archive:
            values = value_bytes.read_exactly(lambda: archive.open(member.info), count, header.offset)
    except DAMAGE as error:
        text = " ".join(str(error).split())
        raise Refused("decoder_error", f"array {member.name}: {text}", (member.name, text)) from None
    flat = np.frombuffer(values, header.dtype, product(header.shape))
    return flat.reshape(header.shape, order="F" if header.fortran else "C")
