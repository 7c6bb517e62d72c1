"""Damage to the elements of a DICOM file: deleted, nonsense, nested, of another syntax, of another length."""

import io
import struct

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.support.damage.byte_damage import Kind, tail
from tests.support.damage.case import Rng
from tests.support.damage.sound_dicoms import HTJ2K_LOSSLESS, SHAPE, to_bytes

NONSENSE: dict[str, tuple[bytes, ...]] = {
    "NumberOfFrames": (
        b"-1",
        b"0",
        b"1",
        b"5",
        b"1000000000",
        b"abc ",
        b"",
        b"4\\4",
        b"1e3 ",
        b"99999999999999",
    ),
    "PixelSpacing": (
        b"0\\0 ",
        b"-1\\-1 ",
        b"text",
        b"1e308\\1e308 ",
        b"1e-300\\1 ",
        b"0.01",
        b"nan\\inf ",
        b"",
    ),
    "SliceThickness": (b"0 ", b"-5", b"1e308 ", b"1e999 ", b"thin", b"inf ", b"", b"1\\2 "),
    "SpacingBetweenSlices": (b"0 ", b"-1", b"1e10", b"x ", b"1e-30 "),
    "RescaleSlope": (b"0 ", b"-1", b"1e308 ", b"nan ", b"a ", b"1e-300 ", b""),
    "RescaleIntercept": (b"1e308 ", b"-1e9", b"inf ", b"b ", b""),
    "PhotometricInterpretation": (b"RGB ", b"MONOCHROME1 ", b"PALETTE COLOR ", b"YBR_FULL_422", b"", b"\0\0"),
    "SOPClassUID": (b"1.2.840.10008.5.1.4.1.1.2\0", b"", b"x" * 64),
    "SOPInstanceUID": (b"", b"not a uid", b"1." * 300, b"\xff\xfe"),
    "ImageLaterality": (b"B ", b"", b"LEFT", b"\0\0", b"R\\L "),
    "Manufacturer": (b"", b"\xff" * 40, b"a" * 70_000, b"\x1b$B%d"),
    "SpecificCharacterSet": (b"ISO_IR 192", b"nonsense", b"ISO 2022 IR 87\\ISO 2022 IR 13 ", b"\0\0"),
}
SHORTS: dict[str, tuple[int, ...]] = {
    "Rows": (0, 1, 16, 31, 33, 64, 65535),
    "Columns": (0, 1, 12, 23, 25, 48, 65535),
    "BitsAllocated": (0, 1, 7, 12, 16, 32, 64, 65535),
    "BitsStored": (0, 1, 7, 12, 17, 65535),
    "HighBit": (0, 3, 15, 65535),
    "SamplesPerPixel": (0, 2, 3, 4, 65535),
    "PixelRepresentation": (1, 2, 65535),
    "PlanarConfiguration": (0, 1, 9),
}
SYNTAXES = (
    ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian,
    RLELossless, JPEGBaseline8Bit, "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", JPEGLosslessSV1,
    JPEGLSLossless, "1.2.840.10008.1.2.4.81", JPEG2000Lossless, "1.2.840.10008.1.2.4.91", HTJ2K_LOSSLESS,
    "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.1.98", "1.2.3", "",
)  # fmt: skip
DELETED = (
    "Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "SamplesPerPixel", "SOPClassUID",
    "PhotometricInterpretation", "PixelRepresentation", "SOPInstanceUID", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "PixelData", "HighBit", "ImageLaterality",
)  # fmt: skip

MEASURED = (
    "Rows", "NumberOfFrames", "PixelData", "SharedFunctionalGroupsSequence", "SOPInstanceUID",
    "PerFrameFunctionalGroupsSequence", "PixelMeasuresSequence",
)  # fmt: skip  # whose lengths become wrong


