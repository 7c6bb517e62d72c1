"""One fault in a copy of a reader's files: cut between two samples, or one bit of one byte flipped."""

import shutil
from pathlib import Path

import numpy as np
from formats import once
from loaders import ReaderSpec, samples

NONE, CUT, VOXELS, PLAIN, JSON = (
    "none", "cut between samples", "a byte of voxels", "the same, frames without checksum",
    "a byte of the JSON",
)  # fmt: skip
FAULTS = (NONE, CUT, VOXELS, PLAIN, JSON)
LOST_SAMPLES = 2  # after the cut


def corrupted_copy(spec: ReaderSpec, fault: str) -> Path:
    """A copy of the reader's folder with this fault in its last file, made beside it on first use."""
    folder = Path(spec.source if spec.reader in ("ours", "webdataset") and not spec.plain else spec.folder)
    name = f"{folder.name}-{spec.reader}-{FAULTS.index(fault)}"

    def fill(new: Path) -> None:
        shutil.copytree(folder, new, dirs_exist_ok=True)
        corrupt(new, spec, fault)

    return once(folder.with_name(name), fill)


def corrupt(folder: Path, spec: ReaderSpec, fault: str) -> None:
    """Damages the last file of `folder`, in place."""
    sample = list(samples(spec))[-LOST_SAMPLES]
    if spec.reader == "npz":
        return _corrupt_npz(folder, sample["key"], fault)
    path = sorted(path for path in folder.iterdir() if path.suffix in (".tar", ".mds", ".bin"))[-1]
    data = bytearray(path.read_bytes())
    if fault == CUT:
        del data[_start(path, data, sample["key"].encode()) :]
    elif fault in (VOXELS, PLAIN):
        data[data.index(sample["vol.zst"]) + len(sample["vol.zst"]) // 2] ^= 1
    elif fault == JSON:
        inside = sample["json"].index(b'"mean":') + len(b'"mean":')
        data[data.index(sample["json"]) + inside] ^= 1  # a digit becomes its neighbour
    path.write_bytes(data)
    return None


def _start(path: Path, data: bytearray, key: bytes) -> int:
    """The offset of the sample: of its first tar header, or from the table at the start of the file."""
    if path.suffix == ".tar":
        return data.index(key) // 512 * 512
    count = int(np.frombuffer(data, "<u4", 1)[0])
    return int(np.frombuffer(data, "<u4", count + 1, offset=4)[count - LOST_SAMPLES])


def _corrupt_npz(folder: Path, key: str, fault: str) -> None:
    paths = sorted(folder.glob("*.npz"))
    if fault == CUT:  # a copy of the folder that stopped before its end
        for path in paths[-LOST_SAMPLES:]:
            path.unlink()
        return
    path = folder / f"{key}.npz"
    data = bytearray(path.read_bytes())
    if fault == JSON:
        data[data.index(b"mean.npy") + 60] ^= 1
    elif fault != NONE:
        data[len(data) // 2] ^= 1
    path.write_bytes(data)
