"""The tokens of scans, both directions: a file for each, in a folder for each source and layer.

Row n of scans.parquet has its tokens in 0000000n.safetensors. Scans have different numbers of them; `padded`
makes a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from octshard.errors import OctshardError
from octshard.storage import store, tensors

SUFFIX = ".tokens"  # of the folder
AGAIN = "run the same octshard eval embed again"
Z, PLACE = "z_VF", "place_V3"  # the tensors of a file


class ScanTokens(NamedTuple):
    """Of one scan: z_VF, and place_V3 (int32), where each token is along D, H, W, in tokens."""

    z_VF: np.ndarray
    place_V3: np.ndarray


class TokenBatch(NamedTuple):
    """Of several scans: z_BVF and place_BV3, 0 where padding_BV."""

    z_BVF: np.ndarray
    place_BV3: np.ndarray
    padding_BV: np.ndarray


@dataclass(frozen=True)
class TokenFolder:
    """The tokens of all scans of a table. digest: of their source and scans."""

    url: str
    scans: int
    digest: str

    def read(self, row: int) -> ScanTokens:
        """Those of one scan; OctshardError if they are not there, or damaged."""
        url = file_url(self.url, row)
        tokens = read(url, self.digest)
        if tokens is None:
            raise OctshardError(f"{url}: missing or damaged; {AGAIN}")
        return tokens


def padded(scans: Sequence[ScanTokens]) -> TokenBatch:
    """One batch of them, as long as the longest."""
    length, width = max(len(scan.z_VF) for scan in scans), scans[0].z_VF.shape[1]
    z_BVF = np.zeros((len(scans), length, width), scans[0].z_VF.dtype)
    place_BV3 = np.zeros((len(scans), length, 3), np.int32)
    padding_BV = np.ones((len(scans), length), bool)
    for i, scan in enumerate(scans):
        held = slice(len(scan.z_VF))
        z_BVF[i, held], place_BV3[i, held], padding_BV[i, held] = scan.z_VF, scan.place_V3, False
    return TokenBatch(z_BVF, place_BV3, padding_BV)


def folder_name(name: str, digest: str) -> str:
    """Of the tokens of one source and layer, in the folder of the table."""
    return f"{name}-{digest}{SUFFIX}"


def folder_url(table: str, name: str, digest: str) -> str:
    """Where the table has the tokens of that digest, whatever their source is called there; if it has none,
    where those of that name go.
    """
    own = folder_name(name, digest)
    others = [each for each in store.list_names(table) if each.endswith(folder_name("", digest))]
    return store.join(table, own if own in others or not others else others[0])


def file_url(folder: str, row: int) -> str:
    """Of the tokens of one scan."""
    return store.join(folder, f"{row:08d}{tensors.SUFFIX}")


def write(url: str, tokens: ScanTokens, texts: Mapping[str, str]) -> None:
    """Stores the tokens of one scan, atomically. texts: as `feature_table.texts_of` makes them."""
    tensors.write(url, {Z: tokens.z_VF, PLACE: tokens.place_V3}, texts)


def read(url: str, digest: str) -> ScanTokens | None:
    """The tokens at `url`; None if there are none, or if they are damaged, or of another digest."""
    try:
        arrays, texts = tensors.read(url)
        return ScanTokens(arrays[Z], arrays[PLACE]) if texts.get("digest") == digest else None
    except (FileNotFoundError, tensors.DamagedTensors, LookupError):
        return None
