"""The dataset of a deflated DICOM file (PS3.5 A.5), inflated within bounds."""

import zlib

from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

INFLATED_FREELY = 2**27  # bytes of a deflated dataset that are allowed whatever the ratio
INFLATED_RATIO = 100  # of inflated to deflated bytes, the most beyond that: OCT has 2, a bomb 1,000
INFLATED_STEP = 2**14  # bytes inflated at once


def inflate(data: Buffer, offset: int) -> bytearray:
    """The deflated rest of the file, inflated. It grows in place, to use little more memory than its size."""
    engine, body = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
    limit = max(INFLATED_FREELY, INFLATED_RATIO * len(data))
    try:
        while offset < len(data) and not engine.eof:
            body += engine.decompress(data[offset : offset + INFLATED_STEP])
            offset += INFLATED_STEP
            if len(body) > limit:
                raise Refused("too_large", f"deflated dataset of more than {limit} bytes in {len(data)}")
    except zlib.error as error:
        raise Refused("unreadable", f"deflated dataset: {error}") from error
    if not engine.eof:
        raise Refused("truncated", f"the deflated dataset ends after {len(body)} bytes without its end mark")
    return body
