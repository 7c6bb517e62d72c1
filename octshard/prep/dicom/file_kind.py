"""What kind of DICOM file it is: the kinds that are read, and the refusals of all others."""

import re

from pydicom.uid import UID

from octshard.prep.dicom import elements
from octshard.prep.refusals import Refused

OPT_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.5.4"  # Ophthalmic Tomography Image Storage
NATIVE = frozenset(
    ("1.2.840.10008.1.2.1", elements.IMPLICIT_LITTLE, elements.EXPLICIT_BIG, elements.DEFLATED)
)
RLE = "1.2.840.10008.1.2.5"
JPEG_LS = frozenset(("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"))
JPEG = JPEG_LS | {f"1.2.840.10008.1.2.4.{tail}" for tail in (50, 51, 57, 70)}
JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{tail}" for tail in (90, 91, 201, 202, 203))  # HTJ2K from 201
COMPRESSED = JPEG | JPEG_2000 | {RLE}
SUPPORTED = NATIVE | COMPRESSED
MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
COLOUR = frozenset([
    "PALETTE COLOR", "RGB", "ARGB", "CMYK", "HSV", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420",
    "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT", "XYB",
])  # fmt: skip


def check_class(uid: str) -> None:
    """Refused `not_oct` for another SOP class than that of OCT scans."""
    if not uid:
        raise Refused("unreadable", "SOPClassUID is missing")
    if uid != OPT_STORAGE:
        raise Refused("not_oct", f"SOP class {named(uid)}, want {named(OPT_STORAGE)}", _unknown(uid))


def check_colour(samples: int, photometric: str) -> None:
    """Refused `not_oct` for colour, `unreadable` for a value that DICOM does not know."""
    if samples == 1 and photometric in MONOCHROME:
        return
    if samples > 1 or photometric in COLOUR:
        colour = f", {photometric}" if photometric in COLOUR else ""
        raise Refused("not_oct", f"{samples} samples per pixel{colour}, want 1, MONOCHROME")
    if samples < 1:
        raise Refused("unreadable", f"SamplesPerPixel is {samples}, want 1")
    text = "is one that DICOM does not know" if photometric else "is missing"  # it may be any text
    raise Refused("unreadable", f"PhotometricInterpretation {text}, want {' or '.join(MONOCHROME)}")


def unsupported(syntax: str) -> Refused:
    """The refusal of a transfer syntax."""
    return Refused("unsupported_syntax", f"no decoder for transfer syntax {named(syntax)}", _unknown(syntax))


def _unknown(uid: str) -> tuple[str, ...]:
    """The text if DICOM has no name for it: its digits may be anybody's."""
    return () if UID(uid).name != uid else (uid,)


def named(uid: str) -> str:
    """A UID and what DICOM calls it; text that is no UID is not repeated."""
    if not re.fullmatch(r"[0-9.]{1,64}", uid):
        return "that is no UID"
    name = UID(uid).name
    return uid if name == uid else f"{uid} ({name})"
