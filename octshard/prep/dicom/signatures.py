"""What a file that is no DICOM file looks like, by its first bytes."""

import re
import zlib

from octshard.storage.checksum import Buffer

SHOWN = 16  # bytes of the beginning that a message shows
LOOKED_AT = 4096  # bytes of the beginning that are looked at
STARTS = {  # first bytes: what begins with them; the first that fits counts
    b"version https://git-lfs": "a Git-LFS pointer: the real file was never fetched",
    b"/annex/objects/": "a git-annex pointer: the real file was never fetched",
    b"HSF-OCT-": "a Heidelberg .vol file",
    b"CMDb": "a Heidelberg .e2e or .sdb file",
    b"FOCT": "a Topcon .fda or .fds file",
    b"PK\3\4": "a ZIP archive",
    b"PK\5\6": "an empty ZIP archive",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\7": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 codestream",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"II+\0": "a BigTIFF image",
    b"GIF8": "a GIF image",
    b"\x93NUMPY": "a NumPy .npy file",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"MATLAB 7.3": "a MATLAB .mat file (HDF5)",
    b"MATLAB 5.0": "a MATLAB .mat file",
    b"NRRD": "an NRRD file",
    b"ObjectType": "a MetaImage header",
    b"PAR1": "a Parquet table",
    b"%PDF": "a PDF document",
    b"SQLite format 3\0": "an SQLite database",
    b"Salted__": "a file encrypted by OpenSSL",
    b"-----BEGIN": "a PEM or PGP text, perhaps encrypted",
    b"\0\5\x16\7": "the extra file (AppleDouble) that macOS puts beside a file",
    b"\0\0\0\1Bud1": "a .DS_Store file of macOS",
    b"DICM": "a DICOM file without its first 128 bytes",
}
PIECES = [  # (place, bytes, what it is): names that do not stand at the beginning
    (257, b"ustar", "a tar archive"),
    (4, b"ftyp", "an MP4 or HEIF file"),
    (8, b"WEBP", "a WebP image"),
    (8, b"AVI ", "an AVI video"),
    (344, b"n+1\0", "a NIfTI file"),
    (344, b"ni1\0", "a NIfTI header"),
    (4, b"n+2\0", "a NIfTI-2 file"),
    (4, b"ni2\0", "a NIfTI-2 header"),
]
# a first element of group 2 or 8, little or big endian, with a VR or a short length
ELEMENT = re.compile(rb"[\2\10]\0.\0(?:[A-Z]{2}|.\0\0\0)|\0[\2\10]\0.(?:[A-Z]{2}|\0\0\0.)", re.DOTALL)
MARKUP = re.compile(rb"<(?:\?xml|!doctype|html|head|body|error|[a-z:]+[ >])", re.IGNORECASE)
JSON = re.compile(rb"[{\[]\s*(?:[\[\]{}\"]|-?\d|true|false|null|\Z)")  # and no [section] of a text
ERROR_CODE = re.compile(rb"<Code>([A-Za-z]{1,40})</Code>")


def describe(data: Buffer) -> str:
    """The first bytes of a file that is not empty, and what it looks like, if that is known; one line."""
    head = bytes(data[:LOOKED_AT])
    name = name_of(data)
    looks = f"; it looks like {name}" if name else ""
    size = "1 byte" if len(data) == 1 else f"{len(data)} bytes"
    return f"{size} without DICM at byte 128, beginning with {beginning(head)}{looks}"


def beginning(data: Buffer) -> str:
    """The first bytes in digits and letters."""
    start = bytes(data[:SHOWN])
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in start)
    return f"{start.hex(' ')} ({text})"


def name_of(data: Buffer) -> str:
    """What a file looks like by its first bytes; empty if that is not known."""
    return kind_of(data, len(data))


def kind_of(head: Buffer, size: int) -> str:
    """What a file of `size` bytes that begins with `head` looks like; empty if that is not known."""
    return _name(bytes(head[:LOOKED_AT]), size)


def _name(head: bytes, size: int) -> str:
    for start, name in STARTS.items():
        if head.startswith(start):
            return _inside_gzip(head) if start == b"\x1f\x8b" else name
    for place, piece, name in PIECES:
        if head.startswith(piece, place):
            return name
    if head[:2] == b"BM" and int.from_bytes(head[2:6], "little") == size:
        return "a BMP image"
    if not any(head):
        return "a failed download: there are only zeros, as far as was looked"
    if ELEMENT.match(head):
        return "a DICOM dataset without preamble and file meta information (PS3.10); write it as a DICOM file"
    return _text_name(head)


def _inside_gzip(head: bytes) -> str:
    engine = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        inside = engine.decompress(head, 512)
    except zlib.error:
        return "damaged gzip"
    if inside[128:132] == b"DICM":
        return "a gzipped DICOM file; unpack it"
    name = _name(inside, 0) if inside and not inside.startswith(b"\x1f\x8b") else ""
    return f"gzip of {name}" if name else "gzip"


def _text_name(head: bytes) -> str:
    """A name for text: markup, JSON, a path of git-annex, or plain text; empty if it is none."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "text in UTF-16"
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not merely cut inside a letter
            return ""
        text = head[: error.start].decode()
    if any(ord(letter) < 32 and letter not in "\t\n\r\f" for letter in text):
        return ""
    if "/annex/objects/" in text:
        return "a git-annex pointer: the real file was never fetched"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if MARKUP.match(start):
        code = ERROR_CODE.search(head)
        kind = "HTML" if b"<html" in head.lower() else "XML"
        return (
            f"{kind}, an error of a server: {code[1].decode()}" if code else f"{kind}, perhaps an error page"
        )
    return "JSON, perhaps an error of a server" if JSON.match(start) else "text"
