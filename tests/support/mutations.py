"""Seeded damage: small DICOM files in every encoding, and ZIPs, mutated by bytes, by tags and by lengths.

The same seed gives the same bytes on every machine. A recipe names in one line the damage and the file.
"""

import dataclasses
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
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

from octshard.prep.dicom import writer
from octshard.rng import rng_for
from tests.support.made_release import scan

HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
SHAPE = (4, 32, 24)
FIRST = "2.25.9999999"  # the SOPInstanceUID of files before they get their own
ZIP_DATE = (2024, 11, 8, 0, 0, 0)
Rng = np.random.Generator


class Mutation(NamedTuple):
    """A damaged file: what was done to what, and a DICOM's SOPInstanceUID or the kind of a ZIP's damage."""

    recipe: str
    name: str
    data: bytes


def dicoms(count: int, seed: int) -> list[Mutation]:
    """`count` damaged DICOM files, encodings in turn."""
    return [dicom_file(seed, i) for i in range(count)]


def dicom_file(seed: int, i: int) -> Mutation:
    """Damaged file i of a seed; before the damage its SOPInstanceUID was `uid_of(seed, i)`."""
    name = list(ENCODINGS)[i % len(ENCODINGS)]
    rng = rng_for(seed, "fuzz dicom", i)
    kind = str(rng.choice(list(KINDS), p=_SHARES))
    damage, data = KINDS[kind](sound(name, uid_of(seed, i)), rng)
    return Mutation(f"dicom_file({seed}, {i}), {name}: {damage}", uid_of(seed, i), data)


def zips(count: int, seed: int) -> list[Mutation]:
    """`count` damaged ZIPs; ZIP i held `members_of(seed, i)`, the first stored and the second deflated."""
    mutations = []
    for i in range(count):
        rng = rng_for(seed, "fuzz zip", i)
        kind = str(rng.choice(list(ZIP_KINDS)))
        damage, data = ZIP_KINDS[kind](_zip(members_of(seed, i)), rng)
        mutations.append(Mutation(f"ZIP {i} of seed {seed}: {damage}", kind, data))
    return mutations


def uid_of(seed: int, i: int) -> str:
    """All of one length, so that bytes can be exchanged."""
    return f"2.25.{1_000_000 + 10_000 * seed + i}"


def members_of(seed: int, i: int) -> dict[str, bytes]:
    """Member name -> bytes of ZIP i before damage."""
    uids = [uid_of(seed, n) for n in (2 * i, 2 * i + 1)]
    return {f"1001/1001_triton_3d_macula_oct_l_{uid}.dcm": sound("native", uid) for uid in uids}


# sound files


def sound(encoding: str, uid: str) -> bytes:
    """An undamaged file."""
    old, new = FIRST.encode(), uid.encode()
    data = _first(encoding)
    if encoding != "deflated":
        return data.replace(old, new)
    start = 144 + struct.unpack_from("<I", data, 140)[0]  # where the file meta information ends
    body = zlib.decompress(data[start:], -15).replace(old, new)
    deflate = zlib.compressobj(wbits=-15)
    return data[:start].replace(old, new) + deflate.compress(body) + deflate.flush()


@lru_cache
def _first(encoding: str) -> bytes:
    voxels = np.sort(rng_for("fuzz voxels").integers(0, 256, SHAPE, np.uint8), axis=1)
    content = dataclasses.replace(
        scan(), voxels_DHW=voxels, sop_instance_uid=FIRST, locations=scan().locations[: SHAPE[0]]
    )
    return ENCODINGS[encoding](content)


def _written(encoding: str) -> Callable[[writer.Scan], bytes]:
    return lambda content: writer.write(dataclasses.replace(content, encoding=encoding))


def _saved(syntax: str) -> Callable[[writer.Scan], bytes]:
    """The native file in another transfer syntax without a codec."""

    def save(content: writer.Scan) -> bytes:
        ds = pydicom.dcmread(io.BytesIO(writer.write(content)))
        ds.file_meta.TransferSyntaxUID = UID(syntax)
        return _bytes(ds)

    return save


def _wide(content: writer.Scan) -> bytes:
    """12 bits in 16, MONOCHROME1, with a rescale."""
    ds = pydicom.dcmread(io.BytesIO(writer.write(content)))
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PhotometricInterpretation, ds.RescaleSlope, ds.RescaleIntercept = "MONOCHROME1", "0.5", "-3"
    ds.PixelData = (content.voxels_DHW.astype("<u2") * 16).tobytes()
    return _bytes(ds)


def _coded(syntax: str, encode: Callable[[np.ndarray], bytes], *, table: bool = False) -> Any:
    """Frames encoded one by one; table: with an extended offset table."""

    def save(content: writer.Scan) -> bytes:
        ds = pydicom.dcmread(io.BytesIO(writer.write(content)))
        frames = [encode(frame) for frame in content.voxels_DHW]
        if table:
            ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(frames)
        else:
            ds.PixelData = encapsulate(frames)
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = UID(syntax)
        return _bytes(ds)

    return save


