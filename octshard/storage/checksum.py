"""The checksums of octshard, by libraries that are faster than a disk: CRC-32 (as in ZIPs), xxh3, and those
that stores give of whole objects.
"""

import base64
import hashlib
from typing import Any

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


class WholeChecksum:
    """Compares bytes that come in order with what a store says of the whole object.

    told: `crc32c:` and base64 as Cloud Storage has it, `md5:` and hex as S3 has it, or empty for neither.
    """

    def __init__(self, told: str) -> None:
        self._name, _, self._expected = told.partition(":")
        self._hash: Any = None
        if self._name == "crc32c":
            import google_crc32c

            self._hash = google_crc32c.Checksum()
        elif self._name == "md5":
            self._hash = hashlib.md5(usedforsecurity=False)

    def update(self, data: Buffer) -> None:
        """The next bytes."""
        if self._hash is not None:
            self._hash.update(data if self._name == "md5" else bytes(data))

    def difference(self) -> str:
        """How the two differ, after the last byte; empty if they do not, or nothing is told."""
        if self._hash is None:
            return ""
        digest = self._hash.digest()
        text = base64.b64encode(digest).decode() if self._name == "crc32c" else digest.hex()
        return "" if text == self._expected else f"{self._name} {text}, want {self._expected}"


def crc32c(data: Buffer, before: int = 0) -> int:
    """The CRC-32C of Cloud Storage; `before`: that of the bytes that precede `data`."""
    import google_crc32c

    return int(google_crc32c.extend(before, bytes(data)))
