"""One look at the first bytes of a file: is it a scan, of what format, by which device, of which eye."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from octshard.dataset import visit_date
from octshard.prep.convert import volumes
from octshard.prep.dicom import file_kind, frame_labels, head, signatures
from octshard.prep.dicom.attributes import ASKED
from octshard.prep.index.content import Content, StoredFile
from octshard.prep.index.place import Place
from octshard.prep.readers import heidelberg_e2e, optovue_oct, recognise, tiff_directory
from octshard.prep.readers.range_bytes import RangeBytes
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.release import device_name
from octshard.prep.release.entry import UNKNOWN
from octshard.prep.release.zip_directory import DamagedZip
from octshard.storage import store

HEAD = 2**15  # bytes of a file that are read
LONG_HEAD = 2**20  # of a DICOM file whose header has more in front of what is looked for
DATES = ("AcquisitionDateTime", "AcquisitionDate", "ContentDate", "StudyDate")  # the first that is told
UID = "SOPInstanceUID"
MAKERS = {  # of formats of one maker
    "vol": "heidelberg_spectralis",
    "e2e": "heidelberg_spectralis",
    "fda": "topcon",
    "oct": "bioptigen",
    "optovue": "optovue",
    "img": "zeiss_cirrus",
}
BLOCK = 2**12  # bytes read at once of a remote file of which a directory is wanted
SCAN, OTHER, UNREAD = "scan", "other", "unread"
IMAGE = "image"  # a picture, or a B-scan: a scan only together with others of its folder
WHOLE = 2**25  # bytes of a file that is read whole where it seems to hold several volumes
ONE_PAGE = 2**24  # bytes of a TIFF that may be one B-scan
LONELY = "no .OCT of Bioptigen; one of Optovue needs the .txt of its name beside it"


class Finding(NamedTuple):
    """What a file is. kind: SCAN, IMAGE, OTHER (`what` names it) or UNREAD (`what` says why)."""

    kind: str
    what: str  # of a scan its format
    person: str = ""  # PatientID, where it was asked for
    device: str = ""
    eye: str = ""
    region: str = ""
    date: str = ""  # where it was asked for
    uid: str = ""  # SOPInstanceUID, where it was asked for
    # number and eye of each scan, where a file holds several: `3:L 12:R 15:`, of DICOM `volume-1:L volume-2:`
    series: str = ""
    group: str = ""  # of the files of its folder that are one scan; empty: it is whole
    place: str = ""  # a number by which these are ordered


@dataclass(frozen=True)
class Asked:
    """What may be read of who was scanned, when, and of the name of the scan. pages: whether a TIFF is one
    page is wanted.
    """

    patient: bool = False
    dates: bool = False
    pages: bool = False
    uid: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Of DICOM's fields."""
        private = (
            name for name in ASKED if (name in DATES and self.dates) or (name == "PatientID" and self.patient)
        )
        return (*private, *([UID] if self.uid else []))


def look(place: Place, content: Content, asked: Asked) -> Finding:
    """The finding for a file; a remote one that cannot be read is a StoreError."""
    if place.problem:
        return Finding(UNREAD, place.problem)
    if not place.size:
        return Finding(UNREAD, "it has 0 bytes")
    try:
        return _finding(place, content, content.head(HEAD), asked)
    except FileNotFoundError:
        return Finding(UNREAD, "it was removed while the folder was read")
    except DamagedZip as damage:
        return Finding(UNREAD, f"it cannot be read out of its ZIP: {damage.args[2]}")
    except store.StoreError as error:
        if not isinstance(content, StoredFile) or not content.is_mapped:
            raise
        return Finding(UNREAD, f"it cannot be read: {error}".replace(f"{content.url}: ", ""))


def _finding(place: Place, content: Content, data: bytes, asked: Asked) -> Finding:
    file = ScanBytes(data, place.path.rsplit("/", 1)[-1], folder=content.beside)
    try:
        kind = recognise.format_of(file)
    except Refused:
        if optovue_oct.missing_text(file):
            return Finding(UNREAD, LONELY)
        name = signatures.kind_of(data, place.size) or "of no known format"
        return Finding(OTHER, f"{name} inside a ZIP" if place.member and "ZIP" in name else name)
    if kind == "image" or (asked.pages and kind == "tiff" and _is_one_page(place, content)):
        return Finding(
            IMAGE, kind if kind == "tiff" else signatures.kind_of(data, place.size) or "a BMP image"
        )
    if kind != "dicom":
        return Finding(SCAN, kind, device=MAKERS.get(kind, ""), series=_series(content, kind))
    header = head.read(data, asked.names)
    if not header.is_whole and len(data) < place.size:
        header = head.read(content.head(LONG_HEAD), asked.names)
    if not header.may_be_oct:
        return Finding(OTHER, f"DICOM: {file_kind.named(header.sop_class)}")
    dates = (visit_date.date(header.asked.get(name, "")) for name in DATES)
    return Finding(
        SCAN,
        kind,
        person=header.asked.get("PatientID", ""),
        device=device(header.manufacturer, header.model),
        eye=header.eye,
        region=header.region,
        date=next(filter(None, dates), ""),
        series=_volumes(place, content, data) if header.frames > 1 else "",
        uid=header.asked.get(UID, ""),
        group=_digest(header.part.group),
        place=str(header.part.place) if header.part.group else "",
    )


def _is_one_page(place: Place, content: Content) -> bool:
    """True for a TIFF of one page. It is read whole, as a directory may lie at its end."""
    try:
        return place.size <= ONE_PAGE and len(tiff_directory.page_offsets(content.whole())) == 1
    except Refused:  # prep shard will say why
        return False


def _digest(group: str) -> str:
    """In place of UIDs, which stay in their file."""
    return hashlib.sha256(group.encode()).hexdigest()[:16] if group else ""


def _volumes(place: Place, content: Content, data: bytes) -> str:
    """As `_series`, of a DICOM file that begins with `data`. One that is remote or in a ZIP is read whole
    where its first frames are of several volumes, and else not.
    """
    if len(data) == place.size:  # a second opening would take longer than the look
        return _told(lambda: volumes.names_in(data))
    is_cheap = content.is_mapped or (place.size <= WHOLE and frame_labels.may_differ(data))
    return _told(lambda: volumes.names_in(content.whole())) if is_cheap else ""


def _series(content: Content, kind: str) -> str:
    """The scans of a file that holds several. Of a remote .e2e its directory is read alone; in a remote ZIP,
    or where one is very large, nothing is looked for: it would have to be read whole.
    """
    if kind != "e2e":
        return ""
    if content.is_mapped:
        return _told(lambda: heidelberg_e2e.series_in(memoryview(content.whole())))
    file = content.open(BLOCK)
    if file is None:
        return ""
    with file:
        return _told(lambda: heidelberg_e2e.series_in(RangeBytes(file, 0, file.seek(0, os.SEEK_END))))


def _told(series_in: Callable[[], Sequence[tuple[str, str]]]) -> str:
    """What a path calls each scan of several, and its eye."""
    try:
        series = series_in()
    except Refused:  # prep shard will say why
        return ""
    return " ".join(f"{name}:{eye}" for name, eye in series) if len(series) > 1 else ""


def device(manufacturer: str, model: str) -> str:
    """One of our devices, else a name made of maker and model; empty if neither is told."""
    texts = [text for text in (manufacturer, model) if text.lower() not in UNKNOWN]
    return device_name.of_scan("", model) or device_name.of_text(" ".join(texts))