def _rle(content: writer.Scan) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(writer.write(content)))
    ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    return _bytes(ds)


ENCODINGS: dict[str, Callable[[writer.Scan], bytes]] = {
    "native": _written("native"),
    "j2k": _written("j2k"),
    "j2k_lossy": _written("j2k_lossy"),
    "rle": _rle,
    "jpegls": _coded(JPEGLSLossless, imagecodecs.jpegls_encode),
    "j2k_table": _coded(JPEG2000Lossless, imagecodecs.jpeg2k_encode, table=True),
    "htj2k": _coded(HTJ2K_LOSSLESS, imagecodecs.htj2k_encode),
    "jpeg": _coded(JPEGBaseline8Bit, imagecodecs.jpeg8_encode),
    "jpeg_lossless": _coded(JPEGLosslessSV1, imagecodecs.ljpeg_encode),
    "deflated": _saved(DeflatedExplicitVRLittleEndian),
    "implicit": _saved(ImplicitVRLittleEndian),
    "big_endian": _saved(ExplicitVRBigEndian),
    "wide": _wide,
}


def _bytes(ds: Dataset) -> bytes:
    out = io.BytesIO()
    big = ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    implicit = ds.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    pydicom.dcmwrite(out, ds, implicit_vr=implicit, little_endian=not big, force_encoding=True)
    return out.getvalue()


# damage to bytes


