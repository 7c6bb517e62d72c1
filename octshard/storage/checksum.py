"""The checksums of octshard, by libraries that are faster than reading: CRC-32 (as in ZIPs) and xxh3."""

import xxhash
from isal import isal_zlib

Buffer = bytes | bytearray | memoryview


def crc32(data: Buffer, before: int = 0) -> int:
    """zlib's CRC-32 of `data`, continued from that of what came `before`; ten times as fast as zlib's."""
    return isal_zlib.crc32(data, before)


def xxh3(data: Buffer) -> str:
    """64-bit xxh3 in hex: tells a damaged slice from a sound one."""
    return xxhash.xxh3_64_hexdigest(data)


def xxh3_128(data: Buffer) -> str:
    """128-bit xxh3 in hex: two files that share it and their size are taken for the same bytes."""
    return xxhash.xxh3_128_hexdigest(data)
