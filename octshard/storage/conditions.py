"""Whether a store puts an object only on conditions, as a lock needs it: asked once for each bucket.

Some answer that they do not (Backblaze B2: 501), others put the object all the same.
"""

import logging
import uuid

from octshard.storage import remote, store
from octshard.storage.client import Client
from octshard.storage.errors import Unimplemented

logger = logging.getLogger(__name__)

OTHER_DIGIT = str.maketrans("0123456789abcdef", "1234567890bcdefa")
_known: dict[tuple[Client, str], bool] = {}  # by client and bucket


def heeded(url: str) -> bool:
    """True if the store of `url` heeds conditions; a small object beside it is put and removed for this."""
    client, bucket = remote.client_for(url), "/".join(url.split("/", 3)[:3])
    if (client, bucket) not in _known:
        _known[client, bucket] = _are_heeded(f"{url}.probe-{uuid.uuid4().hex}")
        if not _known[client, bucket]:
            logger.info("%s: puts no object on conditions; its locks are settled by listing", bucket)
    return _known[client, bucket]


def _are_heeded(url: str) -> bool:
    try:
        version = store.put_if_version(url, b"first", "")
        if version is None:
            return False
        another = version.translate(OTHER_DIGIT)  # of the same form, and of no object
        conditions = ("", another)
        return all(store.put_if_version(url, b"second", condition) is None for condition in conditions)
    except Unimplemented:
        return False
    finally:
        store.remove(url)