def _place(data: bytes, rng: Rng) -> int:
    """A byte: often in the header, often in the last third (where pixels lie), often where a codec begins."""
    marks = [m for m in (data.find(b"\xff\x4f\xff\x51"), data.find(b"\xff\xd8\xff")) if m > 0]
    draw = rng.random()
    if marks and draw < 0.4:
        return min(len(data) - 1, marks[0] + int(rng.integers(120)))
    low, high = (132, len(data)) if draw < 0.7 else (2 * len(data) // 3, len(data))
    return int(rng.integers(min(low, len(data) - 1), high))


def _span(data: bytes, rng: Rng) -> tuple[int, int]:
    start = _place(data, rng)
    return start, min(len(data), start + 1 + int(rng.geometric(0.02)))


def _flip(data: bytes, rng: Rng) -> tuple[str, bytes]:
    damaged = bytearray(data)
    places = [_place(data, rng) for _ in range(int(rng.integers(1, 9)))]
    for at in places:
        damaged[at] ^= int(rng.integers(1, 256))
    return f"bytes {sorted(places)} flipped", bytes(damaged)


def _drop(data: bytes, rng: Rng) -> tuple[str, bytes]:
    start, stop = _span(data, rng)
    return f"[{start}, {stop}) cut out", data[:start] + data[stop:]


def _zero(data: bytes, rng: Rng) -> tuple[str, bytes]:
    start, stop = _span(data, rng)
    fill = bytes([int(rng.choice([0, 255]))])
    return f"[{start}, {stop}) filled with {fill!r}", data[:start] + fill * (stop - start) + data[stop:]


def _double(data: bytes, rng: Rng) -> tuple[str, bytes]:
    start, stop = _span(data, rng)
    times = int(rng.choice([1, 1, 2, 50]))
    return f"[{start}, {stop}) repeated {times} times", data[:stop] + data[start:stop] * times + data[stop:]


def _swap(data: bytes, rng: Rng) -> tuple[str, bytes]:
    a, b = sorted(_place(data, rng) for _ in range(2))
    n = min(b - a, len(data) - b, 64)
    moved = data[:a] + data[b : b + n] + data[a + n : b] + data[a : a + n] + data[b + n :]
    return f"{n} bytes at {a} and {b} exchanged", moved


def _tail(data: bytes, rng: Rng) -> tuple[str, bytes]:
    stop = int(rng.integers(0, len(data)))
    return f"cut at {stop}", data[:stop]


def _behind(data: bytes, rng: Rng) -> tuple[str, bytes]:
    extra = rng.bytes(int(rng.integers(1, 200)))
    return f"{len(extra)} random bytes behind the end", data + extra


def _number(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """Lengths and counts are 2 or 4 bytes; somewhere one of them becomes extreme."""
    at = min(_place(data, rng) & ~1, len(data) - 4)
    form, value = [("<I", 0xFFFFFFFF), ("<I", 0x7FFFFFFF), ("<I", 0xFFFFFFFE), ("<H", 0xFFFF), ("<I", 0)][
        int(rng.integers(5))
    ]
    raw = struct.pack(form, value)
    return f"{form} {value:#x} at {at}", data[:at] + raw + data[at + len(raw) :]


# damage to tags


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
    return ", ".join(damage), _bytes(ds)


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
        return f"{name} not found, so cut", _tail(data, rng)[1]
    long = data[at + 4 : at + 6] in (b"SQ", b"OB", b"OW", b"UN")
    value = int(rng.choice([0, 1, 3, 2**16 - 1, 2**31 - 1, 2**32 - 2, 2**32 - 1, len(data)]))
    place, form = (at + 8, "<I") if long else (at + 6, "<H")
    raw = struct.pack(form, value & (0xFFFFFFFF if long else 0xFFFF))
    return f"{name} claims {value} bytes", data[:place] + raw + data[place + len(raw) :]


Kind = Callable[[bytes, Rng], tuple[str, bytes]]
KINDS: dict[str, Kind] = {
    "flip": _flip, "drop": _drop, "zero": _zero, "double": _double, "swap": _swap, "tail": _tail,
    "behind": _behind, "number": _number, "tag": _tag, "syntax": _syntax, "length": _length,
}  # fmt: skip
_WEIGHTS = {"flip": 4.0, "number": 3.0, "tag": 5.0}
_SHARES = [_WEIGHTS.get(kind, 1.0) / sum(_WEIGHTS.get(k, 1.0) for k in KINDS) for kind in KINDS]


# damage to ZIPs


def _zip(members: dict[str, bytes]) -> bytes:
    out, ways = io.BytesIO(), (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(out, "w") as archive:
        for (name, data), how in zip(members.items(), ways, strict=True):
            archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), data, how)
    return out.getvalue()


CENTRAL, END, LOCAL = b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04"


def _field(mark: bytes, fields: dict[str, tuple[int, str]]) -> Kind:
    """One number of one record is wrong."""

    def change(data: bytes, rng: Rng) -> tuple[str, bytes]:
        offsets = [offset for offset in range(len(data)) if data.startswith(mark, offset)]
        offset = int(rng.choice(offsets))
        name = str(rng.choice(list(fields)))
        place, form = fields[name]
        top = 2 ** (8 * struct.calcsize(form)) - 1
        old = struct.unpack_from(form, data, offset + place)[0]
        value = int(rng.choice([0, 1, max(0, old - 1), old + 1, 2 * old, top // 2, top - 1, top])) & top
        raw = struct.pack(form, value)
        text = f"{name} of the record at {offset}: {old} -> {value}"
        return text, data[: offset + place] + raw + data[offset + place + len(raw) :]

    return change


def _renamed(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """A member's name becomes hostile, at its old length, in the directory and mostly before its data too."""
    names = [info.filename.encode() for info in zipfile.ZipFile(io.BytesIO(data)).infolist()]
    old = names[int(rng.integers(len(names)))]
    new = [b"../../", b"/etc/p", b"C:\\aa\\", b"\0\0\0\0\0\0", b"..\\..\\", b"\xff\xfe\xfd\xfc\xfb\xfa"][
        int(rng.integers(6))
    ] + old[6:]
    offset = data.rindex(old) if rng.random() < 0.3 else -1
    if offset >= 0:
        return f"{new!r} in the directory", data[:offset] + new + data[offset + len(old) :]
    return f"{new!r}", data.replace(old, new)


def _bomb(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """The deflated member becomes one that unpacks to some hundred times more."""
    out, size = io.BytesIO(), int(rng.choice([2**20, 2**23, 2**25]))
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo(names[-1], ZIP_DATE), bytes(size), zipfile.ZIP_DEFLATED)
    lied = out.getvalue()
    if rng.random() < 0.5:  # ... and says that it does not
        honest = struct.pack("<I", size)
        lied = lied.replace(honest, struct.pack("<I", 1000))
    return f"{size} zeros", lied


def _twice(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """A member of each name twice, the second with other bytes."""
    out = io.BytesIO(data)
    names = zipfile.ZipFile(out).namelist()
    with zipfile.ZipFile(out, "a") as archive:
        archive.fp.seek(0, 2)  # type: ignore[union-attr]
        info = zipfile.ZipInfo(names[int(rng.integers(len(names)))], ZIP_DATE)
        archive.NameToInfo.clear()  # or zipfile warns
        archive.writestr(info, zlib.compress(data))
    return f"{info.filename} twice", out.getvalue()


def _before(data: bytes, rng: Rng) -> tuple[str, bytes]:
    extra = rng.bytes(int(rng.integers(1, 200)))
    return f"{len(extra)} random bytes before the beginning", extra + data


ZIP_KINDS: dict[str, Kind] = {
    **{name: KINDS[name] for name in ("flip", "drop", "zero", "double", "swap", "tail", "behind", "number")},
    "central": _field(CENTRAL, {
        "version": (6, "<H"), "flags": (8, "<H"), "method": (10, "<H"), "crc": (16, "<I"),
        "compressed": (20, "<I"), "size": (24, "<I"), "name length": (28, "<H"), "extra length": (30, "<H"),
        "comment length": (32, "<H"), "attributes": (38, "<I"), "offset": (42, "<I"),
    }),
    "local": _field(LOCAL, {
        "flags": (6, "<H"), "method": (8, "<H"), "crc": (14, "<I"), "compressed": (18, "<I"),
        "size": (22, "<I"), "name length": (26, "<H"), "extra length": (28, "<H"),
    }),
    "end": _field(END, {
        "disk": (4, "<H"), "entries": (10, "<H"), "directory bytes": (12, "<I"), "directory at": (16, "<I"),
        "comment length": (20, "<H"),
    }),
    "renamed": _renamed, "bomb": _bomb, "twice": _twice, "before": _before,
}  # fmt: skip