def _tag(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """One to three elements are deleted or become nonsense; the file itself stays well formed."""
    ds = pydicom.dcmread(io.BytesIO(data), force=True)
    damage = [_edit(ds, rng) for _ in range(int(rng.choice([1, 1, 1, 2, 3])))]
    return ", ".join(damage), to_bytes(ds)


def _edit(ds: Dataset, rng: Rng) -> str:
    what = int(rng.integers(5))
    if what == 0:
        name = str(rng.choice(DELETED))
        ds.pop(Tag(name), None)
        return f"{name} deleted"
    if what == 1:
        name = str(rng.choice(list(SHORTS)))
        value = int(rng.choice(SHORTS[name]))
        order = ">" if ds.original_encoding[1] is False else "<"
        _put(ds, ds, name, struct.pack(f"{order}H", value))
        return f"{name}={value}"
    if what == 2:
        return _nest(ds, rng)
    name = str(rng.choice(list(NONSENSE)))
    value = NONSENSE[name][int(rng.integers(len(NONSENSE[name])))]
    holders = [ds]
    if name in ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"):
        groups = ds.get("SharedFunctionalGroupsSequence") or [Dataset()]
        holders = list(groups[0].get("PixelMeasuresSequence") or [ds])
    elif name.startswith("Rescale") and rng.random() < 0.5:
        group = Dataset()
        ds.SharedFunctionalGroupsSequence = Sequence([Dataset()])
        ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = Sequence([group])
        holders = [group]
    _put(ds, holders[0], name, value)
    return f"{name}={value[:40]!r}"


def _put(ds: Dataset, holder: Dataset, name: str, value: bytes) -> None:
    """An element's bytes as they are, whatever they mean; padded to an even length."""
    value += b" " * (len(value) % 2)
    implicit, little = ds.original_encoding
    vr = pydicom.datadict.dictionary_VR(name)
    holder[Tag(name)] = RawDataElement(
        Tag(name), vr, len(value), value, 0, bool(implicit), little is not False
    )


def _nest(ds: Dataset, rng: Rng) -> str:
    """Sequences within sequences, or groups that are empty, many, or hold nonsense coordinates."""
    what = str(rng.choice(["deep", "empty groups", "many groups", "coordinates", "no groups"]))
    if what == "deep":
        inner = Dataset()
        for _ in range(depth := int(rng.choice([5, 31, 40, 120]))):
            outer = Dataset()
            outer.AnatomicRegionSequence = Sequence([inner])
            inner = outer
        ds.AnatomicRegionSequence = inner.AnatomicRegionSequence
        return f"{depth} nested sequences"
    if what == "coordinates":
        frames = [Dataset() for _ in range(SHAPE[0])]
        values = [[], [1.0], [float("nan")] * 4, [float("inf"), 0, 0, 0], [1e30] * 4, [0.0] * 4]
        coordinates = values[int(rng.integers(len(values)))]
        for frame in frames:
            location = Dataset()
            location.ReferenceCoordinates = coordinates
            frame.OphthalmicFrameLocationSequence = Sequence([location])
        ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
        return f"locations {coordinates}"
    number = {"empty groups": SHAPE[0], "many groups": 500, "no groups": 0}[what]
    ds.PerFrameFunctionalGroupsSequence = Sequence([Dataset() for _ in range(number)])
    return f"{number} empty frame groups"


def _syntax(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """The bytes stay, the syntax they claim does not."""
    ds = pydicom.dcmread(io.BytesIO(data), force=True)
    old = str(ds.file_meta.TransferSyntaxUID)
    new = str(rng.choice([s for s in SYNTAXES if s != old]))
    at = data.index(old.encode(), 132)
    size = len(old) + len(old) % 2
    raw = new.encode()
    raw += b"\0" * (len(raw) % 2)
    length = struct.unpack_from("<H", data, at - 2)[0]
    assert length == size
    group = struct.unpack_from("<I", data, 140)[0]
    head = bytearray(data[:at])
    struct.pack_into("<H", head, at - 2, len(raw))
    struct.pack_into("<I", head, 140, group - size + len(raw))
    return f"says {new or 'no syntax'}", bytes(head) + raw + data[at + size :]


def _length(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """The length of one element is wrong."""
    name = str(rng.choice(MEASURED))
    tag = Tag(name)
    places = [data.rfind(struct.pack(f"{order}HH", tag.group, tag.element)) for order in "<>"]
    at = max(places)
    if at < 0:
        return f"{name} not found, so cut", tail(data, rng)[1]
    long = data[at + 4 : at + 6] in (b"SQ", b"OB", b"OW", b"UN")
    value = int(rng.choice([0, 1, 3, 2**16 - 1, 2**31 - 1, 2**32 - 2, 2**32 - 1, len(data)]))
    place, form = (at + 8, "<I") if long else (at + 6, "<H")
    raw = struct.pack(form, value & (0xFFFFFFFF if long else 0xFFFF))
    return f"{name} claims {value} bytes", data[:place] + raw + data[place + len(raw) :]


KINDS: dict[str, Kind] = {"tag": _tag, "syntax": _syntax, "length": _length}
