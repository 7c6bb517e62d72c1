"""A decoder for plain `webdataset`: samples of a shard become arrays.

    samples = webdataset.WebDataset(url, shardshuffle=False).decode(octshard.webdataset.decoder)

Each sample then has `json` (a dict) and `vol.zst` (voxels (D, H, W): uint8, or uint16 of `bits: keep`).
When this module is imported, in worker processes too, WebDataset (extra `webdataset`) reads gs://, s3:// and
memory:// through octshard's storage, with its retries and without `gsutil`. A scheme whose handler is not
WebDataset's default keeps it.
"""

import threading
from importlib.util import find_spec
from typing import Any, BinaryIO

from octshard.dataset import shard
from octshard.errors import UsageError
from octshard.storage import json_object, store

SCHEMES = ("gs", "s3", "memory")


class _LastJson(threading.local):
    """The JSON of the sample that this thread is decoding: WebDataset passes one member at a time."""

    meta: dict[str, Any] | None = None


_last = _LastJson()


def decoder(key: str, data: bytes) -> Any:
    """A handler for `WebDataset.decode`: `.json` to a dict, `.vol.zst` to voxels (D, H, W); None for others.

    The shape is in the JSON, the first member of a sample. UsageError for voxels without it, as after
    `only=` or `select_files=`; BadSample for damaged voxels.
    """
    if key == shard.META:
        meta = json_object.parse(data, "a sample's JSON")
        _last.meta = meta if {"key", "shape", "dtype"} <= meta.keys() else None
        return meta
    if key != shard.VOXELS:
        return None
    last, _last.meta = _last.meta, None
    if last is None:
        raise UsageError(
            "octshard.webdataset.decoder: vol.zst came without the json of its sample before it, want both "
            "still undecoded: no only=, no select_files=, no earlier .decode()"
        )
    return shard.unpack_members(last, data, f"sample {last['key']}")


def open_url(url: str, mode: str = "rb", bufsize: int = 8192, **options: Any) -> BinaryIO:
    """Opens a remote shard for WebDataset, to read. To write, gs:// has WebDataset's own handler."""
    if mode == "rb":
        return store.open_read(url)
    if url.startswith("gs://"):
        from webdataset.gopen import gopen_gsutil

        return gopen_gsutil(url, mode, bufsize, **options)  # type: ignore[no-any-return]
    raise UsageError(f"{url}: mode {mode!r}, want 'rb'; write with octshard.storage.store")


def _register() -> None:
    from webdataset.gopen import gopen_gsutil, gopen_schemes

    for scheme in SCHEMES:
        if gopen_schemes.get(scheme) in (None, gopen_gsutil):
            gopen_schemes[scheme] = open_url


if find_spec("webdataset"):  # `decoder` needs nothing of it, so that a base install may import this
    _register()
