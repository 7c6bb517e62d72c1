"""Which format a file has, by its content; a name only helps where the first bytes cannot tell."""

from collections.abc import Mapping
from typing import Protocol

from octshard.prep.dicom import signatures
from octshard.prep.readers import (
    bioptigen_oct,
    dicom,
    heidelberg_e2e,
    heidelberg_vol,
    image,
    image_folder,
    mat,
    metaimage,
    nifti,
    npy,
    npz,
    nrrd,
    optovue_oct,
    tiff,
    topcon_fda,
    zeiss_img,
)
from octshard.prep.readers.scan import Scan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused


class Reader(Protocol):
    """A module of this folder that reads one format."""

    def is_one(self, file: ScanBytes) -> bool:
        """True if the content begins as this format does."""

    def open_scan(self, file: ScanBytes) -> Scan:
        """Reads the header; Refused if it is damaged, or `missing_library`."""


# by the name of the format; the first that fits reads a file
READERS: Mapping[str, Reader] = {
    "dicom": dicom,
    "nifti": nifti,
    "npy": npy,
    "npz": npz,
    "mat": mat,
    "tiff": tiff,
    "metaimage": metaimage,
    "nrrd": nrrd,
    "vol": heidelberg_vol,
    "e2e": heidelberg_e2e,
    "fda": topcon_fda,
    "oct": bioptigen_oct,
    "optovue": optovue_oct,
    "image": image,
    "images": image_folder,
    "img": zeiss_img,
}


def format_of(file: ScanBytes) -> str:
    """A key of READERS; Refused `empty` or `not_dicom`, whose detail says what the file looks like."""
    if not len(file.data):
        raise Refused("empty", "the file has 0 bytes")
    for name, reader in READERS.items():
        if reader.is_one(file):
            return name
    text = optovue_oct.missing_text(file)
    hint = f"; a file of Optovue has its sizes in {text}, which is not beside it" if text else ""
    raise Refused("not_dicom", signatures.describe(file.data) + hint, (signatures.beginning(file.data), text))


def open_scan(file: ScanBytes) -> Scan:
    """The scan in a file of any format; Refused as `format_of`, or by its reader."""
    return open_as(format_of(file), file)


def open_as(name: str, file: ScanBytes) -> Scan:
    """The scan in a file of this format, a key of READERS; Refused by its reader."""
    if file.parts and name != "dicom":
        raise Refused("unreadable", f"its row names parts of the scan, which DICOM has and {name} has not")
    return READERS[name].open_scan(file)
