"""What stream.py reads: speckled volumes as our shards, and scans as DICOM files for the seed design.

Layers under multiplicative speckle pack 1.45 to 1 at level 3, and the tuned frames a little better and faster
than the plain ones, both like real OCT. Everything is made once and kept in the folder given by --work.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cube import edges_at_zero, truth
from scans import Wish, make

from octshard.config.prep import PrepConfig
from octshard.dataset import shard, tables
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.imaging.volume import SampleKey, Shape, Spacing, product
from octshard.rng import rng_for

MADE = 1  # part of every cached name: raise it when what is made changes
EXTENT_MM: Spacing = (6.0, 2.5, 6.0)
DARK, SPECKLE, FLOOR = 45.0, 0.55, 5.5  # grey taken off; the speckled share of the rest; speckle in the dark
MEAN_RAYLEIGH = 1.25


@dataclass(frozen=True)
class Volumes:
    """So many volumes of one shape, so many in a tar."""

    name: str
    count: int
    shape: Shape
    per_file: int

    def folder(self, work: Path) -> Path:
        """Where its formats stand, each in a folder of its own."""
        return work / f"{MADE}-{self.name}-{self.count}-{'x'.join(map(str, self.shape))}"

    @property
    def megabytes(self) -> float:
        """Of one volume, unpacked."""
        return product(self.shape) / 1e6


def shards(wanted: Volumes, work: Path) -> Path:
    """Our dataset folder with these volumes, made if it is not there."""
    return once(wanted.folder(work) / "ours", lambda folder: _write(wanted, folder))


def scans(count: int, frames: int, image_size: Shape, work: Path) -> Path:
    """A folder of so many DICOM scans (Maestro2, lossy JPEG 2000 as the device writes it) and scan.json."""
    wish = Wish("topcon_maestro2", "3d_macula", "j2k_lossy", frames=frames, distinct=8)

    def fill(folder: Path) -> None:
        one = make(wish, work)
        for number in range(count):
            shutil.copyfile(one.path, folder / f"{number:03d}.dcm")
        scan = {
            "spacing_mm": wish.spacing_mm,
            "target_mm": PrepConfig().target_spacing,
            "image_size": image_size,
            "shape": wish.shape,
        }
        (folder / "scan.json").write_text(json.dumps(scan))

    return once(work / f"{MADE}-dicom-{count}-{frames}", fill)


def once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """The folder, filled if it is not there, whole or not at all: a stopped run leaves nothing half."""
    if not folder.exists():
        partial = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        fill(partial)
        partial.rename(folder)
    return folder


def ratio(folder: Path, wanted: Volumes) -> float:
    """Voxel bytes to stored bytes of our shards."""
    stored = sum(path.stat().st_size for path in folder.glob("*.tar"))
    return wanted.megabytes * 1e6 * wanted.count / stored


def _write(wanted: Volumes, folder: Path) -> None:
    step = tuple(mm / n for mm, n in zip(EXTENT_MM, wanted.shape, strict=True))
    clean_DHW = np.clip(truth(edges_at_zero(step, wanted.shape), EXTENT_MM, 1) - DARK, 0, None)  # type: ignore[arg-type]
    rows: list[SampleRow] = []
    infos: list[ShardInfo] = []
    with ThreadPoolExecutor(2) as pool:
        for first in range(0, wanted.count, wanted.per_file):
            numbers = range(first, min(first + wanted.per_file, wanted.count))
            made = list(pool.map(lambda number: _sample(wanted, clean_DHW, number), numbers))
            name = f"train-{first // wanted.per_file:06d}.tar"
            with open(folder / name, "wb") as file:
                sums = shard.write(file, [data for _, data in made])
            rows += [
                dataclasses.replace(row, shard=name, offset=offset)
                for (row, _), offset in zip(made, sums.offsets, strict=True)
            ]
            infos.append(ShardInfo(name, "phantom", "train", len(made), sums.bytes, sums.sha256))
    tables.write_rows(str(folder / tables.SAMPLES), rows)
    tables.write_shards(str(folder / tables.SHARDS), infos)
    tables.write_info(str(folder / tables.INFO), {"device": "phantom"})


def _sample(wanted: Volumes, clean_DHW: np.ndarray, number: int) -> tuple[SampleRow, bytes]:
    """One eye: the layers moved sideways, under speckle of its own."""
    rng = rng_for("benchmark stream", number)
    clean_DHW = np.roll(clean_DHW, int(rng.integers(wanted.shape[2])), axis=2)
    voxels_DHW = np.sqrt(2 * rng.standard_exponential(wanted.shape, dtype=np.float32))  # Rayleigh
    voxels_DHW *= clean_DHW * np.float32(SPECKLE / MEAN_RAYLEIGH) + np.float32(FLOOR)
    voxels_DHW += clean_DHW * np.float32(1 - SPECKLE)
    voxels_DHW = np.clip(voxels_DHW, 0, 255, out=voxels_DHW).astype(np.uint8)
    mean, std = float(voxels_DHW.mean(dtype=np.float64)), float(voxels_DHW.std(dtype=np.float64))
    person = f"1{number // 2:03d}"
    key = str(SampleKey.of(person, "phantom", "cube", "LR"[number % 2], f"2.25.{number}"))
    data = shard.pack(key, {"mean": mean, "std": std}, voxels_DHW, PrepConfig().zstd_level)
    row = SampleRow(
        key, person, "phantom", "", "", "cube", "Macula", "LR"[number % 2], "train", f"{number}.dcm",
        shape_out=wanted.shape, dtype="uint8", mean=mean, std=std, nbytes=len(data),
        sha256=hashlib.sha256(voxels_DHW.data).hexdigest(), xxh3=shard.slice_digest(data),
    )  # fmt: skip
    return row, data
