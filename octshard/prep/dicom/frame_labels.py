"""Whether the frames of a DICOM file may be those of several volumes: by raw bytes, faster than by a walk.

Labels are looked for as bytes in front of the first tag of PixelData. What looks like one and is none costs a
walk; one that is not seen leaves a file to prep, which refuses it with the same words.
"""

import re
import struct

from octshard.prep.dicom import elements
from octshard.prep.dicom.attributes import BINARY, LISTED
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

NAMES = ("FrameLaterality", "StackID", "TemporalPositionIndex")
FIELDS = {struct.pack("<HH", *divmod(LISTED[name][0], 2**16)): LISTED[name][1] for name in NAMES}
TAG = re.compile(b"|".join(map(re.escape, FIELDS)))
PIXEL_DATA = re.compile(re.escape(struct.pack("<HH", *divmod(elements.PIXEL_DATA, 2**16))))
LONGEST = 64  # bytes of a label


def may_differ(data: Buffer) -> bool:
    """False if every label that is seen has one value."""
    try:
        syntax = elements.transfer_syntax(data)
    except Refused:
        return False
    if syntax in (elements.DEFLATED, elements.EXPLICIT_BIG):
        return True
    pixels = PIXEL_DATA.search(data)
    header = data[: pixels.start()] if pixels else data
    values: dict[bytes, bytes] = {}
    for match in TAG.finditer(header):
        value = _value(header, match.end(), FIELDS[match[0]])
        if values.setdefault(match[0], value) != value:
            return True
    return False


def _value(header: Buffer, start: int, vr: bytes) -> bytes:
    """Without its padding; explicit or implicit VR."""
    explicit = header[start : start + 2] == vr
    size = int.from_bytes(header[start + 2 : start + 4] if explicit else header[start : start + 4], "little")
    value = bytes(header[start + 4 : start + 4 + min(size, LONGEST)])
    return value if vr in BINARY else value.strip(b" \0")
