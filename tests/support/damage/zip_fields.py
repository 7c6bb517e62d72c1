"""Damage to ZIPs: one number of one record, hostile names, a bomb, a member twice, bytes in front."""

import io
import struct
import zipfile
import zlib

from tests.support.damage import byte_damage
from tests.support.damage.byte_damage import Kind
from tests.support.damage.case import Rng

ZIP_DATE = (2024, 11, 8, 0, 0, 0)


def zip_of(members: dict[str, bytes]) -> bytes:
    """A sound ZIP: the first member stored, the second deflated."""
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


KINDS: dict[str, Kind] = {
    **byte_damage.KINDS,
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
