"""One fault in a copy of a reader's files: cut between two samples, or one bit of one byte flipped."""

import shutil
from pathlib import Path

import numpy as np
from formats import once
from loaders import Wish, samples

NONE, CUT, VOXELS, PLAIN, JSON = (
    "none", "cut between samples", "a byte of voxels", "the same, frames without checksum",
    "a byte of the JSON",
)  # fmt: skip
FAULTS = (NONE, CUT, VOXELS, PLAIN, JSON)
LOST = 2  # samples behind the cut


def damaged(wish: Wish, fault: str) -> Path:
    """The reader's folder with this fault in its last file; beside it, made if it is not there."""
    folder = Path(wish.source if wish.reader in ("ours", "webdataset") and not wish.plain else wish.folder)
    name = f"{folder.name}-{wish.reader}-{FAULTS.index(fault)}"

    def fill(new: Path) -> None:
        shutil.copytree(folder, new, dirs_exist_ok=True)
        hurt(new, wish, fault)

    return once(folder.with_name(name), fill)


def hurt(folder: Path, wish: Wish, fault: str) -> None:
    """Damages the last file of `folder`, in place."""
    stored = list(samples(wish))[-LOST]
    if wish.reader == "npz":
        return _hurt_npz(folder, stored["key"], fault)
    path = sorted(path for path in folder.iterdir() if path.suffix in (".tar", ".mds", ".bin"))[-1]
    data = bytearray(path.read_bytes())
    if fault == CUT:
        del data[_start(path, data, stored["key"].encode()) :]
    elif fault in (VOXELS, PLAIN):
        data[data.index(stored["vol.zst"]) + len(stored["vol.zst"]) // 2] ^= 1
    elif fault == JSON:
        inside = stored["json"].index(b'"mean":') + len(b'"mean":')
        data[data.index(stored["json"]) + inside] ^= 1  # a digit becomes its neighbour
    path.write_bytes(data)
    return None


def _start(path: Path, data: bytearray, key: bytes) -> int:
    """Where the sample begins: at its first tar header, or where the table at the start of the file says."""
    if path.suffix == ".tar":
        return data.index(key) // 512 * 512
    count = int(np.frombuffer(data, "<u4", 1)[0])
    return int(np.frombuffer(data, "<u4", count + 1, offset=4)[count - LOST])


def _hurt_npz(folder: Path, key: str, fault: str) -> None:
    paths = sorted(folder.glob("*.npz"))
    if fault == CUT:  # a copy of the folder that stopped before its end
        for path in paths[-LOST:]:
            path.unlink()
        return
    path = folder / f"{key}.npz"
    data = bytearray(path.read_bytes())
    if fault == JSON:
        data[data.index(b"mean.npy") + 60] ^= 1
    elif fault != NONE:
        data[len(data) // 2] ^= 1
    path.write_bytes(data)
