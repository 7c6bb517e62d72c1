"""Safetensors files, both directions: arrays by name, and texts about them.

The same values are the same bytes. The format has no checksum: `write` adds one, `read` checks it.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from octshard.errors import OctshardError
from octshard.storage import json_object, store

SUFFIX = ".safetensors"
SHA256 = "octshard.sha256"  # in the texts: of all else in the file
TEXTS = "__metadata__"  # as the format calls them
LENGTH = 8  # bytes before the header, which hold its length
LONGEST_HEADER = 100_000_000  # bytes; as safetensors has it


class DamagedTensors(OctshardError):
    """Not the file that was written; the message names it and what it is instead."""


def write(url: str, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> None:
    """Stores arrays and texts as one object, atomically."""
    store.write(url, as_bytes(arrays, texts))


def read(url: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and texts; FileNotFoundError if there is no object, DamagedTensors if it is not whole."""
    data, flaw = store.read_checked(url, _flaw)
    if flaw:
        raise DamagedTensors(f"{url}: damaged ({flaw})")
    texts = _texts(data, url)
    return safetensors.numpy.load(data), {name: text for name, text in texts.items() if name != SHA256}


def read_texts(url: str) -> dict[str, str]:
    """The texts alone, whatever the size of the arrays; these are not checked."""
    try:
        head = store.read_range(url, 0, LENGTH)
        header = store.read_range(url, LENGTH, LENGTH + min(_length(head), LONGEST_HEADER))
    except store.StoreError as error:
        raise DamagedTensors(f"{url}: damaged ({error})") from error
    texts = _texts(head + header, url)
    return {name: text for name, text in texts.items() if name != SHA256}


def as_bytes(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> bytes:
    """The file: that of the library, but with the texts in order of their names."""
    data = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    stop = LENGTH + _length(data)
    header: dict[str, Any] = json.loads(data[LENGTH:stop])
    body = data[stop:]
    ordered = dict(sorted({**texts, SHA256: _digest({TEXTS: dict(texts), **header}, body)}.items()))
    text = json.dumps({TEXTS: ordered, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH)
    return len(text).to_bytes(LENGTH, "little") + text + body


def _flaw(data: bytes) -> str:
    """What is wrong with the bytes of a file, or nothing."""
    try:
        safetensors.numpy.load(data)
        texts = _texts(data, "its header")
    except (SafetensorError, DamagedTensors, ValueError, TypeError, LookupError) as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    stop, recorded = LENGTH + _length(data), texts.pop(SHA256, "none")
    digest = _digest({**json.loads(data[LENGTH:stop]), TEXTS: texts}, memoryview(data)[stop:])
    return "" if digest == recorded else f"sha256 {digest}, want {recorded}"


def _digest(header: Mapping[str, Any], body: bytes | memoryview) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    digest.update(body)
    return digest.hexdigest()


def _texts(data: bytes, name: str) -> dict[str, str]:
    try:
        texts = json_object.parse(data[LENGTH : LENGTH + _length(data)], name).get(TEXTS)
    except json_object.DamagedJson as error:
        raise DamagedTensors(str(error)) from error
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise DamagedTensors(f"{name}: no {TEXTS} in its header")
    return texts


def _length(data: bytes) -> int:
    return int.from_bytes(data[:LENGTH], "little")
