"""The checksums of octshard, by libraries that are faster than a disk: CRC-32 (as in ZIPs) and xxh3."""

import xxhash
from isal import isal_zlib

Buffer = bytes | bytearray | memoryview


def crc32(data: Buffer, before: int = 0) -> int:
    """The CRC-32 of zlib, ten times as fast; `before`: the CRC-32 of the bytes that precede `data`."""
    return isal_zlib.crc32(data, before)


def xxh3(data: Buffer) -> str:
    """64-bit xxh3 in hex, to detect damaged slices."""
    return xxhash.xxh3_64_hexdigest(data)


def xxh3_128(data: Buffer) -> str:
    """128-bit xxh3 in hex: two files with the same xxh3 and size count as equal."""
    return xxhash.xxh3_128_hexdigest(data)
